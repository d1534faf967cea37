"""Chapter 05: alpha from betas, the step back, the weight of v, a prediction about the bound, a broken ancestral sampler."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import Exercise, grade_choice, grade_function, grade_rows, register
from .ch05_repair import grade_ancestral


def grade_alphas(answer: Any) -> None:
    """05-1: alpha at each entry is the root of the running product of 1 - beta."""
    cases = [
        {"betas": torch.linspace(1e-4, 0.02, 50, dtype=torch.float64)},
        {"betas": torch.tensor([0.1, 0.3, 0.2, 0.6], dtype=torch.float64)},
    ]

    def bar(b: Tensor) -> Tensor:
        return (1 - b).cumprod(0)

    def shifted(b: Tensor) -> Tensor:
        return torch.cat([torch.ones(1), bar(b)[:-1]])

    added = "fadings one after the other multiply; here they are added up."

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
            (lambda b: shifted(b).sqrt(), "the table is shifted by one: its first entry is the state after one step, not the clean data."),
            (shifted, "the table is shifted by one, and a square root is missing."),
            (lambda b: bar(b).sqrt().roll(1), "the table is shifted by one: what should stand last has come to the front, and its first entry should be the state after one step."),
            (lambda b: torch.cat([bar(b)[1:], bar(b)[-1:]]).sqrt(), "each entry has been through a step too many: the first is the state after one step."),
            (lambda b: torch.cat([torch.ones(1), bar(b).sqrt()]), "clean data is not in the table: its first entry is the state after one step."),
            (lambda b: torch.cat([torch.ones(1), bar(b)]), "clean data is not in the table, and a square root is missing."),
            (lambda b: bar(b)[1:].sqrt(), "the state after the first step is missing."),
            (lambda b: (1 + b).cumprod(0).sqrt(), "the sign of beta is flipped: a step keeps less than all of the state."),
            (lambda b: (1 + b).cumprod(0), "the sign of beta is flipped, and a square root is missing."),
            (lambda b: (1 - b).cumsum(0).sqrt(), added),
            (lambda b: (1 - b).sqrt().cumsum(0), added),
            (lambda b: (1 - b).cumsum(0), added),
            (lambda b: 1 - b.cumsum(0), "the betas are added up, and a square root is missing; fadings one after the other multiply."),
            (lambda b: 1 - b.cumprod(0), "the product is taken over the betas; each step keeps its own part first, and these parts multiply."),
            (lambda b: (1 - b.cumprod(0)).sqrt(), "the product is taken over the betas; each step keeps its own part first, and these parts multiply. (The root is right.)"),
            (lambda b: torch.exp(-b.cumsum(0)), "this is alpha-bar in the limit of infinitely many small steps; a table has finite ones, and a square root is missing."),
            (lambda b: (1 - b.sqrt()).cumprod(0), "the root is taken of beta alone; it belongs over what beta leaves of the variance."),
            (lambda b: (1 - b / 2).cumprod(0), "this is the root to first order, which is close for small betas only."),
            (lambda b: bar(b) / (1 - bar(b)), "this is the signal-to-noise ratio, not the factor of the data."),
            (lambda b: (bar(b) / (1 - bar(b))).sqrt(), "this is the ratio of data to noise, not the factor of the data."),
            (lambda b: bar(b).log() / 2, "this is the logarithm of what is asked for."),
            (lambda b: bar(b).log(), "this is the logarithm of alpha-bar; undo it, and mind the square root."),
            (lambda b: bar(b).sqrt().flip(0), "the right numbers in reverse: the first entry is the cleanest."),
            (lambda b: (1 - b**2).sqrt(), "this is one step only, and beta, a variance already, is squared."),
            (lambda b: b.sqrt(), "this is the strength of a step's fresh noise, not what is left of the data."),
            (lambda b: b.cumsum(0), "the betas are added up: this is about the noise, and only to first order."),
            (lambda b: 1 - bar(b).sqrt(), "this is what is lost of the data, not what is left."),
            (lambda b: (1 - b).prod().sqrt(), "this is the last entry alone; the table has one for each step."),
            (lambda b: (1 - b).prod(), "this is the last entry alone, and squared; the table has one for each step."),
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


def _middle(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, a: Tensor, s: Tensor, rho2: Tensor) -> Tensor:
    return a * ((1 - rho2) * x0 + rho2 * x / at)


def _width(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, a: Tensor, s: Tensor, rho2: Tensor) -> Tensor:
    return s * (1 - rho2).sqrt()


Six = Callable[..., Tensor]


def _six(function: Six) -> Six:
    """A function of (x, x0, at, st, as, ss, rho2) as one of the exercise's six arguments."""
    return lambda x, x0, at, st, a, s: function(x, x0, at, st, a, s, (at * s / (a * st)) ** 2)


def grade_posterior(answer: Any) -> None:
    """05-2: mean and standard deviation of q(x_s | x_t, x0)."""
    mean, std = _six(_middle), _six(_width)
    means = [
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x / at + r * x0)), "the two opinions have changed places; which of them is trusted when the step is short?"),
        (_six(lambda x, x0, at, st, a, s, r: (1 - r) * x0 + r * x / at), "the state is not faded to the time at which it arrives."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 + r * x)), "the noisy state is not an opinion on the data before its own fading is undone."),
        (_six(lambda x, x0, at, st, a, s, r: a * x0), "it forgets the noisy state."),
        (_six(lambda x, x0, at, st, a, s, r: a * x0 + s * (x - at * x0) / st), "this is the deterministic step of DDIM, which keeps all of the old noise: its weights use the root of the ratio of the signal-to-noise ratios."),
        (_six(lambda x, x0, at, st, a, s, r: at * ((1 - r) * x0 + r * x / at)), "it is faded as at the time the step starts from."),
        (_six(lambda x, x0, at, st, a, s, r: a * (r * x / at - (1 - r) * x0)), "the sign of the data's part is flipped."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - 1 / r) * x0 + x / at / r)), "the ratio of the signal-to-noise ratios stands on its head."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 + r * x * at)), "the fading of the noisy state is done once more where it should be undone."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 - r * x / at)), "the sign of the noisy state's part is flipped."),
        (_six(lambda x, x0, at, st, a, s, r: a * (x0 + r * x / at)), "the weights of the two opinions must add up to 1; that of the data is too large."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 + x / at)), "the weights of the two opinions must add up to 1; that of the noisy state is too large."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x0 + r * x / at) / at), "the fading of the noisy state is undone for the data as well."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r) * x + r * x0 / at)), "the noisy state and the data have changed places."),
        (_six(lambda x, x0, at, st, a, s, r: a * x / at), "it forgets the data: this only undoes the fading of the step."),
        (_six(lambda x, x0, at, st, a, s, r: at / a * x), "this is the mean of the forward step; here the later state is given."),
        (_six(lambda x, x0, at, st, a, s, r: a * ((1 - r**2) * x0 + r**2 * x / at)), "the ratio of the signal-to-noise ratios is squared once too often."),
        (_six(lambda x, x0, at, st, a, s, r: (a * (1 - (at / a) ** 2) * x0 + at / a * (1 - a**2) * x) / (1 - at**2)), "this holds where the variance is preserved only; derive it from alpha and sigma."),
    ]  # fmt: skip
    stds = [
        (_six(lambda x, x0, at, st, a, s, r: s**2 * (1 - r)), "this is the variance; a square root is missing."),
        (_six(lambda x, x0, at, st, a, s, r: s * (1 - r.sqrt()).sqrt()), "the ratio of the signal-to-noise ratios is not squared, or rooted once too often."),
        (_six(lambda x, x0, at, st, a, s, r: st * (1 - r).sqrt()), "this is the noise that the forward step adds, the wider of the two usual choices."),
        (_six(lambda x, x0, at, st, a, s, r: st**2 * (1 - r)), "this is the forward step's noise, and its variance at that: a square root is missing too."),
        (_six(lambda x, x0, at, st, a, s, r: s + 0 * r), "this is the spread around the data alone; the noisy state tells something too and narrows it."),
        (_six(lambda x, x0, at, st, a, s, r: s * (1 - r)), "the shrinking factor belongs to the variance; a square root is missing on it."),
        (_six(lambda x, x0, at, st, a, s, r: (1 - at**2 / a**2).sqrt()), "this is the root of a beta of the forward chain, right only where the variance is preserved, and even there too wide."),
        (_six(lambda x, x0, at, st, a, s, r: s * (1 - at**2 / a**2).clamp(min=0).sqrt() / st), "this holds where the variance is preserved only; here data and noise need not add up to 1."),
        (_six(lambda x, x0, at, st, a, s, r: s * r.sqrt()), "this is what DDIM keeps of the old noise; what a step draws afresh is asked for."),
        (_six(lambda x, x0, at, st, a, s, r: (1 - r).sqrt()), "the noise of the time at which the step arrives is missing as a factor."),
        (_six(lambda x, x0, at, st, a, s, r: s * (1 + r).sqrt()), "a sign under the root is flipped: the noisy state narrows the spread."),
        (_six(lambda x, x0, at, st, a, s, r: (s * (1 - r)).sqrt()), "sigma stands under the root and must be squared there."),
        (_six(lambda x, x0, at, st, a, s, r: s * (1 - r**2).sqrt()), "the ratio of the signal-to-noise ratios is squared once too often."),
        (_six(lambda x, x0, at, st, a, s, r: st + 0 * r), "this is all of the noise at the time from which the step starts."),
        (_six(lambda x, x0, at, st, a, s, r: (st**2 - s**2).sqrt()), "the noise that is there at the earlier time fades on the way, which is forgotten here; and the two opinions narrow it further."),
        (_six(lambda x, x0, at, st, a, s, r: ((1 - (at / a) ** 2) * (1 - a**2) / (1 - at**2)).clamp(min=0).sqrt()), "this holds where the variance is preserved only; derive it from alpha and sigma."),
    ]  # fmt: skip
    whole = [
        (lambda *z: torch.stack([std(*z), mean(*z)]), "mean and standard deviation have changed places."),
        (lambda *z: mean(*z), "only the mean is returned; stack it with the standard deviation."),
        (lambda *z: std(*z), "only the standard deviation is returned; stack it with the mean, the mean first."),
    ]
    grade_rows(answer, {"mean": (mean, means), "standard deviation": (std, stds)}, _steps(), whole)


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
            (lambda at, st, a, s: at**2 * (snr(at, st) / snr(a, s) - 1) / 2, "the two times have changed places in the ratio of the signal-to-noise ratios."),
            (lambda at, st, a, s: at**2 * (snr(a, s) / snr(at, st)).log() / 2, "this is the weight in the limit of short steps; this step has a finite length."),
            (lambda at, st, a, s: at**2 * (snr(a, s) / snr(at, st)).log(), "the ratio is subtracted from 1 in the divergence; its logarithm is right for short steps only, and a half is missing."),
            (lambda at, st, a, s: (snr(a, s) - snr(at, st)) / 2 / st**2, "the factor between the errors of v and of the data stands on its head: at the clean end, which of them is larger?"),
            (lambda at, st, a, s: (snr(a, s) - snr(at, st)) / 2 * s**2, "the network is asked at the time the step starts from; the conversion from the data's error is taken at the other end."),
            (lambda at, st, a, s: (snr(a, s) - snr(at, st)) / 2 * st, "the factor between the errors of v and of the data is not squared, but the errors are."),
            (lambda at, st, a, s: eps(at, st, a, s) / st**2, "this divides by the factor that belongs to the data's error, but starts from the weight of the noise's error."),
            (lambda at, st, a, s: at**2 * snr(a, s) / snr(at, st) - 1 / 2, "the 1 and the half belong inside one bracket, which the conversion multiplies."),
            (lambda at, st, a, s: at**2 * ((a / at) ** 2 - 1) / 2, "sigma is missing from the signal-to-noise ratios."),
            (lambda at, st, a, s: at**2 * ((a * s / (at * st)) ** 2 - 1) / 2, "in the signal-to-noise ratios sigma multiplies where it should divide."),
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
