"""Chapter 07: one reverse step, Tweedie's formula, who is independent of whom, a weight, a broken reverse sampler."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..gaussian import GaussianMixture
from ..path import VP, Path
from ..runtime import seeded
from ..solvers.grids import grid
from .before import Exercise, grade_choice, grade_function, register
from .ch07_mistakes import FACTORS, SAMPLERS, STEPS, TWEEDIES


def _step(
    x: Tensor,
    score: Tensor,
    f: float,
    g2: float,
    eta: float,
    t: float,
    s: float,
    noise: Tensor,
    *,
    clock: float = 1,
    pull: Callable[[float, float], float] = lambda eta, g2: (1 + eta**2) / 2 * g2,
    sign: float = -1,
    fade: float = 1,
    kick: Callable[[float, float, float], float] = lambda eta, g2, h: eta * math.sqrt(g2 * h),
) -> Tensor:
    """One reverse step with every mistake as a dial.

    clock: the sign of dt. pull: the factor of the score, sign: its sign. fade: the factor of f. kick: the noise's standard
    deviation, for a step of length h.
    """
    h = t - s
    return x - clock * h * (fade * f * x + sign * pull(eta, g2) * score) + kick(eta, g2, h) * noise


def grade_reverse_step(answer: Any) -> None:
    """07-1: x + (s - t) (f x - (1 + eta^2)/2 g^2 score) + eta g sqrt(t - s) noise."""
    g = seeded(71)
    cases = []
    for shape, eta, t, s in [
        ((5, 3), 0.5, 0.9, 0.7),
        ((2, 4), 1.0, 0.35, 0.3),
        ((3, 1), 0.0, 0.6, 0.55),
        ((4, 2), 2.0, 0.8, 0.75),
    ]:
        x, score, noise = torch.randn(3, *shape, generator=g, dtype=torch.float64)
        rate = 2.0 + 10 * t
        cases.append(
            {"x": x, "score": score, "f": -rate / 2, "g2": 1.3 * rate, "eta": eta, "t": t, "s": s, "noise": noise}
        )

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return partial(_step, **chosen)

    root = "the noise is multiplied by the length of the step; the increment of Brownian motion has that as its variance, so a square root is missing."
    no_half = "the score's factor is too large: without noise only half of the squared diffusion is left, and a half is missing."
    grade_function(
        answer,
        _step,
        cases,
        wrong=[
            (dials(clock=-1), "time runs the wrong way: the difference of the two times must be negative where it multiplies the drift."),
            (dials(sign=1), "the sign of the score is flipped: the step must lead to where the density is higher."),
            (dials(fade=-1), "the sign of the fading term is flipped: what fades on the way out must grow on the way back."),
            (dials(pull=lambda eta, g2: (1 + eta**2) * g2), no_half),
            (dials(pull=lambda eta, g2: g2), "the score's factor is the one of Anderson's equation at every noise level; it must shrink to a half of that without noise."),
            (dials(pull=lambda eta, g2: g2 / 2), "the score's factor is the one of the equation without noise at every noise level; more noise needs more pull."),
            (dials(pull=lambda eta, g2: eta**2 * g2), "without noise the score has dropped out of the drift; half of the squared diffusion must be left."),
            (dials(pull=lambda eta, g2: eta**2 / 2 * g2), "only the part of the pull that balances the noise is there; the part of the equation without noise is missing."),
            (dials(pull=lambda eta, g2: (1 + eta) / 2 * g2), "the noise level is not squared in the score's factor."),
            (dials(pull=lambda eta, g2: (1 + eta**2) / 2 * math.sqrt(g2)), "the score is multiplied by the diffusion where its square is asked for."),
            (dials(pull=lambda eta, g2: (1 + eta**2) / 2 * g2**2), "the squared diffusion is squared again in the score's factor: the argument is a square already."),
            (dials(kick=lambda eta, g2, h: eta * math.sqrt(g2) * h), root),
            (dials(pull=lambda eta, g2: (1 + eta**2) * g2, kick=lambda eta, g2, h: eta * math.sqrt(g2) * h), f"two mistakes. One: {no_half} Two: {root}"),
            (dials(clock=-1, kick=lambda eta, g2, h: eta * math.sqrt(g2) * h), f"time runs the wrong way in the drift. And {root}"),
            (dials(kick=lambda eta, g2, h: -eta * math.sqrt(g2) * h), f"the noise carries the negative difference of the times. Besides, {root}"),
            (dials(kick=lambda eta, g2, h: eta * g2 * math.sqrt(h)), "the noise is multiplied by the squared diffusion; a square root is missing."),
            (dials(kick=lambda eta, g2, h: eta**2 * g2 * h), "the noise is multiplied by its variance; a square root is missing around all of it."),
            (dials(kick=lambda eta, g2, h: eta**2 * math.sqrt(g2 * h)), "the noise level is squared where the noise is added; it belongs there to the first power."),
            (dials(kick=lambda eta, g2, h: math.sqrt(g2 * h)), "the noise has its full strength whatever the noise level is."),
            (dials(kick=lambda eta, g2, h: eta * math.sqrt(g2)), "the noise does not depend on the length of the step."),
            (dials(kick=lambda eta, g2, h: 0.0), "the noise is missing."),
            (dials(fade=0), "the fading term is missing from the drift."),
            (lambda x, *rest: _step(x, *rest) - x, "this is the change of the state; return the state itself."),
            *STEPS,
        ],
    )  # fmt: skip


def grade_tweedie(answer: Any) -> None:
    """07-2: (x + sigma^2 score) / alpha."""
    g = seeded(72)
    cases = []
    for shape in [(4, 3), (3, 1, 5, 7)]:
        rank = (shape[0], *(1,) * (len(shape) - 1))
        cases.append(
            {
                "x": torch.randn(shape, generator=g),
                "score": torch.randn(shape, generator=g),
                "alpha": 0.3 + 0.6 * torch.rand(rank, generator=g),
                "sigma": 0.4 + 2.0 * torch.rand(rank, generator=g),
            }
        )
    grade_function(
        answer,
        lambda x, score, alpha, sigma: (x + sigma**2 * score) / alpha,
        cases,
        wrong=[
            (lambda x, r, a, s: (x - s**2 * r) / a, "the sign of the score is flipped: denoising leads uphill, to where the density is higher."),
            (lambda x, r, a, s: (x + s * r) / a, "the score is multiplied by the standard deviation of the noise where its variance is asked for."),
            (lambda x, r, a, s: (x - s * r) / a, "this treats the score as if it were the predicted noise; the two differ by a sign and a factor."),
            (lambda x, r, a, s: (x + r) / a, "the score is not multiplied by the variance of the noise."),
            (lambda x, r, a, s: x + s**2 * r, "this is the mean of the faded data; undo the fading."),
            (lambda x, r, a, s: a * (x + s**2 * r), "the fading is applied once more where it should be undone."),
            (lambda x, r, a, s: (x + s**2 * r) / a**2, "the fading is undone twice."),
            (lambda x, r, a, s: x / a + s**2 * r, "the fading is undone for the state only, not for the score's term."),
            (lambda x, r, a, s: x + s**2 * r / a, "the fading is undone for the score's term only, not for the state."),
            (lambda x, r, a, s: (x + (1 - a**2) * r) / a, "this takes the noise's variance from a path that preserves the variance; here sigma is given for itself."),
            (lambda x, r, a, s: (x + s**2 * r) / (1 - s**2).abs().sqrt(), "this takes the fading from a path that preserves the variance; here alpha is given for itself."),
            (lambda x, r, a, s: (x + a**2 * r) / s, "alpha and sigma have changed places: which belongs to the data?"),
            (lambda x, r, a, s: -s * r, "this is the predicted noise, not the data."),
            (lambda x, r, a, s: (s**2 * r) / a, "the state itself is missing."),
            (lambda x, r, a, s: (x + r / s**2) / a, "the variance divides the score where it should multiply it."),
            (lambda x, r, a, s: (x + s**2 / 2 * r) / a, "the score's factor is half of what it should be: the half belongs to the equation without noise, not to denoising."),
            *TWEEDIES,
        ],
    )  # fmt: skip


def grade_pairs(answer: Any) -> None:
    """07-3: the reverse increment and the state from which its step starts."""
    grade_choice(
        answer,
        "c",
        {
            "a": "along one path the two noises differ by a term of the size of the step's length, while each has the size of its root; the finer the steps, the more alike they are.",
            "b": "this holds for the forward noise. The way back comes from the other side: for it, the earlier time is where the step ends.",
            "d": "the later state contains this very noise as one of its terms, so it cannot be uncorrelated with it.",
        },
    )


def grade_bound_factor(answer: Any) -> None:
    """07-4: g^2 alpha^2 / sigma^4."""
    g = seeded(74)
    cases = [
        {
            "alpha": 0.2 + 0.7 * torch.rand(n, generator=g),
            "sigma": 0.3 + 1.5 * torch.rand(n, generator=g),
            "g2": 1 + 8 * torch.rand(n, generator=g),
        }
        for n in (7, 4)
    ]
    grade_function(
        answer,
        lambda alpha, sigma, g2: g2 * alpha**2 / sigma**4,
        cases,
        wrong=[
            (lambda a, s, g2: g2 * a**2 / s**2, "the error of the noise has been turned into that of the data, but the score is not the noise: one more division by the noise's variance is missing."),
            (lambda a, s, g2: g2 / s**2, "this is the factor of the squared error of the noise; turn that into the error of the data."),
            (lambda a, s, g2: a**2 / s**4, "this is the plain squared error of the score; the likelihood weighting is missing."),
            (lambda a, s, g2: a**2 / s**2, "this is the weighting called simple, the signal-to-noise ratio; the likelihood weighting is asked for."),
            (lambda a, s, g2: g2 * a / s**2, "the factor of the error itself is there, not that of its square: a square root too many."),
            (lambda a, s, g2: g2.sqrt() * a / s**2, "this is the factor of the error, not of its square: there is a square root too many."),
            (lambda a, s, g2: g2**2 * a**2 / s**4, "the squared diffusion is squared again: the argument is a square already."),
            (lambda a, s, g2: g2.sqrt() * a**2 / s**4, "the weighting is the squared diffusion; the argument is a square already, take no root of it."),
            (lambda a, s, g2: g2 * s**4 / a**2, "the fraction of alpha and sigma stands on its head: near the data, where little noise is left, a small error of the data must weigh much."),
            (lambda a, s, g2: g2 * s**2 / a**2, "this is the inverse of the signal-to-noise ratio: which of the two errors is larger when little noise is left?"),
            (lambda a, s, g2: g2 / 2 * a**2 / s**4, "this is half of what is asked for: the half stands before the integral in the bound, not in the weighting."),
            (lambda a, s, g2: g2 / s**4, "alpha is missing: an error of the data is faded before it becomes an error of the noise."),
            (lambda a, s, g2: g2 / (a**2 * s**2), "alpha divides where it should multiply, and sigma appears only once as a variance."),
            (lambda a, s, g2: (g2 * a**2 / s**4).mean(), "one number for all times: return the factor of each."),
            *FACTORS,
        ],
    )  # fmt: skip


def _sampler(
    score: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    x: Tensor,
    ts: Tensor,
    eta: float,
    noises: Tensor,
    *,
    half: float = 0.5,
    power: float = 0.5,
    pull: float = 1,
    fade: float = 1,
    level: float = 0.5,
    last: int | None = None,
    at: int = 0,
    shared: bool = False,
) -> Tensor:
    """The reverse process by Euler-Maruyama, with every mistake as a dial.

    half: before the score. power: of the step in the noise. pull, fade: signs. level: the power of g^2 in the noise. at: the
    end of the step at which the drift is taken. shared: every step uses the first noise.
    """
    for i, pair in enumerate(list(pairwise(ts))[:last]):
        h, t = pair[0] - pair[1], pair[at]
        drift = pull * half * (1 + eta**2) * path.g2(t) * score(x, t) - fade * path.f(t) * x
        x = x + h * drift + eta * path.g2(t) ** level * h**power * noises[0 if shared else i]
    return x


def grade_sampler(answer: Any) -> None:
    """07-5: two planted bugs, a missing half at the score and a missing root at the noise."""
    g, path = seeded(75), VP()
    data = GaussianMixture(
        torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), stds=torch.tensor([0.3, 0.5])
    )
    cases = []
    for n, eta, end in ((5, 0.5, -1), (8, 1.0, -2), (4, 0.0, -1)):
        ts = grid(path, n)[:end]
        cases.append(
            {
                "score": lambda x, t: data.score(x, path, t),
                "path": path,
                "x": torch.randn(6, 2, generator=g, dtype=torch.float64),
                "ts": ts,
                "eta": eta,
                "noises": torch.randn(len(ts) - 1, 6, 2, generator=g, dtype=torch.float64),
            }
        )

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return partial(_sampler, **chosen)

    half = "without noise the score must have half of the squared diffusion as its factor; yours has all of it."
    root = "the noise of a step must have the step's length as its variance; yours has it as its standard deviation."
    quarter = (
        "the half stands there twice; without noise the score must have half of the squared diffusion, not a quarter."
    )
    anderson = "the factor of the score is right for noise level 1 only; it must follow the noise level, down to a half without noise."

    def fixed_pull(factor: float) -> Callable[..., Tensor]:
        def loop(
            score: Any, path: Path, x: Tensor, ts: Tensor, eta: float, noises: Tensor, power: float = 0.5
        ) -> Tensor:
            scaled = lambda x, t: 2 * factor / (1 + eta**2) * score(x, t)  # noqa: E731
            return _sampler(scaled, path, x, ts, eta, noises, power=power)

        return loop

    grade_function(
        answer,
        _sampler,
        cases,
        wrong=[
            (dials(half=1, power=1), f"both faults are still there. One: {half} Two: {root}"),
            (dials(power=1), f"the drift is mended, one fault is left: {root}"),
            (dials(half=1), f"the noise is mended, one fault is left: {half}"),
            (dials(half=0.25), quarter),
            (dials(half=0.5, power=0), "the noise no longer depends on the length of the step at all."),
            (dials(half=1, power=0), f"the noise no longer depends on the length of the step at all. And {half}"),
            (fixed_pull(1), anderson),
            (fixed_pull(0.5), "the factor of the score is right without noise only; more noise needs more pull to balance it."),
            (dials(power=2), "the length of the step is squared in the noise, where its root is asked for."),
            (dials(pull=-1), "the sign of the score is flipped: the samples run away from the data."),
            (dials(pull=-1, fade=-1), "the drift has the wrong sign as a whole; the step's length is positive here, and this loop was right about the signs."),
            (dials(fade=-1), "the sign of the fading is flipped: what fades on the way out must grow on the way back."),
            (dials(level=1), "the noise is multiplied by the squared diffusion; a square root is missing."),
            (dials(level=1, power=1), "the noise is multiplied by a variance, that of the whole step; a square root is missing around it."),
            (dials(at=1), "the drift is taken at the time at which the step ends; this method takes it where the step starts."),
            (dials(last=-1), "the last step is not taken: the state must reach the last time."),
            (dials(last=1), "only the first step is taken; does the `return` stand inside the loop?"),
            (dials(shared=True), "every step uses the same noise; each has its own."),
            *SAMPLERS,
        ],
    )  # fmt: skip


_ALL = (
    Exercise("07-1", "One step back, at any noise level", 2, grade_reverse_step, "it is the library's step for every noise level, the one without noise included."),
    Exercise("07-2", "Tweedie's formula, on any path", 2, grade_tweedie, "who knows the score can denoise."),
    Exercise("07-3", "Who is independent of whom?", 1, grade_pairs, "noise is independent of where its own step starts, and the step back starts at the later time."),
    Exercise("07-4", "What the bound asks of a data prediction", 2, grade_bound_factor, "it is minus the slope of the signal-to-noise ratio."),
    Exercise("07-5", "A reverse sampler with two faults", 3, grade_sampler, "it agrees with the library's steps for the same noises."),
)  # fmt: skip
for _exercise in _ALL:
    register(_exercise)
