"""Chapter 02: a bound from weights, the price of upright axes, a weight's variance, a rising water level, a broken bound."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .core import Case, call, choice, draw, formula
from .diagnose import as_tensor

# fmt: off

def _bound(log_weights, *, dim=0, less=math.log):
    """02-1: the log of the mean of weights; less: what is taken from the log of their sum, from how many there are."""
    return torch.logsumexp(log_weights, dim) - less(log_weights.shape[dim])

def _overflows(problem: str | None, answer: Any, cases: Sequence[Case]) -> str | None:
    """Where NaN or infinity comes out: whether it is for large and small weights only."""
    if problem is None or "NaN or infinity" not in problem:
        return problem
    small, *large = (as_tensor(call(answer, case)) for case in cases)
    overflow = any(one is not None and not bool(one.isfinite().all()) for one in large)
    if overflow and small is not None and bool(small.isfinite().all()):
        return "for weights near the middle it gives numbers, for large or small ones infinity or NaN: the exponentials leave the range of the floats. Take the largest logarithm out first, or use a function that does."
    return problem

g = seeded(21)
formula(
    "02-1", "A bound from weights", 2, "with one sample it is the ELBO's estimate.", _bound, [
        (2 * draw(g, 4, 3) + torch.tensor([0.0, 1.0, -1.5]),),
        (2 * draw(g, 6, 2) + torch.tensor([-2000.0, 1500.0]),),  # far outside the floats' range
        (2 * draw(g, 3, 5) + 0.5,),
        (torch.tensor([[-2000.0, 1500.0, 0.2], [0.3, 0.1, 0.4], [1500.0, -2000.0, -0.5]]).double(),),
    ], [
        (lambda w: w.mean(0), "this is the mean of the logarithms, an estimate of the ELBO; here the logarithm belongs outside the mean."),
        (lambda w: w.exp().mean(0), "this is the mean of the weights, and far from the middle it overflows; the bound is its logarithm, a logarithm is missing."),
        (lambda w: w.mean(0).exp(), "this is the exponential of the mean logarithm; the logarithm belongs outside of the mean, and the result is a logarithm."),
        ({"less": lambda k: 0}, "the weights are added up and not averaged, so the bound grows with the number of samples without end."),
        ({"less": lambda k: -math.log(k)}, "the number of samples multiplies the sum; a mean divides by it."),
        (lambda w: _bound(w, less=lambda k: math.log(w.shape[1])), "the sum over samples is divided by the number of data."),
        ({"less": lambda k: k}, "the sum is divided by the number of samples before the logarithm; outside of it, this number needs a logarithm too."),
        (lambda w: torch.logsumexp(w, 0) / len(w), "the logarithm of the sum is divided by the number of samples; it is the sum itself that should be."),
        (lambda w: w.max(0).values, "this keeps the largest weight only."),
        (lambda w: w.max(0).values - math.log(len(w)), "this keeps the largest weight only, and forgets the others in the sum."),
        (lambda w: (w.softmax(0) * w).sum(0), "this averages the logarithms, each with its share of the weight; that is what the gradient does, not the bound."),
        ({"dim": 1}, "this averages over the data, the second axis; each datum has a bound of its own."),
        ({"dim": 1, "less": lambda k: 0}, "this adds over the data, the second axis; each datum has a bound of its own."),
        (lambda w: _bound(w).mean(), "one number for all data; each datum has a bound of its own."),
        (lambda w: _bound(w.flatten()), "all samples of all data are averaged together; each datum has a bound of its own."),
    ],
    tolerance=1e-6,
    second_look=_overflows,
)

def _best(covariance):
    return torch.linalg.inv(covariance).diag().reciprocal()

def _gap(covariance, *, variances=_best, half=0.5, det=1, entropy=1):
    """02-2: KL of a Gaussian with independent entries to one with this covariance. det, entropy: how often they count."""
    s = variances(covariance)
    exponent = (torch.linalg.inv(covariance).diag() * s).sum() - len(covariance)  # 0 at the best variances
    return half * (exponent + det * torch.logdet(covariance) - entropy * s.log().sum())

g = seeded(22)
formula(
    "02-2", "The price of upright axes", 3, "it vanishes only when the axes are upright already.", _gap, [
        (torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64),),
        *((scale * root @ root.mT + floor * torch.eye(n).double(),) for n, scale, floor in ((4, 1, 0.2), (3, 3, 0.5)) for root in [draw(g, n, n)]),
    ], [
        ({"variances": torch.diag}, "this gives q the posterior's own variances; setting the derivative to zero asks for smaller ones."),
        (lambda c: (c.diag().log().sum() - torch.logdet(c)) / 2, "this is the smallest divergence the other way round, from the posterior to q; it matches variances, the bound does not."),
        (lambda c: c.diag().log().sum() - torch.logdet(c), "this is the divergence the other way round, from the posterior to q, and the half of a Gaussian's exponent is missing."),
        ({"variances": lambda c: torch.ones_like(c.diag())}, "this gives q unit variances; they are free."),
        ({"half": 1}, "the half of a Gaussian's exponent is missing."),
        ({"entropy": -1}, "the logarithms of the variances have the wrong sign: the best variance is a reciprocal, which turns the sign of its logarithm."),
        ({"det": -1}, "the determinant is that of the precision; it enters with that of the covariance."),
        ({"entropy": 0}, "the entropy of q is missing."),
        ({"det": 0}, "the determinant of the posterior is missing."),
        (lambda c: _gap(c) + len(c) / 2, "the number of entries cancels at the best variances; here it is left over."),
        (lambda c: _gap(c) - len(c) / 2, "the number of entries cancels at the best variances; here it is left over."),
        (_best, "these are the best variances; asked for is the divergence that they leave."),
    ],
)

def _variance(weight, pixels, latents, error, kl, *, factor=0.5, above=1.0, below=-1.0, averaged="mean"):
    """02-3: sigma^2 of a KL weight. above, below: the powers of the sizes. averaged: the word that asks for them."""
    for_error, for_kl = pixels**above if error == averaged else 1, latents**below if kl == averaged else 1
    return torch.tensor(weight * factor * for_error * for_kl, dtype=torch.float64)

formula(
    "02-3", "Which decoder is this?", 2, "one number, whatever the code averages.", _variance, [
        (0.6, 64, 16, "sum", "sum"), (0.5, 12, 4, "sum", "mean"), (0.03, 192, 8, "mean", "sum"), (0.02, 768, 20, "mean", "mean"),
    ], [
        (lambda *z: 2 * _variance(*z), "every case is twice too large: the weight is that of the summed KL, and the variance comes from the exponent of a Gaussian, which has a half."),
        (lambda *z: 4 * _variance(*z), "every case is four times too large: the factor two stands on the wrong side."),
        ({"above": 0.0, "below": 0.0}, "it ignores the reductions; the same weight means different decoders."),
        ({"above": 0.0}, "a mean over the pixels is treated like a sum."),
        ({"below": 0.0}, "a mean over the latent entries is treated like a sum."),
        ({"above": -1.0}, "where the error is a mean, the number of pixels stands on the wrong side: a mean error is small, so the KL beside it weighs more."),
        ({"below": 1.0}, "where the KL is a mean, the number of latent entries stands on the wrong side: a mean KL is small, so its weight is worth less."),
        ({"above": -1.0, "below": 1.0}, "both sizes stand on the wrong side."),
        (lambda w, p, n, e, k: _variance(w, n, p, e, k), "the two sizes have changed places: the error is over pixels, the KL over latent entries."),
        ({"averaged": "sum"}, "the words have changed places: what is summed is corrected here, and what is averaged is left."),
        ({"factor": 1.0, "above": 0.0, "below": 0.0}, "it returns the weight itself: neither the reductions nor the exponent of the Gaussian enter."),
        (lambda w, p, n, e, k: _variance(w, p, n, "mean", "mean"), "this is right when both are means; look at the two words."),
        (lambda *z: _variance(*z).sqrt(), "this is the standard deviation; the variance is asked for."),
    ],
)

choice(
    "02-4", "The water rises", 1, "every direction above the water pays and loses the same.", "c", {
        "a": "the KL is a logarithm of the variance over the level; doubling the level does not halve a logarithm.",
        "b": "the error is right; the KL has a half in front of its logarithm.",
        "d": "the KL is right; how large is the error of a direction that stands out of the water, and does it depend on how far?",
    },
)

def _nelbo(
    x, mean, logvar, eps, decode, variance, *, std=lambda v: (v / 2).exp(), inside=0.5, squared=Tensor.sum,
    entries=lambda x, z: x.shape[1], half=0.5, price=Tensor.sum,
):
    """02-5: the negative ELBO. Planted are a variance for a standard deviation (std), a constant once, a mean for a sum (price).

    std: from the log-variance. inside, half: the factors of error and KL; squared, price: what is done with their entries.
    entries: how often the Gaussian's constant is counted, from data and latents.
    """
    z = mean + std(logvar) * eps
    error = squared((x - decode(z)) ** 2, 1) * inside / variance
    kl = half * price(mean**2 + logvar.exp() - 1 - logvar, 1)
    return error + entries(x, z) * math.log(2 * math.pi * variance) / 2 + kl

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"std": torch.exp}, "the noise is multiplied by the variance, not by the standard deviation."),
    ({"entries": lambda x, z: 1}, "the Gaussian's constant is counted once, but x has more than one entry."),
    ({"price": Tensor.mean}, "the KL is averaged over the latent entries, so that it weighs too little."),
]
g = seeded(25)
formula(
    "02-5", "A bound with three faults", 3, "now its mean is never below the truth.", _nelbo, [
        (draw(g, n, pixels), *(draw(g, n, latents) for _ in range(3)), lambda z, m=matrix: torch.tanh(z.to(m) @ m), variance)
        for n, pixels, latents, variance in ((4, 6, 2, 0.3), (3, 5, 4, 1.7))
        for matrix in [draw(g, latents, pixels)]
    ], [
        *(
            ({k: v for fault, _ in left for k, v in fault.items()}, " ".join([start, *(text for _, text in left)]))
            for n, start in ((3, "all three faults are still there."), (2, "two faults are left."), (1, "one fault is left:"))
            for left in itertools.combinations(FAULTS, n)
        ),
        ({"entries": lambda x, z: 0}, "the constants of the Gaussian are missing; without them bounds of different variances cannot be compared."),
        ({"entries": lambda x, z: z.shape[1]}, "the Gaussian's constant is counted for the entries of the latent; it belongs to those of x."),
        ({"entries": lambda x, z: -x.shape[1]}, "the Gaussian's constant has the wrong sign."),
        ({"std": torch.zeros_like}, "the noise is gone: the mean is decoded, and that is no bound."),
        ({"std": lambda v: (-v / 2).exp()}, "the sign in the exponent of the standard deviation is flipped."),
        ({"std": torch.ones_like}, "the noise is not multiplied by the standard deviation at all."),
        ({"half": 1.0}, "the half of the KL has been lost."),
        ({"inside": 1.0}, "the half of the squared error has been lost."),
        ({"squared": Tensor.mean}, "the squared error is averaged over the entries of x; a density of all entries needs their sum."),
        ({"half": -0.5}, "the KL has the wrong sign: it is a price, so it makes the negative bound larger."),
        (lambda *z: _nelbo(*z).mean(), "one number for all data; each datum has a bound of its own."),
        (lambda *z: _nelbo(*z).sum(), "one number for all data; each datum has a bound of its own."),
        (lambda *z: -_nelbo(*z), "this is the ELBO; the negative one is asked for."),
    ],
)
