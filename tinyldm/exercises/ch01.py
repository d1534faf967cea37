"""Chapter 01: the best linear code, a Gaussian decoder, noise in the code, two gradients, a broken loss."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import Exercise, grade_choice, grade_function, register
from .ch01_noise import grade_noisy_loss, grade_score_gradient


def _rebuild(x: Tensor, d: int, centre: bool = True, back: bool = True, first: bool = True) -> Tensor:
    """x projected on principal directions; each dial undoes one thing that belongs to it."""
    mean = x.mean(0)
    away = x - mean if centre else x
    rows = torch.linalg.svd(away, full_matrices=False)[2]
    kept = rows[:d] if first else rows[-d:]
    return away @ kept.mT @ kept + (mean if centre and back else 0.0)


def _code(x: Tensor, d: int, stretch: bool = False) -> Tensor:
    left, sizes, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return left[:, :d] * (1.0 if stretch else sizes[:d])


def grade_rebuild(answer: Any) -> None:
    """01-1: the reconstruction of the best linear autoencoder."""
    g = seeded(11)
    cases = []
    for n, width, d in ((40, 5, 2), (30, 7, 3)):
        mix = torch.randn(width, width, generator=g, dtype=torch.float64)
        shift = 1 + torch.arange(width, dtype=torch.float64)
        cases.append({"x": torch.randn(n, width, generator=g, dtype=torch.float64) @ mix + shift, "d": d})

    def entries(x: Tensor, d: int) -> Tensor:
        away = x - x.mean(0)
        kept = away.var(0).argsort(descending=True)[:d]
        mask = torch.zeros(x.shape[1], dtype=x.dtype).index_fill(0, kept, 1.0)
        return away * mask + x.mean(0)

    def by_rows(x: Tensor, d: int) -> Tensor:
        away = x.mean(1, keepdim=True)
        return _rebuild(x - away, d, centre=False) + away

    grade_function(
        answer,
        _rebuild,
        cases,
        wrong=[
            (lambda x, d: _rebuild(x, d, centre=False), "the data are not centred: the directions of largest variance are looked for around the mean, and these run from the origin."),
            (lambda x, d: _rebuild(x, d, back=False), "the mean was taken away before the projection and is not put back afterwards."),
            (lambda x, d: _rebuild(x, d, first=False), "these are the directions of smallest variance; in which order do they come?"),
            (lambda x, d: x - _rebuild(x, d), "this is the error, what the projection leaves over."),
            (lambda x, d: x - _rebuild(x, d) + x.mean(0), "this keeps what the projection should throw away, and throws away what it should keep."),
            (_code, "this is the code; it still has to be decoded."),
            (lambda x, d: _code(x, d, stretch=True), "this is the code, scaled to one length in every direction; it still has to be decoded."),
            (lambda x, d: x + 0.0, "this is x itself: nothing went through a bottleneck."),
            (lambda x, d: x.mean(0).expand_as(x), "this is the mean for every point: nothing came through the bottleneck."),
            (entries, "these are the entries of largest variance; directions may be slanted."),
            (lambda x, d: _rebuild(x, d - 1), "one direction too few is kept."),
            (lambda x, d: _rebuild(x, d + 1), "one direction too many is kept."),
            (by_rows, "the mean is taken over the entries of each point; the centre of the cloud is a mean over the points."),
        ],
        tolerance=1e-3,
    )  # fmt: skip


def _nll(x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    return (((x - y) ** 2).sum(1) / v + x.shape[1] * torch.log(2 * math.pi * v)) / 2


def grade_nll(answer: Any) -> None:
    """01-2: the negative log-likelihood of a Gaussian decoder with one variance a sample."""
    g = seeded(12)
    cases = []
    for n, d in ((6, 5), (4, 12)):
        draw = torch.randn(2, n, d, generator=g, dtype=torch.float64)
        cases.append(
            {"x": draw[0], "x_hat": draw[1], "variance": 0.2 + 2 * torch.rand(n, generator=g, dtype=torch.float64)}
        )
    tau = 2 * math.pi

    def squares(x: Tensor, y: Tensor) -> Tensor:
        return ((x - y) ** 2).sum(1)

    grade_function(
        answer,
        _nll,
        cases,
        wrong=[
            (lambda x, y, v: squares(x, y) / v / 2, "the logarithm is missing: it is a constant only while the variance is."),
            (lambda x, y, v: squares(x, y) / 2, "the variance does not appear at all."),
            (lambda x, y, v: (squares(x, y) / v + torch.log(tau * v)) / 2, "the squares are added up over the entries and the logarithm is counted once; every entry brings its own."),
            (lambda x, y, v: (squares(x, y) / x.shape[1] / v + x.shape[1] * torch.log(tau * v)) / 2, "the squared error is a mean over the entries, while the logarithm is a sum over them."),
            (lambda x, y, v: (squares(x, y) / x.shape[1] / v + torch.log(tau * v)) / 2, "this is a mean over the entries; the density of the whole x is a product over them."),
            (lambda x, y, v: squares(x, y) / v + x.shape[1] * torch.log(tau * v), "the half of the Gaussian's exponent, and of the root in front of it, is missing."),
            (lambda x, y, v: squares(x, y) / v + x.shape[1] * torch.log(tau * v) / 2, "the half is missing on the squared error."),
            (lambda x, y, v: squares(x, y) / v / 2 + x.shape[1] * torch.log(tau * v), "the half is missing on the logarithm: a root stands in the Gaussian's denominator."),
            (lambda x, y, v: (squares(x, y) / v + x.shape[1] * torch.log(v)) / 2, "the constant is missing: the logarithm has lost a number under it."),
            (lambda x, y, v: (squares(x, y) / v**2 + x.shape[1] * torch.log(tau * v**2)) / 2, "the variance is squared as if it were a standard deviation."),
            (lambda x, y, v: (squares(x, y) / v**2 + x.shape[1] * torch.log(tau * v)) / 2, "the variance is squared under the error as if it were a standard deviation."),
            (lambda x, y, v: (squares(x, y) / v.sqrt() + x.shape[1] * torch.log(tau * v)) / 2, "the squared error is divided by a standard deviation."),
            (lambda x, y, v: (squares(x, y) * v + x.shape[1] * torch.log(tau * v)) / 2, "the error is multiplied by the variance: shall a decoder that claims less noise pay less for the same error?"),
            (lambda x, y, v: (squares(x, y) / v - x.shape[1] * torch.log(tau * v)) / 2, "the sign of the logarithm is flipped: now a larger variance is always better."),
            (lambda x, y, v: -_nll(x, y, v), "this is the log density itself; what is minimised has the other sign."),
            (lambda x, y, v: ((x - y).abs().sum(1) / v + x.shape[1] * torch.log(tau * v)) / 2, "a Gaussian measures squares, not absolute differences."),
            (lambda x, y, v: (squares(x, y).sqrt() / v + x.shape[1] * torch.log(tau * v)) / 2, "this is the length of the error; the exponent has its square."),
            (lambda x, y, v: (squares(x, y) / v + x.shape[1] * torch.log10(tau * v)) / 2, "the logarithm has the wrong base; nats are asked for."),
            (lambda x, y, v: _nll(x, y, v) / math.log(2), "these are bits; nats are asked for."),
        ],
    )  # fmt: skip


def grade_noisy_code(answer: Any) -> None:
    """01-3: the best linear decoder of a code with noise, and the error that it leaves."""
    cases = [
        {"b": torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64), "s": torch.tensor([0.4, 1.0, 0.2], dtype=torch.float64)},
        {"b": torch.tensor([-2.0, 0.3], dtype=torch.float64), "s": torch.tensor([0.7, 1.5], dtype=torch.float64)},
    ]  # fmt: skip

    def best(b: Tensor, s: Tensor) -> Tensor:
        return b / (b**2 + s**2)

    def left(b: Tensor, s: Tensor) -> Tensor:
        return s**2 / (b**2 + s**2)

    def pair(a: Callable[[Tensor, Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda b, s: torch.stack([a(b, s), loss(b, s)])

    def cost(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return (1 - a * b) ** 2 + (a * s) ** 2

    fine, other = (
        "the decoder's factor is right, the error is not: ",
        "the error is right, the decoder's factor is not: ",
    )
    grade_function(
        answer,
        pair(best, left),
        cases,
        wrong=[
            (lambda b, s: torch.stack([1 / b, cost(1 / b, b, s)]), "this decoder inverts the encoder and enlarges the noise with it; a smaller factor leaves a smaller error."),
            (lambda b, s: torch.stack([1 / b, 0 * b]), "this decoder inverts the encoder, and the error forgets the noise that it enlarges."),
            (lambda b, s: torch.stack([b, cost(b, b, s)]), "this decoder is the encoder transposed; that is best only where the code has variance one."),
            (lambda b, s: torch.stack([b / (b**2 + s), s / (b**2 + s)]), "s is a standard deviation; here it stands where its square belongs."),
            (lambda b, s: torch.stack([1 / (b**2 + s**2), left(b, s)]), f"{other}how do x and z vary together?"),
            (pair(lambda b, s: 1 / b, left), f"{other}this one inverts the encoder and would enlarge the noise."),
            (pair(lambda b, s: b, left), f"{other}this one is the encoder's own."),
            (pair(lambda b, s: b**2 / (b**2 + s**2), left), f"{other}this is the factor of x after encoding and decoding; the decoder is only half of it."),
            (pair(best, lambda b, s: b**2 / (b**2 + s**2)), f"{fine}this is the share of the variance that comes through; what is lost is the rest."),
            (pair(best, lambda b, s: s**2 / (b**2 + s**2) ** 2 * b**2), f"{fine}this is only the noise that reaches the output; x also comes back too small."),
            (pair(best, lambda b, s: (1 - best(b, s) * b) ** 2), f"{fine}this is only what shrinking x costs; the code's noise reaches the output too."),
            (pair(best, lambda b, s: s / (b**2 + s**2)), f"{fine}s is a standard deviation; a square is missing on it."),
            (pair(best, lambda b, s: left(b, s).sqrt()), f"{fine}this is the root of the expected square."),
            (pair(best, lambda b, s: left(b, s) / 2), f"{fine}there is a half too many: the expectation of the square itself is asked for."),
            (pair(best, lambda b, s: b**2 + s**2), f"{fine}this is the variance of the code."),
            (lambda b, s: pair(best, left)(b, s).flip(0), "decoder and error have changed places."),
            (best, "only the decoder's factor is returned; stack it with the error, the factor first."),
            (left, "only the error is returned; stack it with the decoder's factor, the factor first."),
        ],
    )  # fmt: skip


def grade_constant(answer: Any) -> None:
    """01-4: what a constant in f does to the two gradients."""
    grade_choice(
        answer,
        "b",
        {
            "a": "true of one of the two: it sees only the slope of f. The other multiplies the value of f with a noisy factor.",
            "c": "the factor that multiplies f has mean zero, so a constant changes no mean.",
            "d": "one of the two differentiates f, and a constant has no slope.",
        },
    )


for _exercise in (
    Exercise(
        "01-1", "The best linear autoencoder", 2, grade_rebuild, "no linear autoencoder of this size does better."
    ),
    Exercise("01-2", "A Gaussian decoder", 2, grade_nll, "the logarithm is what keeps the variance honest."),
    Exercise(
        "01-3",
        "Noise in the code",
        3,
        grade_noisy_code,
        "the error depends on the ratio of s and b alone, and nothing stops it from going to zero.",
    ),
    Exercise("01-4", "A constant in f", 1, grade_constant, "this is why a baseline helps one of them."),
    Exercise("01-5", "A loss with two faults", 3, grade_noisy_loss, "values and gradients are right."),
    Exercise(
        "01-6", "The gradient without a derivative", 2, grade_score_gradient, "and f need not even be continuous."
    ),
):
    register(_exercise)
