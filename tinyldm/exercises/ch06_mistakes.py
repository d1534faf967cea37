"""Chapter 06: further mistakes of its exercises, each with the sentence that it deserves."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..path import Path
from .before import Wrong

# (alpha, d_alpha, sigma, d_sigma)
DRIFTS: Wrong = [
    (lambda a, da, s, ds: da / a**2, "it is divided by alpha once too often."),
    (lambda a, da, s, ds: da * a, "alpha multiplies where it should divide: the relative slope is asked for."),
    (lambda a, da, s, ds: ds / s, "this is the relative slope of the noise; the state fades as the data does."),
    (lambda a, da, s, ds: a.log(), "this is the logarithm itself, its slope is asked for."),
]
DIFFUSIONS: Wrong = [
    (lambda a, da, s, ds: ds**2, "this is the squared slope of sigma; the slope of the variance is asked for, and the drift's share of it taken away."),
    (lambda a, da, s, ds: ds, "this is the slope of the standard deviation; start from that of the variance, and mind the drift."),
    (lambda a, da, s, ds: 2 * ds - 2 * da / a * s**2, "the slope of the variance lacks a sigma: differentiate a square."),
    (lambda a, da, s, ds: s**2 - 2 * da / a * s**2, "the variance stands there where its slope is asked for."),
    (lambda a, da, s, ds: 2 * s * ds - 2 * a * da, "the drift's part has alpha where the variance of the noise should stand."),
    (lambda a, da, s, ds: 2 * s * ds - da / a, "the drift's part lacks the variance on which it acts."),
    (lambda a, da, s, ds: -2 * da / a * (1 - a**2), "this is the slope of the variance on a path that preserves it; a part is missing, and the path need not."),
]  # fmt: skip
# (x, f, g2, dt, noise)
STEPS: Wrong = [
    (lambda x, f, g2, dt, e: x + f * x * dt + (g2 * dt) ** 0.25 * e, "there is a root too many in the noise."),
    (lambda x, f, g2, dt, e: x + f * x * dt + (g2 * dt).sqrt() * e * x, "the noise is multiplied by the state; its strength depends on time only."),
    (lambda x, f, g2, dt, e: x - f * x * dt + g2 * dt.sqrt() * e, "two mistakes: the sign of the drift is flipped, and a square root over the squared diffusion is missing."),
    (lambda x, f, g2, dt, e: x - f * x * dt + g2.sqrt() * dt * e, "two mistakes: the sign of the drift is flipped, and the noise is multiplied by the step itself."),
    (lambda x, f, g2, dt, e: x + f * x * dt + (g2 / dt).sqrt() * e, "the step divides in the noise where it should multiply: a short step must add little."),
    (lambda x, f, g2, dt, e: x + f * e * dt + (g2 * dt).sqrt() * x, "state and noise have changed places."),
    (lambda x, f, g2, dt, e: x + f * x * dt / 2 + g2.sqrt() * dt * e, "two mistakes: the drift is halved, and a square root over the step in the noise is missing."),
    (lambda x, f, g2, dt, e: x + f * x * dt + (g2 * dt).sqrt(), "the strength of the noise is added, not the noise."),
    (lambda x, f, g2, dt, e: (1 + f * dt).sqrt() * x + (g2 * dt).sqrt() * e, "the factor of the state has a root: that is the step of a variance, not of a state."),
    (lambda x, f, g2, dt, e: x + f**2 * x * dt + (g2 * dt).sqrt() * e, "the drift coefficient is squared; only the diffusion comes as a square."),
    (lambda x, f, g2, dt, e: x + f * x * dt + 2 * (g2 * dt).sqrt() * e, "the noise is twice too strong."),
    (lambda x, f, g2, dt, e: e, "this is the noise alone."),
]  # fmt: skip
# (alpha_s, sigma_s, alpha_t, sigma_t)
FACTORS: Wrong = [
    (lambda a, s, b, r: (b / a) ** 2, "the factor is squared: alpha multiplies the data itself, not its variance."),
    (lambda a, s, b, r: a * b, "the earlier alpha multiplies where it should divide: the state is faded by it already."),
]  # fmt: skip
SPREADS: Wrong = [
    (lambda a, s, b, r: (1 - b / a).sqrt(), "this treats alpha as a factor of the variance, on a path that preserves it."),
    (lambda a, s, b, r: 1 - (b / a) ** 2, "this is a variance, and one that holds only where the variance is preserved."),
    (lambda a, s, b, r: r / s, "a ratio of the two noises; what is missing from the one to the other is asked for."),
    (lambda a, s, b, r: ((r / s) ** 2 - (b / a) ** 2).sqrt(), "the earlier sigma divides the later one where it should multiply the factor."),
    (lambda a, s, b, r: s * (1 - (b * s / (a * r)) ** 2).sqrt(), "this is the step back, given the clean data as well; the step forward is asked for."),
    (lambda a, s, b, r: (r**2 - (a / b * s) ** 2).abs().sqrt(), "the old noise is faded by the factor upside down."),
    (lambda a, s, b, r: (s - b / a * r).abs(), "the two noises have changed places, and standard deviations do not subtract."),
    (lambda a, s, b, r: r * (1 - (b / a) ** 2).sqrt(), "the old noise is not the same share of the new one on every path: subtract the variances."),
    (lambda a, s, b, r: ((r / b) ** 2 - (s / a) ** 2).sqrt(), "this belongs to the state divided by its alpha; in the units of the state there is a factor more."),
]  # fmt: skip
JUMPS: Wrong = [
    (lambda a, s, b, r: torch.stack([b, r]), "this is the jump from clean data; the earlier state is faded and noisy already."),
    (lambda a, s, b, r: torch.stack([b - a, r - s]), "differences of alphas and sigmas: alphas multiply along the way, and variances add up."),
]  # fmt: skip


def _loop(update: Any, dt: Any = None) -> Any:
    """A simulator with another update (path, x, t, s, dt, noise) or another length of the step (ts, i)."""

    def simulate(path: Path, x: Tensor, ts: Tensor, noises: Tensor) -> Tensor:
        for i, (t, s) in enumerate(pairwise(ts)):
            x = update(path, x, t, s, (dt or (lambda ts, i: ts[i + 1] - ts[i]))(ts, i), noises, i)
        return x

    return simulate


def _right(p: Path, x: Tensor, t: Tensor, s: Tensor, h: Tensor, e: Tensor, i: int) -> Tensor:
    return x + p.f(t) * x * h + (p.g2(t) * h).sqrt() * e[i]


SIMULATORS: Wrong = [
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(s) * x * h + (p.g2(t) * h).sqrt() * e[i]), "the drift is taken at the end of each step; Euler and Maruyama take it at its beginning."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * x * h + (p.g2(s) * h).sqrt() * e[i]), "the diffusion is taken at the end of each step; Euler and Maruyama take it at its beginning."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * x * h + (p.g2(t) * h).sqrt() * e[0]), "every step uses the same noise; each has its own."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * x * h + (p.g2(t) * h).sqrt() * e[-1 - i]), "the noises are used in the reverse order."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * x * h - (p.g2(t) * h).sqrt() * e[i]), "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * h + (p.g2(t) * h).sqrt() * e[i]), "the drift lacks the state: it is proportional to x."),
    (_loop(lambda p, x, t, s, h, e, i: x + p.f(t) * x + (p.g2(t) * h).sqrt() * e[i]), "the drift lacks the length of the step."),
    (_loop(lambda p, x, t, s, h, e, i: p.f(t) * x * h + (p.g2(t) * h).sqrt() * e[i]), "each step returns the change of the state; the state itself is lost."),
    (_loop(_right, lambda ts, i: (ts[-1] - ts[0]) / len(ts)), "n + 1 times make n steps; besides, they need not be of one length."),
    (_loop(_right, lambda ts, i: torch.as_tensor(1 / len(ts)).to(ts)), "n + 1 times make n steps; besides, they need not be of one length, nor run over all of the unit interval."),
    (_loop(_right, lambda ts, i: ts[1] - ts[0]), "every step has the length of the first; the grid need not be uniform."),
]  # fmt: skip
