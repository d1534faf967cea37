"""Chapter 07: further mistakes of its exercises, each with the sentence that it deserves."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..path import Path
from .before import Wrong


def _step(drift: Any, kick: Any = None) -> Callable[..., Tensor]:
    """A reverse step with another drift (x, r, f, g2, eta) or another noise (e, r, g2, eta, h)."""

    def step(x: Tensor, r: Tensor, f: float, g2: float, eta: float, t: float, s: float, e: Tensor) -> Tensor:
        noise = kick(e, r, g2, eta, t - s) if kick else eta * math.sqrt(g2 * (t - s)) * e
        return x + (s - t) * drift(x, r, f, g2, eta) + noise

    return step


def _drift(x: Tensor, r: Tensor, f: float, g2: float, eta: float) -> Tensor:
    return f * x - (1 + eta**2) / 2 * g2 * r


STEPS: Wrong = [
    (_step(lambda x, r, f, g2, n: f * x - (1 + n**2) / 4 * g2 * r), "the half of the score's factor stands there twice."),
    (_step(lambda x, r, f, g2, n: f * x - (1 + n) ** 2 / 2 * g2 * r), "in the score's factor the noise level is squared by itself, not together with the 1."),
    (_step(lambda x, r, f, g2, n: f * x - (1 - n**2) / 2 * g2 * r), "a sign in the score's factor is flipped: more noise needs more pull."),
    (_step(lambda x, r, f, g2, n: f * x - n * g2 * r), "without noise the score has dropped out of the drift, and the noise level is not squared."),
    (_step(lambda x, r, f, g2, n: f * x - (1 + n**2) / 2 * r), "the squared diffusion is missing from the score's factor."),
    (_step(lambda x, r, f, g2, n: f - (1 + n**2) / 2 * g2 * r), "the fading term lacks the state on which it acts."),
    (_step(lambda x, r, f, g2, n: f * x - (1 + n**2) / 2 * g2 * r * x), "the score is multiplied by the state; it is a direction of its own."),
    (_step(lambda x, r, f, g2, n: f * x), "the score is missing: this only undoes the fading."),
    (_step(lambda x, r, f, g2, n: 2 * f * x - (1 + n**2) / 2 * g2 * r), "the fading is counted twice."),
    (_step(_drift, lambda e, r, g2, n, h: -n * math.sqrt(g2 * h) * e), "the sign of the noise is flipped; in law that is the same, but use the noise as it is given."),
    (_step(_drift, lambda e, r, g2, n, h: math.sqrt(n * g2 * h) * e), "the noise level stands under the root; there it would have to be squared."),
    (_step(_drift, lambda e, r, g2, n, h: n * math.sqrt(h) * e), "the diffusion is missing from the noise."),
    (_step(_drift, lambda e, r, g2, n, h: n * math.sqrt(g2 * h) * r), "the score stands where the noise should be."),
    (_step(_drift, lambda e, r, g2, n, h: n * (g2 * h) ** 0.25 * e), "there is a root too many in the noise."),
    (lambda x, r, f, g2, n, t, s, e: x + _drift(x, r, f, g2, n) + n * math.sqrt(g2 * (t - s)) * e, "the drift is not multiplied by the length of the step."),
    (lambda x, r, f, g2, n, t, s, e: x + (s - t) * _drift(x, e, f, g2, n) + n * math.sqrt(g2 * (t - s)) * e, "the noise stands where the score should be."),
]  # fmt: skip
# (x, score, alpha, sigma)
TWEEDIES: Wrong = [
    (lambda x, r, a, s: (x + s**2 * r) / s, "the noise's factor is divided out; it is the data's fading that must be undone."),
    (lambda x, r, a, s: (s**2 * r - x) / a, "the sign of the state is flipped."),
    (lambda x, r, a, s: (x + s**4 * r) / a, "the variance is squared once more."),
    (lambda x, r, a, s: (x + s.sqrt() * r) / a, "sigma has a root where it should be squared."),
    (lambda x, r, a, s: (x + 2 * s**2 * r) / a, "the score's factor is twice too large."),
    (lambda x, r, a, s: a * x + s**2 * r, "the state is faded once more, and nothing is undone."),
    (lambda x, r, a, s: (x + s**2 * r / a) / a, "the fading is undone twice for the score's term."),
    (lambda x, r, a, s: (x - r) / a, "the score is not multiplied by the variance of the noise, and its sign is flipped."),
    (lambda x, r, a, s: a * x - s * r, "this reads the score as a prediction of v, on a path that preserves the variance."),
    (lambda x, r, a, s: (x + s**2 * r) / a.sqrt(), "alpha is the factor of the data itself: no root of it is needed."),
    (lambda x, r, a, s: r, "this is the score itself."),
    (lambda x, r, a, s: x / a, "the score is not used: this is right only where there is no noise."),
    (lambda x, r, a, s: x + s * r / a, "the variance is asked for, not its root, and the fading is undone for the score's term only."),
    (lambda x, r, a, s: (x + (1 - a) * r) / a, "this takes the noise's variance to be what alpha leaves; sigma is given for itself."),
    (lambda x, r, a, s: (s**2 * x + r) / a, "state and score have changed places."),
]  # fmt: skip
# (alpha, sigma, g2)
FACTORS: Wrong = [
    (lambda a, s, g2: g2, "this is the weighting alone: turn the error of the score into that of the data."),
    (lambda a, s, g2: g2 * a**2 / s**3, "a power of sigma is missing: the error of the score has two of them, and it is squared."),
    (lambda a, s, g2: g2 * a / s**4, "alpha is not squared, but the error is."),
    (lambda a, s, g2: g2 * a**4 / s**4, "alpha is squared once too often: one division by sigma comes from the score, not from the conversion."),
    (lambda a, s, g2: g2 * a**2, "sigma is missing: the error of the score grows without bound near the data."),
    (lambda a, s, g2: g2 * a**2 / s, "the powers of sigma are not squared, and one is missing."),
    (lambda a, s, g2: g2 * a**2 * s**4, "sigma multiplies where it should divide."),
    (lambda a, s, g2: g2 * s**2 / a**4, "alpha and sigma have changed places."),
    (lambda a, s, g2: g2 * (1 - s**2) / s**4, "this takes alpha from a path that preserves the variance; it is given for itself."),
    (lambda a, s, g2: g2 * a**2 / s**6, "sigma is squared once too often."),
    (lambda a, s, g2: g2 * a / s, "this converts an error of the noise, unsquared, and it is the score's error that is weighted."),
    (lambda a, s, g2: 2 * g2 * a**2 / s**4, "this is twice what is asked for: no half is to be undone in the weighting."),
]  # fmt: skip


def _loop(drift: Any = None, noise: Any = None) -> Callable[..., Tensor]:
    """A reverse sampler with another drift (score, path, x, t, s, eta) or another noise (path, t, h, eta, noises, i)."""

    def sampler(score: Any, path: Path, x: Tensor, ts: Tensor, eta: float, noises: Tensor) -> Tensor:
        for i, (t, s) in enumerate(pairwise(ts)):
            h = t - s
            usual = eta * (path.g2(t) * h).sqrt() * noises[i]
            x = (
                x
                + h * (drift or _usual)(score, path, x, t, s, eta)
                + (noise(path, t, h, eta, noises, i) if noise else usual)
            )
        return x

    return sampler


def _usual(score: Any, p: Path, x: Tensor, t: Tensor, s: Tensor, n: float) -> Tensor:
    return (1 + n**2) / 2 * p.g2(t) * score(x, t) - p.f(t) * x


SAMPLERS: Wrong = [
    (_loop(lambda r, p, x, t, s, n: (1 + n) / 2 * p.g2(t) * r(x, t) - p.f(t) * x), "the noise level is not squared in the score's factor."),
    (_loop(lambda r, p, x, t, s, n: n**2 * p.g2(t) * r(x, t) - p.f(t) * x), "without noise the score has dropped out of the drift; half of the squared diffusion must be left."),
    (_loop(lambda r, p, x, t, s, n: (1 + n**2) / 2 * p.g2(t).sqrt() * r(x, t) - p.f(t) * x), "the score is multiplied by the diffusion where its square is asked for."),
    (_loop(lambda r, p, x, t, s, n: (1 + n**2) / 2 * p.g2(t) * r(x, s) - p.f(t) * x), "the score is asked at the time at which the step ends; the state belongs to the other end."),
    (_loop(lambda r, p, x, t, s, n: (1 + n**2) / 2 * p.g2(t) * r(x, t) - p.f(s) * x), "the fading is taken at the time at which the step ends; this method takes it where the step starts."),
    (_loop(lambda r, p, x, t, s, n: (1 + n**2) / 2 * p.g2(t) * r(x, t)), "the fading term is missing from the drift."),
    (_loop(lambda r, p, x, t, s, n: _usual(r, p, x, t, s, n) + (1 / (t - s) - 1) * (1 + n**2) / 2 * p.g2(t) * r(x, t)), "the push along the score is not multiplied by the length of the step."),
    (_loop(noise=lambda p, t, h, n, e, i: -n * (p.g2(t) * h).sqrt() * e[i]), "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
    (_loop(noise=lambda p, t, h, n, e, i: (p.g2(t) * h).sqrt() * e[i]), "the noise has its full strength whatever the noise level is."),
    (_loop(noise=lambda p, t, h, n, e, i: n**2 * (p.g2(t) * h).sqrt() * e[i]), "the noise level is squared where the noise is added; it belongs there to the first power."),
    (_loop(noise=lambda p, t, h, n, e, i: n * (p.g2(t) * h).sqrt() * e[-1]), "every step uses the last noise; each has its own."),
    (_loop(noise=lambda p, t, h, n, e, i: n * (p.g2(t) * h).sqrt() * e[-1 - i]), "the noises are used in the reverse order."),
    (_loop(noise=lambda p, t, h, n, e, i: torch.zeros_like(e[i])), "the noise is missing."),
    (_loop(noise=lambda p, t, h, n, e, i: n * (p.g2(t) * h) ** 0.25 * e[i]), "there is a root too many in the noise."),
]  # fmt: skip
