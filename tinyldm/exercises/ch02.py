"""Chapter 02: a bound from weights, the price of upright axes, a weight's variance, a rising water level, a broken bound."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import Exercise, NotYetError, call, grade_choice, grade_function, register
from .diagnose import as_tensor


def _log_mean(w: Tensor, dim: int = 0) -> Tensor:
    return torch.logsumexp(w, dim) - math.log(w.shape[dim])


def grade_bound(answer: Any) -> None:
    """02-1: the log of the mean of weights that are given by their logs, some far outside the floats' range."""
    g = seeded(21)

    def weights(k: int, shifts: list[float]) -> Tensor:
        return 2 * torch.randn(k, len(shifts), generator=g, dtype=torch.float64) + torch.tensor(shifts)

    cases = [
        {"log_weights": weights(4, [0.0, 1.0, -1.5])},
        {"log_weights": weights(6, [-2000.0, 1500.0])},
        {"log_weights": weights(3, [0.5] * 5)},
        {"log_weights": torch.tensor([[-2000.0, 1500.0, 0.2], [0.3, 0.1, 0.4], [1500.0, -2000.0, -0.5]]).double()},
    ]
    try:
        grade_function(
            answer,
            _log_mean,
            cases,
            wrong=[
                (lambda w: w.mean(0), "this is the mean of the logarithms, an estimate of the ELBO; here the logarithm belongs outside the mean."),
                (lambda w: w.exp().mean(0), "this is the mean of the weights, and far from the middle it overflows; the bound is its logarithm, a logarithm is missing."),
                (lambda w: w.mean(0).exp(), "this is the exponential of the mean logarithm; the logarithm belongs outside of the mean, and the result is a logarithm."),
                (lambda w: torch.logsumexp(w, 0), "the weights are added up and not averaged, so the bound grows with the number of samples without end."),
                (lambda w: torch.logsumexp(w, 0) + math.log(len(w)), "the number of samples multiplies the sum; a mean divides by it."),
                (lambda w: torch.logsumexp(w, 0) - math.log(w.shape[1]), "the sum over samples is divided by the number of data."),
                (lambda w: torch.logsumexp(w, 0) - len(w), "the sum is divided by the number of samples before the logarithm; outside of it, this number needs a logarithm too."),
                (lambda w: torch.logsumexp(w, 0) / len(w), "the logarithm of the sum is divided by the number of samples; it is the sum itself that should be."),
                (lambda w: w.max(0).values, "this keeps the largest weight only."),
                (lambda w: w.max(0).values - math.log(len(w)), "this keeps the largest weight only, and forgets the others in the sum."),
                (lambda w: (w.softmax(0) * w).sum(0), "this averages the logarithms, each with its share of the weight; that is what the gradient does, not the bound."),
                (lambda w: _log_mean(w, 1), "this averages over the data, the second axis; each datum has a bound of its own."),
                (lambda w: torch.logsumexp(w, 1), "this adds over the data, the second axis; each datum has a bound of its own."),
                (lambda w: _log_mean(w).mean(), "one number for all data; each datum has a bound of its own."),
                (lambda w: _log_mean(w.flatten()), "all samples of all data are averaged together; each datum has a bound of its own."),
            ],
            tolerance=1e-6,
        )  # fmt: skip
    except NotYetError as error:
        if "NaN or infinity" not in str(error):
            raise
        small, *large = (as_tensor(call(answer, case)) for case in cases)
        overflow = any(one is not None and not bool(one.isfinite().all()) for one in large)
        if overflow and small is not None and bool(small.isfinite().all()):
            raise NotYetError(
                "for weights near the middle it gives numbers, for large or small ones infinity or NaN: the exponentials "
                "leave the range of the floats. Take the largest logarithm out first, or use a function that does."
            ) from None
        raise


def _axes_gap(c: Tensor) -> Tensor:
    return (torch.logdet(c) + torch.linalg.inv(c).diag().log().sum()) / 2


def grade_axes(answer: Any) -> None:
    """02-2: KL of the best Gaussian with independent entries to a Gaussian with this covariance."""
    g = seeded(22)
    root = torch.randn(4, 4, generator=g, dtype=torch.float64)
    other = torch.randn(3, 3, generator=g, dtype=torch.float64)
    cases = [
        {"covariance": torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)},
        {"covariance": root @ root.mT + 0.2 * torch.eye(4, dtype=torch.float64)},
        {"covariance": 3 * other @ other.mT + 0.5 * torch.eye(3, dtype=torch.float64)},
    ]

    def parts(c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.logdet(c), torch.linalg.inv(c).diag(), c.diag()

    def with_own(c: Tensor) -> Tensor:
        det, p, v = parts(c)
        return ((p * v).sum() - len(c) + det - v.log().sum()) / 2

    def with_ones(c: Tensor) -> Tensor:
        det, p, _ = parts(c)
        return (p.sum() - len(c) + det) / 2

    grade_function(
        answer,
        _axes_gap,
        cases,
        wrong=[
            (with_own, "this gives q the posterior's own variances; setting the derivative to zero asks for smaller ones."),
            (lambda c: (parts(c)[2].log().sum() - parts(c)[0]) / 2, "this is the smallest divergence the other way round, from the posterior to q; it matches variances, the bound does not."),
            (lambda c: parts(c)[2].log().sum() - parts(c)[0], "this is the divergence the other way round, from the posterior to q, and the half of a Gaussian's exponent is missing."),
            (with_ones, "this gives q unit variances; they are free."),
            (lambda c: 2 * _axes_gap(c), "the half of a Gaussian's exponent is missing."),
            (lambda c: (parts(c)[0] - parts(c)[1].log().sum()) / 2, "the logarithms of the variances have the wrong sign: the best variance is a reciprocal, which turns the sign of its logarithm."),
            (lambda c: (parts(c)[1].log().sum() - parts(c)[0]) / 2, "the determinant is that of the precision; it enters with that of the covariance."),
            (lambda c: parts(c)[0] / 2, "the entropy of q is missing."),
            (lambda c: parts(c)[1].log().sum() / 2, "the determinant of the posterior is missing."),
            (lambda c: _axes_gap(c) + len(c) / 2, "the number of entries cancels at the best variances; here it is left over."),
            (lambda c: _axes_gap(c) - len(c) / 2, "the number of entries cancels at the best variances; here it is left over."),
            (lambda c: torch.linalg.inv(c).diag().reciprocal(), "these are the best variances; asked for is the divergence that they leave."),
        ],
    )  # fmt: skip


def _variance(weight: float, pixels: int, latents: int, error: str, kl: str, **dials: Any) -> Tensor:
    """sigma^2 of a KL weight; the powers of the sizes and the factor are dials, so that every mistake is one."""
    value = weight * dials.get("factor", 0.5)
    if error == dials.get("mean", "mean"):
        value *= (latents if dials.get("swap") else pixels) ** dials.get("power", 1.0)
    if kl == dials.get("mean", "mean"):
        value *= (pixels if dials.get("swap") else latents) ** dials.get("below", -1.0)
    return torch.tensor(value, dtype=torch.float64)


def grade_variance(answer: Any) -> None:
    """02-3: the decoder's variance that a KL weight with stated reductions stands for."""
    words = itertools.product(("sum", "mean"), repeat=2)
    sizes = ((0.6, 64, 16), (0.5, 12, 4), (0.03, 192, 8), (0.02, 768, 20))
    cases = [
        {"weight": w, "pixels": p, "latents": n, "error": e, "kl": k}
        for (e, k), (w, p, n) in zip(words, sizes, strict=True)
    ]

    def dial(**chosen: Any) -> Callable[..., Tensor]:
        return lambda *arguments: _variance(*arguments, **chosen)

    grade_function(
        answer,
        _variance,
        cases,
        wrong=[
            (dial(factor=1.0), "every case is twice too large: the weight is that of the summed KL, and the variance comes from the exponent of a Gaussian, which has a half."),
            (dial(factor=2.0), "every case is four times too large: the factor two stands on the wrong side."),
            (dial(power=0.0, below=0.0), "it ignores the reductions; the same weight means different decoders."),
            (dial(power=0.0), "a mean over the pixels is treated like a sum."),
            (dial(below=0.0), "a mean over the latent entries is treated like a sum."),
            (dial(power=-1.0), "where the error is a mean, the number of pixels stands on the wrong side: a mean error is small, so the KL beside it weighs more."),
            (dial(below=1.0), "where the KL is a mean, the number of latent entries stands on the wrong side: a mean KL is small, so its weight is worth less."),
            (dial(power=-1.0, below=1.0), "both sizes stand on the wrong side."),
            (dial(swap=True), "the two sizes have changed places: the error is over pixels, the KL over latent entries."),
            (dial(mean="sum"), "the words have changed places: what is summed is corrected here, and what is averaged is left."),
            (dial(factor=1.0, power=0.0, below=0.0), "it returns the weight itself: neither the reductions nor the exponent of the Gaussian enter."),
            (lambda w, p, n, e, k: torch.tensor(w * p / n / 2, dtype=torch.float64), "this is right when both are means; look at the two words."),
            (lambda *z: _variance(*z).sqrt(), "this is the standard deviation; the variance is asked for."),
        ],
    )  # fmt: skip


def grade_water(answer: Any) -> None:
    """02-4: what doubling the decoder's variance does to a living direction."""
    grade_choice(
        answer,
        "c",
        {
            "a": "the KL is a logarithm of the variance over the level; doubling the level does not halve a logarithm.",
            "b": "the error is right; the KL has a half in front of its logarithm.",
            "d": "the KL is right; how large is the error of a direction that stands out of the water, and does it depend on how far?",
        },
    )


def _nelbo(
    x: Tensor,
    mean: Tensor,
    logvar: Tensor,
    eps: Tensor,
    decode: Callable[[Tensor], Tensor],
    variance: float,
    *,
    root: float = 0.5,
    entries: str = "x",
    reduce: str = "sum",
    noise: float = 1.0,
    half: float = 0.5,
    inside: float = 0.5,
    error: str = "sum",
    sign: float = 1.0,
) -> Tensor:
    """The negative ELBO with every mistake as a dial."""
    z = mean + noise * (root * logvar).exp() * eps
    squares = getattr((x - decode(z)) ** 2, error)(1)
    count = {"x": x.shape[1], "one": 1, "none": 0, "z": mean.shape[1]}[entries]
    kl = half * getattr(mean**2 + logvar.exp() - 1 - logvar, reduce)(1)
    return squares * inside / variance + sign * count * math.log(2 * math.pi * variance) / 2 + kl


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "root": ({"root": 1.0}, "the noise is multiplied by the variance, not by the standard deviation."),
    "entries": ({"entries": "one"}, "the Gaussian's constant is counted once, but x has more than one entry."),
    "reduce": ({"reduce": "mean"}, "the KL is averaged over the latent entries, so that it weighs too little."),
}


def grade_nelbo(answer: Any) -> None:
    """02-5: three planted bugs, a variance for a standard deviation, a constant counted once, a mean for a sum."""
    g = seeded(25)
    cases = []
    for batch, pixels, latents, variance in ((4, 6, 2, 0.3), (3, 5, 4, 1.7)):
        matrix = torch.randn(latents, pixels, generator=g, dtype=torch.float64)
        case: dict[str, Any] = {"x": torch.randn(batch, pixels, generator=g, dtype=torch.float64)}
        for name in ("mean", "logvar", "eps"):
            case[name] = torch.randn(batch, latents, generator=g, dtype=torch.float64)
        cases.append({**case, "decode": _decoder(matrix), "variance": variance})

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return lambda *arguments: _nelbo(*arguments, **chosen)

    wrong: list[tuple[Callable[..., Tensor], str]] = []
    for left in (3, 2, 1):
        for names in itertools.combinations(FAULTS, left):
            chosen = {k: v for name in names for k, v in FAULTS[name][0].items()}
            start = {3: "all three faults are still there.", 2: "two faults are left.", 1: "one fault is left:"}[left]
            wrong.append((dials(**chosen), " ".join([start, *(FAULTS[name][1] for name in names)])))
    wrong += [
        (dials(entries="none"), "the constants of the Gaussian are missing; without them bounds of different variances cannot be compared."),
        (dials(entries="z"), "the Gaussian's constant is counted for the entries of the latent; it belongs to those of x."),
        (dials(sign=-1.0), "the Gaussian's constant has the wrong sign."),
        (dials(noise=0.0), "the noise is gone: the mean is decoded, and that is no bound."),
        (dials(root=-0.5), "the sign in the exponent of the standard deviation is flipped."),
        (dials(root=0.0), "the noise is not multiplied by the standard deviation at all."),
        (dials(half=1.0), "the half of the KL has been lost."),
        (dials(inside=1.0), "the half of the squared error has been lost."),
        (dials(error="mean"), "the squared error is averaged over the entries of x; a density of all entries needs their sum."),
        (dials(half=-0.5), "the KL has the wrong sign: it is a price, so it makes the negative bound larger."),
        (lambda *z: _nelbo(*z).mean(), "one number for all data; each datum has a bound of its own."),
        (lambda *z: _nelbo(*z).sum(), "one number for all data; each datum has a bound of its own."),
        (lambda *z: -_nelbo(*z), "this is the ELBO; the negative one is asked for."),
    ]  # fmt: skip
    grade_function(answer, _nelbo, cases, wrong=wrong)


def _decoder(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda z: torch.tanh(z.to(matrix) @ matrix)


for _exercise in (
    Exercise("02-1", "A bound from weights", 2, grade_bound, "with one sample it is the ELBO's estimate."),
    Exercise("02-2", "The price of upright axes", 3, grade_axes, "it vanishes only when the axes are upright already."),
    Exercise("02-3", "Which decoder is this?", 2, grade_variance, "one number, whatever the code averages."),
    Exercise("02-4", "The water rises", 1, grade_water, "every direction above the water pays and loses the same."),
    Exercise("02-5", "A bound with three faults", 3, grade_nelbo, "now its mean is never below the truth."),
):
    register(_exercise)
