"""Chapter 01: the best linear code, a Gaussian decoder, noise in the code, two gradients, a broken loss."""

import math
from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .core import Case, Faults, NotYetError, call, choice, draw, formula
from .diagnose import as_tensor, close

# fmt: off

def _rebuild(x, d, *, centre=True, back=True, first=True, more=0):
    """01-1: x projected on d principal directions; each dial undoes one thing that belongs to it."""
    mean = x.mean(0)
    away = x - mean if centre else x
    directions = torch.linalg.svd(away, full_matrices=False)[2]
    kept = directions[: d + more] if first else directions[-d - more :]
    return away @ kept.mT @ kept + (mean if centre and back else 0.0)

def _code(x, d, stretch=False):
    left, sizes, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return left[:, :d] * (1.0 if stretch else sizes[:d])

def _entries(x, d):
    away = x - x.mean(0)
    kept = away.var(0).argsort(descending=True)[:d]
    mask = torch.zeros(x.shape[1], dtype=x.dtype).index_fill(0, kept, 1.0)
    return away * mask + x.mean(0)

def _by_rows(x, d):
    away = x.mean(1, keepdim=True)
    return _rebuild(x - away, d, centre=False) + away

def _cloud(g, n, width):
    """Points around a centre that is not zero, wider in some slanted directions than in others."""
    mix = draw(g, width, width)
    return draw(g, n, width) @ mix + 1 + torch.arange(width)

g = seeded(11)
formula(
    "01-1", "The best linear autoencoder", 2, "no linear autoencoder of this size does better.", _rebuild,
    [(_cloud(g, 40, 5), 2), (_cloud(g, 30, 7), 3)], [
        ({"centre": False}, "the data are not centred: the directions of largest variance are looked for around the mean, and these run from the origin."),
        ({"back": False}, "the mean was taken away before the projection and is not put back afterwards."),
        ({"first": False}, "these are the directions of smallest variance; in which order do they come?"),
        (lambda x, d: x - _rebuild(x, d), "this is the error, what the projection leaves over."),
        (lambda x, d: x - _rebuild(x, d) + x.mean(0), "this keeps what the projection should throw away, and throws away what it should keep."),
        (_code, "this is the code; it still has to be decoded."),
        (lambda x, d: _code(x, d, stretch=True), "this is the code, scaled to one length in every direction; it still has to be decoded."),
        (lambda x, d: x + 0.0, "this is x itself: nothing went through a bottleneck."),
        (lambda x, d: x.mean(0).expand_as(x), "this is the mean for every point: nothing came through the bottleneck."),
        (_entries, "these are the entries of largest variance; directions may be slanted."),
        ({"more": -1}, "one direction too few is kept."),
        ({"more": 1}, "one direction too many is kept."),
        (_by_rows, "the mean is taken over the entries of each point; the centre of the cloud is a mean over the points."),
    ],
    tolerance=1e-3,
)

def _nll(
    x, x_hat, variance, *, half=0.5, distance=torch.square, mean=False, power=1, log=0.5, entries=None, under=1,
    constant=2 * math.pi, base=math.e,
):
    """01-2: the negative log-likelihood of a Gaussian decoder with one variance a sample, two terms.

    half, log: their factors. distance: of each entry, mean: averaged. power, under: of the variance in the two terms. entries:
    how often the logarithm is counted. constant: under the logarithm, base: its base.
    """
    far = distance(x - x_hat)
    error = far.mean(1) if mean else far.sum(1)
    count = x.shape[1] if entries is None else entries
    return half * error / variance**power + log * count * torch.log(constant * variance**under) / math.log(base)

g = seeded(12)
formula(
    "01-2", "A Gaussian decoder", 2, "the logarithm is what keeps the variance honest.", _nll, [
        (*draw(g, 2, n, d), 0.2 + 2 * torch.rand(n, generator=g, dtype=torch.float64))
        for n, d in ((6, 5), (4, 12))
    ], [
        ({"log": 0}, "the logarithm is missing: it is a constant only while the variance is."),
        ({"log": 0, "power": 0}, "the variance does not appear at all."),
        ({"entries": 1}, "the squares are added up over the entries and the logarithm is counted once; every entry brings its own."),
        ({"mean": True}, "the squared error is a mean over the entries, while the logarithm is a sum over them."),
        ({"mean": True, "entries": 1}, "this is a mean over the entries; the density of the whole x is a product over them."),
        ({"half": 1, "log": 1}, "the half of the Gaussian's exponent, and of the root in front of it, is missing."),
        ({"half": 1}, "the half is missing on the squared error."),
        ({"log": 1}, "the half is missing on the logarithm: a root stands in the Gaussian's denominator."),
        ({"constant": 1}, "the constant is missing: the logarithm has lost a number under it."),
        ({"power": 2, "under": 2}, "the variance is squared as if it were a standard deviation."),
        ({"power": 2}, "the variance is squared under the error as if it were a standard deviation."),
        ({"power": 0.5}, "the squared error is divided by a standard deviation."),
        ({"power": -1}, "the error is multiplied by the variance: shall a decoder that claims less noise pay less for the same error?"),
        ({"log": -0.5}, "the sign of the logarithm is flipped: now a larger variance is always better."),
        (lambda x, y, v: -_nll(x, y, v), "this is the log density itself; what is minimised has the other sign."),
        ({"distance": torch.abs}, "a Gaussian measures squares, not absolute differences."),
        (lambda x, y, v: ((x - y).norm(dim=1) / v + x.shape[1] * torch.log(2 * math.pi * v)) / 2, "this is the length of the error; the exponent has its square."),
        ({"base": 10}, "the logarithm has the wrong base; nats are asked for."),
        (lambda x, y, v: _nll(x, y, v) / math.log(2), "these are bits; nats are asked for."),
    ],
)

def _best(b, s):
    return b / (b**2 + s**2)

def _left(b, s):
    return s**2 / (b**2 + s**2)

def _cost(a, b, s):
    """The error that a decoder's factor leaves."""
    return (1 - a * b) ** 2 + (a * s) ** 2

def _decoder(b, s, *, factor=_best, error=_left):
    """01-3: the best linear decoder of a code with noise, and the error that it leaves."""
    return torch.stack([factor(b, s), error(b, s)])

FINE, OTHER = "the decoder's factor is right, the error is not: ", "the error is right, the decoder's factor is not: "
formula(
    "01-3", "Noise in the code", 3, "the error depends on the ratio of s and b alone, and nothing stops it from going to zero.", _decoder, [
        (torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64), torch.tensor([0.4, 1.0, 0.2], dtype=torch.float64)),
        (torch.tensor([-2.0, 0.3], dtype=torch.float64), torch.tensor([0.7, 1.5], dtype=torch.float64)),
    ], [
        ({"factor": lambda b, s: 1 / b, "error": lambda b, s: _cost(1 / b, b, s)}, "this decoder inverts the encoder and enlarges the noise with it; a smaller factor leaves a smaller error."),
        ({"factor": lambda b, s: 1 / b, "error": lambda b, s: 0 * b}, "this decoder inverts the encoder, and the error forgets the noise that it enlarges."),
        ({"factor": lambda b, s: b, "error": lambda b, s: _cost(b, b, s)}, "this decoder is the encoder transposed; that is best only where the code has variance one."),
        ({"factor": lambda b, s: b / (b**2 + s), "error": lambda b, s: s / (b**2 + s)}, "s is a standard deviation; here it stands where its square belongs."),
        ({"factor": lambda b, s: 1 / (b**2 + s**2)}, f"{OTHER}how do x and z vary together?"),
        ({"factor": lambda b, s: 1 / b}, f"{OTHER}this one inverts the encoder and would enlarge the noise."),
        ({"factor": lambda b, s: b}, f"{OTHER}this one is the encoder's own."),
        ({"factor": lambda b, s: b * _best(b, s)}, f"{OTHER}this is the factor of x after encoding and decoding; the decoder is only half of it."),
        ({"error": lambda b, s: b * _best(b, s)}, f"{FINE}this is the share of the variance that comes through; what is lost is the rest."),
        ({"error": lambda b, s: (_best(b, s) * s) ** 2}, f"{FINE}this is only the noise that reaches the output; x also comes back too small."),
        ({"error": lambda b, s: (1 - _best(b, s) * b) ** 2}, f"{FINE}this is only what shrinking x costs; the code's noise reaches the output too."),
        ({"error": lambda b, s: s / (b**2 + s**2)}, f"{FINE}s is a standard deviation; a square is missing on it."),
        ({"error": lambda b, s: _left(b, s).sqrt()}, f"{FINE}this is the root of the expected square."),
        ({"error": lambda b, s: _left(b, s) / 2}, f"{FINE}there is a half too many: the expectation of the square itself is asked for."),
        ({"error": lambda b, s: b**2 + s**2}, f"{FINE}this is the variance of the code."),
        (lambda b, s: _decoder(b, s).flip(0), "decoder and error have changed places."),
        (_best, "only the decoder's factor is returned; stack it with the error, the factor first."),
        (_left, "only the error is returned; stack it with the decoder's factor, the factor first."),
    ],
)

choice(
    "01-4", "A constant in f", 1, "this is why a baseline helps one of them.", "b", {
        "a": "true of one of the two: it sees only the slope of f. The other multiplies the value of f with a noisy factor.",
        "c": "the factor that multiplies f has mean zero, so a constant changes no mean.",
        "d": "one of the two differentiates f, and a constant has no slope.",
    },
)

def _noisy_loss(x, mean, logvar, decode, variance, eps, *, power=0.5, noise=1, average=False, constant=1):
    """01-5: a sample's part of the bound. Planted are a variance for a standard deviation and a sample cut from the graph.

    power: of the variance. noise: its strength. average: a mean for a sum. constant: how often the Gaussian's is counted.
    """
    z = mean + noise * torch.exp(power * logvar) * eps
    squares = ((x - decode(z)) ** 2).flatten(1)
    error = squares.mean(1) if average else squares.sum(1)
    return error / (2 * variance) + constant * squares.shape[1] / 2 * math.log(2 * math.pi * variance)

def _loses_gradient(answer: Any, case: Case) -> bool:
    """Whether the mean or the log-variance of the code gets another gradient than it should."""
    given, right = ({**case, **{n: case[n].clone().requires_grad_() for n in ("mean", "logvar")}} for _ in "ab")
    truth = _noisy_loss(**right)
    try:
        found = call(wraps(answer)(lambda *z: answer(*z)), given)  # copies made by ``call`` stay in the graph of ``given``
        if isinstance(found, Tensor) and found.is_complex():
            return False  # which has been said
        if not isinstance(found, Tensor) or not found.requires_grad:
            return True
        gradients = torch.autograd.grad(found.sum(), [given["mean"], given["logvar"]], allow_unused=True)
    except NotYetError:
        return False  # on plain numbers it did not fail
    except RuntimeError:
        return True  # the graph is used up
    felt, wanted = map(as_tensor, gradients), torch.autograd.grad(truth.sum(), [right["mean"], right["logvar"]])
    if close(found.detach().double(), truth.detach(), 1e-4):
        return any(one is None or not close(one, other, 1e-3) for one, other in zip(felt, wanted, strict=True))
    return any(one is None or not one.any() for one in felt)  # wrong values differ anyway: only their absence counts

LOST = "no gradient reaches the encoder, or not all of it: "

def _and_the_gradient(problem: str | None, answer: Any, cases: Sequence[Case]) -> str | None:
    """What is wrong with the values, and whether the gradient is lost besides."""
    if not _loses_gradient(answer, cases[0]):
        return problem
    if problem is None:
        return f"the numbers are right, but {LOST}between the encoder's outputs and the loss something stops it."
    said = any(text in problem for _, text in NOISES)
    return problem + (f" And {LOST}one fault of the loss is seen in no number that it returns." if said else "")

STD = "the noise is multiplied by the variance of the code; a square root is missing."
SUMMED = "the squared error is averaged over the entries; the density of the whole x is a product over them."
NOISES: Faults = [
    ({"power": 1}, STD),
    ({"power": 0.25}, "a square root too many is taken of the code's variance."),
    ({"power": -0.5}, "the sign of the log-variance is flipped: now a narrow code makes a wide cloud."),
    ({"average": True}, SUMMED),
    ({"average": True, "power": 1}, f"{STD} And {SUMMED}"),
    ({"noise": -1}, "the sign of the noise is flipped; in law that is the same, but use the noise as it is given."),
    (lambda x, m, v, f, s, e: _noisy_loss(x, m, v.exp().log1p(), f, s, e), "one is added to the code's variance."),
    ({"constant": 0}, "the gradient is right, but the Gaussian's constant has been dropped from the loss."),
]
g = seeded(15)
formula(
    "01-5", "A loss with two faults", 3, "values and gradients are right.", _noisy_loss, [
        (draw(g, 5, width), draw(g, 5, 2), draw(g, 5, 2) - 1, lambda z, m=slope: torch.tanh(z @ m), variance, draw(g, 5, 2))
        for variance, width in ((0.3, 4), (0.05, 3))
        for slope in [draw(g, 2, width)]
    ], [
        *NOISES,
        ({"power": 0}, "the noise is added with standard deviation one whatever the encoder says."),
        ({"noise": 0}, "the code gets no noise: this is the loss at its mean."),
    ],
    second_look=_and_the_gradient,
)

def _score_gradient(f, mean, std, eps, *, at=lambda m, s, e: m + s * e, score=lambda m, s, e: e / s):
    """01-6: the score-function estimate of the derivative in the mean, one for each sample. at: where f is taken."""
    return f(at(mean, std, eps)) * score(mean, std, eps)

def _pathwise(f, m, s, e):
    z = (m + s * e).requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]

MEAN = torch.tensor([1.0, -0.3, 0.7, 2.0], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 1.3, 0.2, 0.8], dtype=torch.float64)
g = seeded(16)
formula(
    "01-6", "The gradient without a derivative", 2, "and f need not even be continuous.", _score_gradient, [
        (lambda z: z**2, MEAN, SPREAD, draw(g, 4)),
        (lambda z: (z > 0.5).to(z.dtype) + 2 * z, MEAN, SPREAD, draw(g, 4)),
    ], [
        (_pathwise, "this is the derivative of f along the sample, the reparameterised estimate; here f is used by its values only."),
        ({"score": lambda m, s, e: e}, "the score lacks a division: it is steeper where the Gaussian is narrow."),
        ({"score": lambda m, s, e: e / s**2}, "the noise is divided by the variance; the distance from the mean has one standard deviation in it already."),
        ({"score": lambda m, s, e: e * s}, "the noise is multiplied by the standard deviation where it should be divided by it: this is the distance from the mean."),
        ({"score": lambda m, s, e: (m + s * e) / s**2}, "this is the score of a Gaussian around zero; the distance from the mean is asked for."),
        ({"score": lambda m, s, e: -e / s}, "the sign is flipped: this is the derivative of the log density in z, not in the mean."),
        (lambda f, m, s, e: e / s, "this is the score alone; it is to be multiplied by f."),
        ({"score": lambda m, s, e: 1}, "this is f alone; it is to be multiplied by the score."),
        ({"at": lambda m, s, e: m}, "f is taken at the mean, not at the sample."),
        ({"at": lambda m, s, e: e}, "f is taken at the standard noise, not at the sample."),
        ({"at": lambda m, s, e: m + s**2 * e}, "the sample is made with the variance; a square root is missing."),
        ({"score": lambda m, s, e: -(e**2) / 2 - torch.log(s) - math.log(2 * math.pi) / 2}, "f is multiplied by the log density itself; its derivative in the mean is asked for."),
        ({"score": lambda m, s, e: (e**2 - 1) / s}, "this is the derivative in the standard deviation."),
        ({"score": lambda m, s, e: e / s * torch.exp(-(e**2) / 2) / (s * math.sqrt(2 * math.pi))}, "the density is in it once more; the sample is drawn from it, which already weighs by it."),
        (lambda f, m, s, e: (f(m + s * e) - f(m)) * e / s, "f at the mean is subtracted: a good baseline, but the plain estimate is asked for."),
        (lambda f, m, s, e: (f(m + s * e) - f(m + s * e).mean()) * e / s, "a mean is subtracted as a baseline; the plain estimate is asked for."),
    ],
)
