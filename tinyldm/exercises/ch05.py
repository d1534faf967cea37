"""Chapter 05: alpha from betas, the step back, the weight of v, a prediction about the bound, a broken ancestral sampler."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..gaussian import GaussianMixture
from ..grids import grid
from ..path import VP, DiscreteVP, Path
from ..prediction import Predict
from ..runtime import seeded
from .core import Exercise, grade_choice, grade_function, register


def grade_alphas(answer: Any) -> None:
    """05-1: alpha at each entry is the root of the running product of 1 - beta."""
    cases = [
        {"betas": torch.linspace(1e-4, 0.02, 50, dtype=torch.float64)},
        {"betas": torch.tensor([0.1, 0.3, 0.2, 0.6], dtype=torch.float64)},
    ]

    def shifted(b: Tensor) -> Tensor:
        return torch.cat([torch.ones(1), (1 - b).cumprod(0)[:-1].sqrt()])

    grade_function(
        answer,
        lambda b: (1 - b).cumprod(0).sqrt(),
        cases,
        wrong=[
            (lambda b: (1 - b).cumprod(0), "this is alpha-bar of the paper, the square of the factor of the data; a square root is missing."),
            (lambda b: (1 - b).sqrt(), "this is what a single step leaves of the state; the data has been through all the steps before as well."),
            (lambda b: 1 - b, "this is the paper's alpha without a bar: one step only, and squared."),
            (lambda b: (1 - (1 - b).cumprod(0)).sqrt(), "this is the noise's standard deviation, not the factor of the data."),
            (lambda b: 1 - (1 - b).cumprod(0), "this is the noise's variance, not the factor of the data."),
            (lambda b: b.cumprod(0).sqrt(), "the betas themselves are multiplied; a step keeps what beta leaves of the variance."),
            (lambda b: b.cumprod(0), "the betas themselves are multiplied, and a square root is missing."),
            (lambda b: (1 - b.cumsum(0)).clamp(min=0).sqrt(), "the betas are added up; fadings one after the other multiply."),
            (lambda b: torch.exp(-b.cumsum(0) / 2), "this is the limit of infinitely many small steps; a table has finite ones, so its factors multiply."),
            (lambda b: (1 - b**2).cumprod(0).sqrt(), "beta is already a variance; here it is squared once more."),
            (lambda b: (1 - b).cumprod(0) ** 2, "squared where a square root is asked for."),
            (shifted, "the table is shifted by one: its first entry is the state after one step, not the clean data."),
            (lambda b: (1 - b).prod().sqrt().expand_as(b), "this is the value at the last entry everywhere; each entry has been through the steps up to its own."),
            (lambda b: (1 - b).flip(0).cumprod(0).flip(0).sqrt(), "the product runs from the noisy end; the data starts at the clean one."),
        ],
        tolerance=1e-5,
    )  # fmt: skip


NAMES = ("alpha_t", "sigma_t", "alpha_s", "sigma_s")


def _steps() -> list[dict[str, Any]]:
    """Pairs of times on a path that preserves the variance, and on one that does not: the formula knows both."""
    g = seeded(51)
    s = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    t = s + torch.tensor([0.05, 0.2, 0.3], dtype=torch.float64)
    angle = math.pi / 2
    kinds = [
        ((t * angle).cos(), (t * angle).sin(), (s * angle).cos(), (s * angle).sin()),
        (1 - t, t, 1 - s, s),
    ]
    return [
        {
            "x": torch.randn(3, generator=g, dtype=torch.float64),
            "x0": torch.randn(3, generator=g, dtype=torch.float64),
            **dict(zip(NAMES, kind, strict=True)),
        }
        for kind in kinds
    ]


def _gaussian(
    mean: Callable[..., Tensor] | None = None, std: Callable[..., Tensor] | None = None
) -> Callable[..., Tensor]:
    """The step's mean and standard deviation, one of them replaced. Both get (x, x0, at, st, as, ss, rho2)."""

    def both(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, a: Tensor, s: Tensor) -> Tensor:
        rho2 = (at * s / (a * st)) ** 2
        middle = (mean or _middle)(x, x0, at, st, a, s, rho2)
        return torch.stack([middle, (std or _width)(x, x0, at, st, a, s, rho2)])

    return both


def _middle(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, a: Tensor, s: Tensor, rho2: Tensor) -> Tensor:
    return a * ((1 - rho2) * x0 + rho2 * x / at)


def _width(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, a: Tensor, s: Tensor, rho2: Tensor) -> Tensor:
    return s * (1 - rho2).sqrt()


def grade_posterior(answer: Any) -> None:
    """05-2: mean and standard deviation of q(x_s | x_t, x0)."""
    fine = "the mean is right, the standard deviation is not: "
    wide = "the standard deviation is right, the mean is not: "
    grade_function(
        answer,
        _gaussian(),
        _steps(),
        wrong=[
            (_gaussian(std=lambda x, x0, at, st, a, s, r: s**2 * (1 - r)), f"{fine}this is the variance; a square root is missing."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: s * (1 - r.sqrt()).sqrt()), f"{fine}the ratio of the signal-to-noise ratios is not squared, or rooted once too often."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: st * (1 - r).sqrt()), f"{fine}this is the noise that the forward step adds, the wider of the two usual choices."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: st**2 * (1 - r)), f"{fine}this is the forward step's noise, and its variance at that: a square root is missing too."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: s + 0 * r), f"{fine}this is the spread around the data alone; the noisy state tells something too and narrows it."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: s * (1 - r)), f"{fine}the shrinking factor belongs to the variance; a square root is missing on it."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: (1 - at**2 / a**2).sqrt()), f"{fine}this is the root of a beta of the forward chain, right only where the variance is preserved, and even there too wide."),
            (_gaussian(std=lambda x, x0, at, st, a, s, r: s * (1 - at**2 / a**2).clamp(min=0).sqrt() / st), f"{fine}this holds where the variance is preserved only; here data and noise need not add up to 1."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: a * ((1 - r) * x / at + r * x0)), f"{wide}the two opinions have changed places; which of them is trusted when the step is short?"),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: (1 - r) * x0 + r * x / at), f"{wide}the state is not faded to the time at which it arrives."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 + r * x)), f"{wide}the noisy state is not an opinion on the data before its own fading is undone."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: a * x0), f"{wide}it forgets the noisy state."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: a * x0 + s * (x - at * x0) / st), f"{wide}this is the deterministic step of DDIM, which keeps all of the old noise: its weights use the root of the ratio of the signal-to-noise ratios."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: at * ((1 - r) * x0 + r * x / at)), f"{wide}it is faded as at the time the step starts from."),
            (_gaussian(mean=lambda x, x0, at, st, a, s, r: a * (r * x / at - (1 - r) * x0)), f"{wide}the sign of the data's part is flipped."),
            (lambda *z: _gaussian()(*z).flip(0), "mean and standard deviation have changed places."),
            (lambda *z: _gaussian()(*z)[0], "only the mean is returned; stack it with the standard deviation."),
            (lambda *z: _gaussian()(*z)[1], "only the standard deviation is returned; stack it with the mean, the mean first."),
        ],
    )  # fmt: skip


def grade_v_weight(answer: Any) -> None:
    """05-3: the weight of |v - v_hat|^2 in a step's divergence on a variance-preserving path."""
    case = _steps()[0]
    angle = torch.tensor([0.2, 0.9, 1.3], dtype=torch.float64)
    earlier = angle - torch.tensor([0.1, 0.3, 0.02], dtype=torch.float64)
    cases = [
        {name: case[name] for name in NAMES},
        dict(zip(NAMES, (angle.cos(), angle.sin(), earlier.cos(), earlier.sin()), strict=True)),
    ]

    def snr(a: Tensor, s: Tensor) -> Tensor:
        return (a / s) ** 2

    def eps(at: Tensor, st: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return (snr(a, s) / snr(at, st) - 1) / 2

    grade_function(
        answer,
        lambda at, st, a, s: at**2 * eps(at, st, a, s),
        cases,
        wrong=[
            (lambda *z: eps(*z), "this is the weight of the noise's error; the error of v is a multiple of it that depends on the time."),
            (lambda at, st, a, s: (snr(a, s) - snr(at, st)) / 2, "this is the weight of the data's error; the error of v is a multiple of it that depends on the time."),
            (lambda at, st, a, s: eps(at, st, a, s) / at**2, "the factor between the errors of v and of the noise stands on its head: near the noisy end, which of them is larger?"),
            (lambda at, st, a, s: at * eps(at, st, a, s), "the factor between the two errors is not squared, but the errors are."),
            (lambda at, st, a, s: eps(at, st, a, s) / at, "the factor between the two errors stands on its head, and it is not squared."),
            (lambda at, st, a, s: a**2 * eps(at, st, a, s), "the network is asked at the time the step starts from; the conversion is taken at the other end."),
            (lambda at, st, a, s: st**2 * eps(at, st, a, s), "this converts between v and the data's error, but starts from the weight of the noise's error."),
            (lambda at, st, a, s: at**2 * (snr(a, s) - snr(at, st)) / 2, "this converts between v and the noise's error, but starts from the weight of the data's error."),
            (lambda at, st, a, s: 2 * at**2 * eps(at, st, a, s), "the half of the Gaussian's exponent is missing."),
            (lambda at, st, a, s: at**2 * (1 - snr(at, st) / snr(a, s)) / 2, "the two times have changed places in the ratio of the signal-to-noise ratios, and the sign with them."),
            (lambda at, st, a, s: at**2 * snr(a, s) / snr(at, st) / 2, "a step of no length must cost nothing; something is left to subtract."),
            (lambda at, st, a, s: at**2 * (snr(a, s).sqrt() / snr(at, st).sqrt() - 1) / 2, "the signal-to-noise ratio is a ratio of powers; these are amplitudes."),
        ],
    )  # fmt: skip


def grade_doubling(answer: Any) -> None:
    """05-4: what happens when the number of steps doubles."""
    grade_choice(
        answer,
        "c",
        {
            "a": "the sum has a limit, the integral; if every weight stayed as it is, twice as many terms would double it.",
            "b": "the weights do halve, nearly; but the sum stays above the integral by something of second order in each of the steps, and how many of those are there?",
            "d": "the weights belong to the steps, not to the entries: a step that is half as long gains half as much.",
        },
    )


def _ancestral(
    predict: Predict,
    path: Path,
    x: Tensor,
    ts: Tensor,
    noises: Tensor,
    *,
    power: float = 2.0,
    last: float = 2.0,
    spread: float = 1.0,
    noise_at: int = 1,
    root: float = 0.5,
    sign: float = 1.0,
) -> Tensor:
    """Ancestral sampling with every mistake as a dial.

    power: of the ratio in the mean; last: of the ratio in the variance; spread, root: powers of sigma and of 1 - ratio^2 in
    the noise's factor; noise_at: at which end of the step sigma is taken there.
    """
    for pair, noise in zip(pairwise(ts), noises, strict=False):
        t, s = pair
        x0 = predict(x, t).x0
        ratio = path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))
        mean = path.alpha(s) * ((1 - ratio**power) * x0 + ratio**power * x / path.alpha(t))
        x = mean + sign * path.sigma(pair[noise_at]) ** spread * (1 - ratio**last) ** root * noise
    return x


def grade_ancestral(answer: Any) -> None:
    """05-5: two planted bugs, the ratio unsquared in the mean and a variance for a standard deviation."""
    g = seeded(55)
    data = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0], [0.7]]), stds=torch.tensor([0.3, 0.5]))
    cases = []
    for path, n in ((VP(), 5), (DiscreteVP.from_betas("linear"), 8)):
        ts = grid(path, n)
        cases.append(
            {
                "predict": data.predict(path),
                "path": path,
                "x": torch.randn(6, 1, generator=g, dtype=torch.float64),
                "ts": ts[:-1],  # end early, where a last step can still be seen
                "noises": torch.randn(n - 1, 6, 1, generator=g, dtype=torch.float64),
            }
        )

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return lambda *arguments: _ancestral(*arguments, **chosen)

    mean = "the two opinions in the mean are weighed by the root of the right ratio."
    std = "the noise is multiplied by the variance; a square root is missing."
    grade_function(
        answer,
        _ancestral,
        cases,
        wrong=[
            (dials(power=1, spread=2, root=1), f"both faults are still there. One: {mean} Two: {std}"),
            (dials(spread=2, root=1), f"the mean is mended, one fault is left: {std}"),
            (dials(power=1), f"the noise is mended, one fault is left: {mean}"),
            (dials(root=1), "the mean is mended; of the noise's factor, only one of its two parts has got its square root."),
            (dials(spread=2), "the mean is mended; of the noise's factor, sigma is still squared."),
            (dials(power=1, root=1), f"of the noise's factor, only one of its two parts has got its square root; and {mean}"),
            (dials(power=1, spread=2), f"of the noise's factor, sigma is still squared; and {mean}"),
            (dials(power=4), "the ratio in the mean is squared once too often."),
            (dials(last=1), "the ratio in the noise's factor has lost its square."),
            (dials(power=1, last=1), "neither ratio is squared: it is the ratio of the signal-to-noise ratios that both need."),
            (dials(noise_at=0), "this adds the forward step's noise; the narrower of the two usual choices is asked for, which belongs to the other end of the step."),
            (dials(sign=0.0), "no fresh noise is added."),
            (dials(sign=-1.0), "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
            (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:-1], noises), "the last step is not taken: the state must reach ts[-1]."),
            (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:2], noises), "only the first step is taken; does the `return` stand inside the loop?"),
            (lambda p, path, x, ts, noises: p(_ancestral(p, path, x, ts, noises), ts[-1]).x0, "the loop is right, but the function should return the state at the last time, without a final denoising."),
        ],
    )  # fmt: skip


for _exercise in (
    Exercise(
        "05-1", "From betas to alpha", 2, grade_alphas, "each entry has been through all the steps up to its own."
    ),
    Exercise(
        "05-2",
        "The step back",
        3,
        grade_posterior,
        "and it holds on every path, also where the variance is not preserved.",
    ),
    Exercise(
        "05-3", "The weight of v", 2, grade_v_weight, "at the noisy end the bound asks less of v than of the noise."
    ),
    Exercise("05-4", "Twice as many steps", 1, grade_doubling, "a sum that approaches its integral at first order."),
    Exercise(
        "05-5",
        "An ancestral sampler with two faults",
        3,
        grade_ancestral,
        "it draws from the exact Gaussian at every step.",
    ),
):
    register(_exercise)
