"""Chapter 03: the two parts of the penalty, a territory, a great circle, a prediction about the weight, a broken quantiser."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import Exercise, NotYetError, call, grade_choice, grade_function, register
from .ch03_territory import grade_precision


def _parts(information: Callable[..., Tensor], divergence: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Both parts from functions of (a, s, v, w), with w the aggregate's variance."""

    def both(a: Tensor, s: Tensor, v: Tensor) -> Tensor:
        w = a**2 * v + s**2
        return torch.stack([information(a, s, v, w), divergence(a, s, v, w)])

    return both


def _information(a: Tensor, s: Tensor, v: Tensor, w: Tensor) -> Tensor:
    return torch.log(w / s**2) / 2


def _divergence(a: Tensor, s: Tensor, v: Tensor, w: Tensor) -> Tensor:
    return (w - 1 - w.log()) / 2


def grade_split(answer: Any) -> None:
    """03-1: information and divergence of a linear encoder."""
    cases = [
        dict(zip("asv", torch.tensor(rows, dtype=torch.float64), strict=True))
        for rows in (
            [[0.5, 1.7, 0.3], [0.4, 0.9, 0.7], [1.0, 2.0, 0.4]],
            [[-0.8, 0.0], [0.2, 0.6], [3.0, 1.5]],
        )
    ]
    first, second = (
        "the divergence is right, the information is not: ",
        "the information is right, the divergence is not: ",
    )
    grade_function(
        answer,
        _parts(_information, _divergence),
        cases,
        wrong=[
            (_parts(lambda a, s, v, w: torch.log(w / s**2), _divergence), f"{first}the half of a Gaussian's entropy is missing."),
            (_parts(lambda a, s, v, w: torch.log(w / s) / 2, _divergence), f"{first}an entropy contains the logarithm of a variance, and s is a standard deviation."),
            (_parts(lambda a, s, v, w: torch.log(s**2 / w) / 2, _divergence), f"{first}its sign is flipped; a latent cannot tell less than nothing."),
            (_parts(lambda a, s, v, w: torch.log(1 + a * v / s**2) / 2, _divergence), f"{first}the slope changes a variance by its square."),
            (_parts(lambda a, s, v, w: torch.log(1 + (a * v / s) ** 2) / 2, _divergence), f"{first}v is a variance already; it is squared once too often."),
            (_parts(lambda a, s, v, w: torch.log(1 + v / s**2) / 2, _divergence), f"{first}the slope of the encoder is missing."),
            (_parts(lambda a, s, v, w: w.log() / 2, _divergence), f"{first}this is the aggregate's part only; that of a single posterior has to be taken off."),
            (_parts(lambda a, s, v, w: -torch.log(s**2) / 2, _divergence), f"{first}this is a single posterior's part only; the aggregate's is missing."),
            (_parts(lambda a, s, v, w: torch.log2(w / s**2) / 2, _divergence), f"{first}these are bits; nats are asked for."),
            (_parts(lambda a, s, v, w: (w - 1 - (s**2).log()) / 2, _divergence), "the first entry is the whole penalty; the second part has to be taken off."),
            (_parts(_information, lambda a, s, v, w: w - 1 - w.log()), f"{second}the half of the Gaussian's exponent is missing."),
            (_parts(_information, lambda a, s, v, w: (w**2 - 1 - 2 * w.log()) / 2), f"{second}what goes in is a variance, and it is squared as if it were a standard deviation."),
            (_parts(_information, lambda a, s, v, w: (w.sqrt() - 1 - w.sqrt().log()) / 2), f"{second}a standard deviation stands where a variance belongs."),
            (_parts(_information, lambda a, s, v, w: (w - 1 - (s**2).log()) / 2), "the second entry is the whole penalty; the first part has to be taken off."),
            (_parts(_information, lambda a, s, v, w: (s**2 - 1 - (s**2).log()) / 2), f"{second}this compares a single posterior, that of the value 0, with the prior; the aggregate is wider."),
            (_parts(_information, lambda a, s, v, w: (a**2 * v - 1 - (a**2 * v).log()) / 2), f"{second}this is the cloud of the means; the latents are means plus noise."),
            (_parts(_information, lambda a, s, v, w: (1 / w - 1 + w.log()) / 2), f"{second}prior and aggregate have changed places; a divergence is not symmetric."),
            (_parts(_information, lambda a, s, v, w: (w - 1 + w.log()) / 2), f"{second}the logarithm has the wrong sign."),
            (_parts(_information, lambda a, s, v, w: (w - w.log()) / 2), f"{second}it does not vanish when the aggregate is the prior; a constant is missing."),
            (_parts(_divergence, _information), "the two parts have changed places."),
            (lambda a, s, v: _information(a, s, v, a**2 * v + s**2), "only the information is returned; stack it with the divergence, the information first."),
            (lambda a, s, v: _divergence(a, s, v, a**2 * v + s**2), "only the divergence is returned; stack it with the information, the information first."),
        ],
    )  # fmt: skip


def _circle(a: Tensor, b: Tensor, u: Tensor, angle: Callable[[Tensor], Tensor] = torch.arccos) -> Tensor:
    theta = angle(_cosine(a, b))[:, None]
    u = u[:, None]
    return (torch.sin((1 - u) * theta) * a + torch.sin(u * theta) * b) / torch.sin(theta)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def grade_circle(answer: Any) -> None:
    """03-3: spherical interpolation, row by row."""
    g = seeded(303)
    cases = []
    for n, d in ((4, 3), (5, 8)):
        a, b = torch.randn(2, n, d, generator=g, dtype=torch.float64)
        a, b = a * 0.4 / d**0.5, b * 0.6 / d**0.5  # lengths below 1, and unlike each other
        cases.append({"a": a, "b": b, "u": 0.1 + 0.8 * torch.rand(n, generator=g, dtype=torch.float64)})

    def unit(v: Tensor) -> Tensor:
        return v / v.norm(dim=1, keepdim=True)

    def unsined(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
        return _circle(a, b, u) * torch.arccos(_cosine(a, b)).sin()[:, None]

    def straight(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
        return (1 - u[:, None]) * a + u[:, None] * b

    def quarter(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
        return (math.pi / 2 * u).cos()[:, None] * a + (math.pi / 2 * u).sin()[:, None] * b

    def stretched(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
        line = straight(a, b, u)
        return unit(line) * straight(a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True), u)

    grade_function(
        answer,
        _circle,
        cases,
        wrong=[
            (lambda a, b, u: _circle(b, a, u), "the ends have changed places, or the share is counted from the other end: at 0 the walk must stand at a."),
            (straight, "this is the straight line; the coefficients must be those of a circle."),
            (unsined, "the division by the sine of the whole angle is missing: look where the walk begins."),
            (quarter, "this takes the angle for a right one; that holds only nearly, and only for noises in many dimensions."),
            (lambda a, b, u: _circle(a, b, u, lambda c: torch.rad2deg(torch.arccos(c))), "the angle is in degrees; the sine takes radians."),
            (lambda a, b, u: _circle(a, b, u, lambda c: c), "the cosine of the angle is used where the angle belongs."),
            (lambda a, b, u: _circle(a, b, u, torch.arcsin), "the angle comes from the inverse of the wrong function: the inner product gives a cosine."),
            (lambda a, b, u: torch.sin((1 - u[:, None]) * torch.arccos((a * b).sum(1))[:, None]) / torch.arccos((a * b).sum(1)).sin()[:, None] * a + torch.sin(u[:, None] * torch.arccos((a * b).sum(1))[:, None]) / torch.arccos((a * b).sum(1)).sin()[:, None] * b, "the angle is taken from the bare inner product, as if both vectors had the length 1."),
            (lambda a, b, u: _circle(unit(a), unit(b), u), "the ends have lost their lengths: unit vectors serve for the angle only."),
            (lambda a, b, u: unit(_circle(a, b, u)), "the result is scaled to the length 1; at the share 0 the walk must stand at a itself."),
            (stretched, "this stretches the straight line to the sphere: the path is right, the speed is not."),
            (lambda a, b, u: _circle(a, -b, u), "a sign is flipped: the walk must end at b."),
            (lambda a, b, u: _circle(a, b, u[:1].expand(len(a))), "every row is taken at the first row's share."),
        ],
    )  # fmt: skip


def grade_weight(answer: Any) -> None:
    """03-4: what a larger KL weight does to diffusion's samples."""
    grade_choice(
        answer,
        "c",
        {
            "a": "it is true that the denoiser has less to do; but look at what the decoder makes of the latents of real data.",
            "b": "at this weight the latents still hold more than one nat about their point; noise would hold none.",
            "d": "diffusion does learn whatever is there; but its samples still have to go through the decoder.",
        },
    )


def _quantize(
    z: Tensor, codebook: Tensor, commitment: float, *, through: str = "z", book: float = 1.0, stop: bool = True
) -> tuple[Tensor, Tensor]:
    """The quantiser with its mistakes as dials. through: where z_q's gradient goes; book: the weight of the codes' term."""
    code = codebook[torch.cdist(z, codebook).argmin(1)]
    if stop:
        loss = book * (z.detach() - code).square().sum(1) + commitment * (z - code.detach()).square().sum(1)
    else:
        loss = (book + commitment) * (z - code).square().sum(1)
    ways = {"z": z + (code - z).detach(), "code": code, "none": code.detach(), "half": z + code - z.detach(), "raw": z}
    return ways[through], loss


def _feel(answer: Any, z: Tensor, codebook: Tensor, commitment: float, pull: Tensor) -> Tensor:
    """What an answer returns and what flows back through it, in one tensor: values, then the gradients of both results."""
    z, codebook = z.clone().requires_grad_(), codebook.clone().requires_grad_()
    z_q, loss = answer(z, codebook, commitment)
    parts = [z_q.detach().flatten(), loss.detach().flatten()]
    for result in ((z_q * pull).sum(), loss.sum()):
        gradients: tuple[Tensor | None, ...] = (None, None)
        if result.requires_grad:
            gradients = torch.autograd.grad(result, (z, codebook), allow_unused=True, retain_graph=True)
        for gradient, like in zip(gradients, (z, codebook), strict=True):
            parts.append((torch.zeros(like.shape) if gradient is None else gradient).to(parts[0]).flatten())
    return torch.cat(parts)


def _felt(answer: Any) -> Callable[..., Tensor]:
    """``_feel`` of one answer, as a function of a case."""
    return partial(_feel, answer)


def _two_tensors(given: Any, z: Tensor) -> None:
    """Refuse what is not (quantised latents, loss of each row)."""
    if not (isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(v, Tensor) for v in given)):
        raise NotYetError("return two tensors: the quantised latents and the loss of each row.")
    for name, value, shape in (("quantised latents", given[0], z.shape), ("loss", given[1], z.shape[:1])):
        if value.shape != shape:
            raise NotYetError(f"the {name} should have the shape {tuple(shape)}, not {tuple(value.shape)}.")


def grade_quantize(answer: Any) -> None:
    """03-5: two planted faults in where the gradients go."""
    g = seeded(305)
    cases: list[dict[str, Any]] = []
    for n, codes, d, commitment in ((6, 4, 2, 0.25), (9, 5, 3, 0.4)):
        z, book, pull = (torch.randn(size, d, generator=g, dtype=torch.float64) for size in (n, codes, n))
        cases.append({"z": z, "codebook": book, "commitment": commitment, "pull": pull})
    for case in cases:
        _two_tensors(call(answer, {name: case[name] for name in ("z", "codebook", "commitment")}), case["z"])

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return _felt(lambda z, codebook, commitment: _quantize(z, codebook, commitment, **chosen))

    def swapped(through: str) -> Callable[..., Tensor]:
        def both(z: Tensor, codebook: Tensor, commitment: float) -> tuple[Tensor, Tensor]:
            code = codebook[torch.cdist(z, codebook).argmin(1)]
            loss = (z - code.detach()).square().sum(1) + commitment * (z.detach() - code).square().sum(1)
            return _quantize(z, codebook, commitment, through=through)[0], loss

        return _felt(both)

    blocked = "the reconstruction's gradient still goes to the codebook and not to the encoder."
    factor = "the small factor still stands at the term of the codes; it belongs to the one that moves the latents."
    grade_function(
        _felt(answer),
        dials(),
        cases,
        wrong=[
            (swapped("code"), f"both faults are still there. One: {blocked} Two: {factor}"),
            (dials(through="code"), f"the loss is mended, one fault is left: {blocked}"),
            (swapped("z"), f"the way of the gradient is mended, one fault is left: {factor}"),
            (swapped("none"), f"now the reconstruction's gradient goes nowhere at all; and {factor}"),
            (swapped("half"), f"now the reconstruction's gradient goes to both, encoder and codebook; and {factor}"),
            (dials(through="none"), "the loss is mended; but now the reconstruction's gradient goes nowhere: nothing of the encoder's output is left in the graph."),
            (dials(through="half"), "the loss is mended; but the reconstruction's gradient goes to the encoder and to the codebook; stop it at the code as well."),
            (dials(through="raw"), "the latents are returned as they came; they must have the value of their code."),
            (dials(stop=False), "the gradient's way is mended; but nothing is held fixed in the loss, so that latents and codes run after each other."),
            (dials(through="code", stop=False), f"nothing is held fixed in the loss; and {blocked}"),
            (dials(book=0.0), "the term that moves the codes is missing: the codebook would stay where it started."),
            (_felt(lambda *z: tuple(v.detach() for v in _quantize(*z))), "the values are right, but nothing is left in the graph: neither encoder nor codebook would learn."),
            (_felt(lambda z, codebook, commitment: _quantize(z, codebook, 0.0)), "the commitment is missing: nothing holds the latents near their codes."),
            (_felt(lambda z, codebook, commitment: _quantize(z, codebook, 1.0)), "both terms have the weight 1; the commitment has a factor of its own."),
        ],
    )  # fmt: skip


for _exercise in (
    Exercise(
        "03-1", "What a linear encoder pays for", 3, grade_split, "one price for what it tells, one for its shape."
    ),
    Exercise("03-2", "The territory", 2, grade_precision, "each ball is as large as the data are sparse there."),
    Exercise("03-3", "Along the great circle", 2, grade_circle, "equal shares are equal angles."),
    Exercise("03-4", "A hundredfold weight", 1, grade_weight, "no sampler of latents is better than the decoder."),
    Exercise(
        "03-5",
        "A quantiser with two faults",
        3,
        grade_quantize,
        "the reconstruction teaches the encoder, the loss teaches the codebook.",
    ),
):
    register(_exercise)
