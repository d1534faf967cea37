"""Chapter 01's exercises on noise in the code: a loss whose gradient is graded too, and the score-function estimate."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import NotYetError, call, grade_function
from .diagnose import as_tensor, close


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


LOST = "no gradient reaches the encoder, or not all of it: "


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
            (dials(half=0.0), "the noise is added with standard deviation one whatever the encoder says."),
            (dials(average=True), f"{summed}{still}"),
            (dials(average=True, half=1.0), f"{std} And {summed}{still}"),
            (lambda x, m, v, f, s, e: _noisy_loss(x, m, v, f, s, 0 * e), "the code gets no noise: this is the loss at its mean."),
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
    if isinstance(found, Tensor) and found.is_complex():
        return False  # the same
    total = found.sum() if isinstance(found, Tensor) and found.is_floating_point() else None
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
