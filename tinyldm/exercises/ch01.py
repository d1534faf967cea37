"""Chapter 01: the best linear code, a Gaussian decoder, noise in the code, two gradients, a broken loss."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .core import Exercise, NotYetError, call, grade_choice, grade_function, register
from .diagnose import as_tensor, close


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
        return _rebuild(x - x.mean(1, keepdim=True), d) + x.mean(1, keepdim=True)

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


def _noisy_loss(
    x: Tensor,
    mean: Tensor,
    logvar: Tensor,
    decode: Callable[[Tensor], Tensor],
    variance: float,
    eps: Tensor,
    *,
    half: float = 0.5,
    cut: bool = False,
    average: bool = False,
) -> Tensor:
    """The loss of exercise 01-5 with its mistakes as dials: the root of the variance, a cut gradient, a mean for a sum."""
    z = mean + torch.exp(half * logvar) * eps
    z = z.detach() if cut else z
    squares = ((x - decode(z)) ** 2).flatten(1)
    error = squares.mean(1) if average else squares.sum(1)
    return error / (2 * variance) + squares.shape[1] / 2 * math.log(2 * math.pi * variance)


LOST = "no gradient reaches the encoder: "


def grade_noisy_loss(answer: Any) -> None:
    """01-5: two planted bugs, a variance for a standard deviation and a sample that is cut from the graph."""
    g = seeded(15)
    cases = []
    for variance, width in ((0.3, 4), (0.05, 3)):
        slope = torch.randn(2, width, generator=g, dtype=torch.float64)
        cases.append(
            {
                "x": torch.randn(5, width, generator=g, dtype=torch.float64),
                "mean": torch.randn(5, 2, generator=g, dtype=torch.float64),
                "logvar": torch.randn(5, 2, generator=g, dtype=torch.float64) - 1,
                "decode": lambda z, m=slope: torch.tanh(z @ m),
                "variance": variance,
                "eps": torch.randn(5, 2, generator=g, dtype=torch.float64),
            }
        )

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return lambda *arguments: _noisy_loss(*arguments, **chosen)

    lost = _loses_gradient(answer, cases)
    still = f" And {LOST}one fault of the loss is seen in no number that it returns." if lost else ""
    std = "the noise is multiplied by the variance of the code; a square root is missing."
    summed = "the squared error is averaged over the entries; the density of the whole x is a product over them."
    grade_function(
        answer,
        _noisy_loss,
        cases,
        wrong=[
            (dials(half=1.0), f"{std}{still}"),
            (dials(half=0.25), f"a square root too many is taken of the code's variance.{still}"),
            (dials(half=-0.5), f"the sign of the log-variance is flipped: now a narrow code makes a wide cloud.{still}"),
            (dials(half=0.0), f"the noise is added with standard deviation one whatever the encoder says.{still}"),
            (dials(average=True), f"{summed}{still}"),
            (dials(average=True, half=1.0), f"{std} And {summed}{still}"),
            (lambda x, m, v, f, s, e: _noisy_loss(x, m, v, f, s, 0 * e), f"the code gets no noise: this is the loss at its mean.{still}"),
            (lambda x, m, v, f, s, e: _noisy_loss(x, m, v, f, s, -e), f"the sign of the noise is flipped; in law that is the same, but use the noise as it is given.{still}"),
            (lambda x, m, v, f, s, e: _noisy_loss(x, m, v.exp().log1p(), f, s, e), f"one is added to the code's variance.{still}"),
            (lambda x, m, v, f, s, e: _noisy_loss(x, m, v, f, s, e) - x.shape[1] / 2 * math.log(2 * math.pi * s), f"the gradient is right, but the Gaussian's constant has been dropped from the loss.{still}"),
        ],
    )  # fmt: skip
    if lost:
        raise NotYetError(
            f"the numbers are right, but {LOST}between the encoder's outputs and the loss something stops it."
        )


def _loses_gradient(answer: Any, cases: list[dict[str, Any]]) -> bool:
    """Whether the mean or the log-variance of the code gets another gradient than it should, on the first case."""
    if not callable(answer):
        return False
    given, right = ({**cases[0], **{n: cases[0][n].clone().requires_grad_() for n in ("mean", "logvar")}} for _ in "ab")

    @wraps(answer)
    def kept(*arguments: Any) -> Any:  # copies made by ``call`` stay in the graph of ``given``
        return answer(*arguments)

    try:
        found = call(kept, given)
    except NotYetError:
        return False  # the grader that runs next says what is wrong
    total = found.sum() if isinstance(found, Tensor) else None
    if total is None or not total.requires_grad:
        return True
    gradients = torch.autograd.grad(total, [given["mean"], given["logvar"]], allow_unused=True)
    truths = torch.autograd.grad(_noisy_loss(**right).sum(), [right["mean"], right["logvar"]])
    found_all = [as_tensor(gradient) for gradient in gradients]
    wrong_values = not close(found.detach().double(), _noisy_loss(**right).detach(), 1e-4)
    if wrong_values:  # then the gradients differ anyway: only their absence counts
        return any(gradient is None or not bool(gradient.any()) for gradient in found_all)
    return any(
        gradient is None or not close(gradient, truth, 1e-3) for gradient, truth in zip(found_all, truths, strict=True)
    )


def _score_gradient(f: Callable[[Tensor], Tensor], mean: Tensor, std: Tensor, eps: Tensor) -> Tensor:
    return f(mean + std * eps) * eps / std


def grade_score_gradient(answer: Any) -> None:
    """01-6: the score-function estimate of the derivative in the mean, one for each sample."""
    g = seeded(16)
    mean = torch.tensor([1.0, -0.3, 0.7, 2.0], dtype=torch.float64)
    std = torch.tensor([0.5, 1.3, 0.2, 0.8], dtype=torch.float64)
    functions: list[Callable[[Tensor], Tensor]] = [lambda z: z**2, lambda z: (z > 0.5).to(z.dtype) + 2 * z]
    cases = [
        {"f": f, "mean": mean, "std": std, "eps": torch.randn(4, generator=g, dtype=torch.float64)} for f in functions
    ]

    def at(f: Callable[[Tensor], Tensor], m: Tensor, s: Tensor, e: Tensor) -> Tensor:
        return f(m + s * e)

    def pathwise(f: Callable[[Tensor], Tensor], m: Tensor, s: Tensor, e: Tensor) -> Tensor:
        z = (m + s * e).requires_grad_()
        return torch.autograd.grad(f(z).sum(), z)[0]

    grade_function(
        answer,
        _score_gradient,
        cases,
        wrong=[
            (pathwise, "this is the derivative of f along the sample, the reparameterised estimate; here f is used by its values only."),
            (lambda f, m, s, e: at(f, m, s, e) * e, "the score lacks a division: it is steeper where the Gaussian is narrow."),
            (lambda f, m, s, e: at(f, m, s, e) * e / s**2, "the noise is divided by the variance; the distance from the mean has one standard deviation in it already."),
            (lambda f, m, s, e: at(f, m, s, e) * e * s, "the noise is multiplied by the standard deviation where it should be divided by it: this is the distance from the mean."),
            (lambda f, m, s, e: at(f, m, s, e) * (m + s * e) / s**2, "this is the score of a Gaussian around zero; the distance from the mean is asked for."),
            (lambda f, m, s, e: -at(f, m, s, e) * e / s, "the sign is flipped: this is the derivative of the log density in z, not in the mean."),
            (lambda f, m, s, e: e / s, "this is the score alone; it is to be multiplied by f."),
            (lambda f, m, s, e: at(f, m, s, e), "this is f alone; it is to be multiplied by the score."),
            (lambda f, m, s, e: f(m) * e / s, "f is taken at the mean, not at the sample."),
            (lambda f, m, s, e: f(e) * e / s, "f is taken at the standard noise, not at the sample."),
            (lambda f, m, s, e: f(m + s**2 * e) * e / s, "the sample is made with the variance; a square root is missing."),
            (lambda f, m, s, e: at(f, m, s, e) * (-(e**2) / 2 - torch.log(s) - math.log(2 * math.pi) / 2), "f is multiplied by the log density itself; its derivative in the mean is asked for."),
            (lambda f, m, s, e: at(f, m, s, e) * (e**2 - 1) / s, "this is the derivative in the standard deviation."),
            (lambda f, m, s, e: at(f, m, s, e) * e / s * torch.exp(-(e**2) / 2) / (s * math.sqrt(2 * math.pi)), "the density is in it once more; the sample is drawn from it, which already weighs by it."),
            (lambda f, m, s, e: (at(f, m, s, e) - f(m)) * e / s, "f at the mean is subtracted: a good baseline, but the plain estimate is asked for."),
            (lambda f, m, s, e: (at(f, m, s, e) - at(f, m, s, e).mean()) * e / s, "a mean is subtracted as a baseline; the plain estimate is asked for."),
        ],
    )  # fmt: skip


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
