"""Chapter 08: further mistakes of its exercises, each with the sentence that it deserves."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..path import Path
from .before import Wrong


def _heun(last: Any, ahead: Any = None) -> Callable[..., Tensor]:
    """Heun's step with another last line (x, h, here, there) or another look ahead (u, x, h, here, t, s)."""

    def step(u: Any, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        here, h = u(x, t), s - t
        there = ahead(u, x, h, here, t, s) if ahead else u(x + h * here, s)
        return last(x, h, here, there)

    return step


def _mean(x: Tensor, h: Tensor, here: Tensor, there: Tensor) -> Tensor:
    return x + h * (here + there) / 2


HEUNS: Wrong = [
    (lambda u, x, t, s: x + (s - t) * u(x, s), "the only velocity is that of the old state at the new time; two are needed, each at its own place."),
    (lambda u, x, t, s: u(x, t), "this is a velocity; a step along it is still to be taken, and a second look."),
    (_heun(_mean, lambda u, x, h, here, t, s: u(x + here, s)), "the look ahead moves the state by the whole velocity: the length of the step is missing there."),
    (_heun(_mean, lambda u, x, h, here, t, s: u(h * here, s)), "the look ahead asks at the change of the state, not at the moved state."),
    (_heun(lambda x, h, here, there: x + (here + there) / 2), "the last line lacks the length of the step; the look ahead is right."),
    (_heun(lambda x, h, here, there: x + h * (there - here) / 2), "the difference of the velocities is taken where their mean is asked for."),
    (_heun(lambda x, h, here, there: x + h * here + h * (here + there) / 2), "the correction starts from the moved state; both halves start from the old one."),
    (_heun(lambda x, h, here, there: x + h * (here * there).abs().sqrt()), "the geometric mean is taken; the arithmetic one is asked for."),
    (_heun(lambda x, h, here, there: x + h * h * (here + there) / 2), "the length of the step stands there twice."),
    (_heun(lambda x, h, here, there: x + h * (here + 3 * there) / 4), "these weights belong to a method with another look ahead; here both count the same."),
    (_heun(lambda x, h, here, there: x + h * (here + there), lambda u, x, h, here, t, s: u(x + h * here, t)), "two mistakes: the second velocity is asked at the old time, and the mean lacks its half."),
]  # fmt: skip
# (x, x0, alpha_t, sigma_t, alpha_s, sigma_s)
EXPONENTIALS: Wrong = [
    (lambda x, y, a, b, c, d: x + (c - a) * y, "the noise stays as it was: neither the state nor the lower end of the integral is rescaled."),
    (lambda x, y, a, b, c, d: c * y + d * (x - y) / b, "the noise that is in the state: the data in it is faded, and alpha is missing there."),
    (lambda x, y, a, b, c, d: a * y + d * (x - a * y) / b, "the data is faded as at the old time; it arrives at the new one."),
    (lambda x, y, a, b, c, d: c * y + d * (x - c * y) / b, "the data in the old state is faded as at the old time; here the new alpha stands there."),
    (lambda x, y, a, b, c, d: c * y + d * (x - a * y), "the noise is multiplied by the new level, but the old one is not divided out."),
    (lambda x, y, a, b, c, d: y, "this is the prediction itself: right only where no noise is left at the end."),
    (lambda x, y, a, b, c, d: d / b * x, "the data's term is missing; only the homogeneous part is there."),
    (lambda x, y, a, b, c, d: c / a * x + (d - b * c / a) * y, "data and noise have changed places: this step holds the noise's prediction."),
    (lambda x, y, a, b, c, d: d / b * x + c / d / (a / b) * y, "logarithms of the ends are subtracted; it is the exponentials themselves that the integral leaves."),
    (lambda x, y, a, b, c, d: d / b * x + (c - a * b / d) * y, "the rescaling of the lower end stands on its head."),
    (lambda x, y, a, b, c, d: d / b * x + c * (c * b / (a * d) - 1) * y, "the exponent in the integral has the wrong sign: it falls from 1 at the end of the step."),
    (lambda x, y, a, b, c, d: d / b * x + d * (c - a) * y, "the integral is not that of alpha: the ends are to be divided by their noise levels first."),
]  # fmt: skip
# (coarse, fine, ratio)
ORDERS: Wrong = [
    (lambda a, b, r: torch.log(a / b) * math.log(r), "the two logarithms are multiplied; the exponent is their quotient."),
    (lambda a, b, r: (a - b) / r, "a difference of errors is no measure of how fast they fall; take their quotient, and logarithms."),
    (lambda a, b, r: torch.log(a / b / r), "the logarithm of the work is subtracted; it should divide."),
    (lambda a, b, r: (torch.log(a / b) / math.log(r)).round(), "the observed order is a number of its own; do not round it to the nominal one."),
    (lambda a, b, r: (a / b) ** (1 / r), "a root instead of a logarithm: the exponent is asked for."),
    (lambda a, b, r: torch.log1p(a / b) / math.log(r), "1 is added under the logarithm; equal errors must give the order 0."),
    (lambda a, b, r: torch.log2(a / b) / r, "the logarithm of `ratio` is asked for in the denominator, to the same base."),
    (lambda a, b, r: r * b / a, "the exponent is asked for, not a quotient; and it stands on its head."),
    (lambda a, b, r: torch.log(b) / math.log(r), "only the finer error is used: the fall from one to the other is asked for."),
    (lambda a, b, r: torch.log(a / b) / math.log(r) ** 2, "the logarithm of the work divides twice."),
    (lambda a, b, r: torch.log(a.mean() / b.mean()) / math.log(r), "the errors are averaged first: every pair has an order of its own."),
]  # fmt: skip


def _loop(
    length: Any = None, end: Any = None, keep: bool = True, weight: Any = None, share: Any = None, late: bool = False
) -> Callable[..., Tensor]:
    """DPM-Solver++(2M). length: of a step (path, t, s); end: (x, guess, path, t, s, weight); weight: of h; share: of r; late: asks at s."""

    def solve(x0_of: Any, path: Path, x: Tensor, ts: Tensor) -> Tensor:
        before: tuple[Tensor, Tensor] | None = None
        for t, s in pairwise(ts):
            x0 = x0_of(x, s if late else t)
            h = length(path, t, s) if length else path.lam(s) - path.lam(t)
            guess = x0
            if before is not None:
                old, last = before
                r = last / h
                new, past = share(r) if share else (1 + 1 / (2 * r), -1 / (2 * r))
                guess = new * x0 + past * old
            whole = weight(h) if weight else -torch.expm1(-h)
            scale = path.sigma(s) / path.sigma(t)
            x = end(x, guess, path, t, s, whole) if end else scale * x + path.alpha(s) * whole * guess
            before = x0, h
        return x

    return solve


SOLVERS: Wrong = [
    (_loop(weight=torch.expm1), "the exponent of the data's weight has the wrong sign: the weight must stay below 1 however long the step is."),
    (_loop(weight=lambda h: -torch.expm1(h)), "the length of a step in lambda has the wrong sign, or the exponent and the data's weight have: lambda rises on the way to the data."),
    (_loop(weight=lambda h: h), "the exponential in the data's weight is taken to first order; a step is not that short."),
    (_loop(weight=lambda h: -torch.exp(-h)), "the data's weight is an exponential less 1; the 1 is missing."),
    (_loop(share=lambda r: (1 + 1 / (2 * r), 1 / (2 * r))), "the two weights of the predictions must add up to 1: a sign before the older one is flipped."),
    (_loop(share=lambda r: (1 - 1 / (2 * r), -1 / (2 * r))), "the two weights of the predictions must add up to 1: a sign in that of the newer one is flipped."),
    (_loop(share=lambda r: (1 + 1 / (2 * r), -1 / (3 * r))), "the two weights of the predictions must add up to 1."),
    (_loop(share=lambda r: (1.5, -0.5)), "this is right on equal steps only: the ratio of their lengths is not used."),
    (_loop(length=lambda p, t, s: p.log_snr(s) - p.log_snr(t)), "this uses the full log-SNR; the clock here is half of it."),
    (_loop(length=lambda p, t, s: s - t), "the steps are measured in t; the clock of this method is lambda."),
    (_loop(end=lambda x, g, p, t, s, w: x + p.alpha(s) * w * g), "the state keeps its noise: it has not been rescaled from the old noise level to the new one."),
    (_loop(end=lambda x, g, p, t, s, w: p.alpha(s) / p.alpha(t) * x + p.alpha(s) * w * g), "the state is rescaled by the factors of the data; it is the noise levels that rescale it."),
    (_loop(end=lambda x, g, p, t, s, w: p.sigma(s) / p.sigma(t) * x + p.sigma(s) * w * g), "the data is multiplied by the noise level; it belongs to alpha."),
    (_loop(late=True), "the prediction is asked at the time at which the step ends; the state belongs to the other end."),
]  # fmt: skip
