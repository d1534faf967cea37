"""Chapter 03: the two parts of the penalty, a territory, a great circle, a prediction about the weight, a broken quantiser."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..runtime import seeded
from .core import Function, NotYetError, call, choice, draw, formula

# fmt: off

def _split(a, s, v, *, told=lambda a, s, v, w: torch.log(w / s**2) / 2, shape=lambda a, s, v, w: (w - 1 - w.log()) / 2):
    """03-1: what a linear encoder tells, and how far its aggregate is from the prior; w is the aggregate's variance."""
    w = a**2 * v + s**2
    return torch.stack([told(a, s, v, w), shape(a, s, v, w)])

FIRST, SECOND = "the divergence is right, the information is not: ", "the information is right, the divergence is not: "
formula(
    "03-1", "What a linear encoder pays for", 3, "one price for what it tells, one for its shape.", _split, [
        torch.tensor([[0.5, 1.7, 0.3], [0.4, 0.9, 0.7], [1.0, 2.0, 0.4]], dtype=torch.float64).unbind(),
        torch.tensor([[-0.8, 0.0], [0.2, 0.6], [3.0, 1.5]], dtype=torch.float64).unbind(),
    ], [
        ({"told": lambda a, s, v, w: torch.log(w / s**2)}, f"{FIRST}the half of a Gaussian's entropy is missing."),
        ({"told": lambda a, s, v, w: torch.log(w / s) / 2}, f"{FIRST}an entropy contains the logarithm of a variance, and s is a standard deviation."),
        ({"told": lambda a, s, v, w: torch.log(s**2 / w) / 2}, f"{FIRST}its sign is flipped; a latent cannot tell less than nothing."),
        ({"told": lambda a, s, v, w: torch.log(1 + a * v / s**2) / 2}, f"{FIRST}the slope changes a variance by its square."),
        ({"told": lambda a, s, v, w: torch.log(1 + (a * v / s) ** 2) / 2}, f"{FIRST}v is a variance already; it is squared once too often."),
        ({"told": lambda a, s, v, w: torch.log(1 + v / s**2) / 2}, f"{FIRST}the slope of the encoder is missing."),
        ({"told": lambda a, s, v, w: w.log() / 2}, f"{FIRST}this is the aggregate's part only; that of a single posterior has to be taken off."),
        ({"told": lambda a, s, v, w: -torch.log(s**2) / 2}, f"{FIRST}this is a single posterior's part only; the aggregate's is missing."),
        ({"told": lambda a, s, v, w: torch.log2(w / s**2) / 2}, f"{FIRST}these are bits; nats are asked for."),
        ({"told": lambda a, s, v, w: (w - 1 - (s**2).log()) / 2}, "the first entry is the whole penalty; the second part has to be taken off."),
        ({"shape": lambda a, s, v, w: w - 1 - w.log()}, f"{SECOND}the half of the Gaussian's exponent is missing."),
        ({"shape": lambda a, s, v, w: (w**2 - 1 - 2 * w.log()) / 2}, f"{SECOND}what goes in is a variance, and it is squared as if it were a standard deviation."),
        ({"shape": lambda a, s, v, w: (w.sqrt() - 1 - w.sqrt().log()) / 2}, f"{SECOND}a standard deviation stands where a variance belongs."),
        ({"shape": lambda a, s, v, w: (w - 1 - (s**2).log()) / 2}, "the second entry is the whole penalty; the first part has to be taken off."),
        ({"shape": lambda a, s, v, w: (s**2 - 1 - (s**2).log()) / 2}, f"{SECOND}this compares a single posterior, that of the value 0, with the prior; the aggregate is wider."),
        ({"shape": lambda a, s, v, w: (a**2 * v - 1 - (a**2 * v).log()) / 2}, f"{SECOND}this is the cloud of the means; the latents are means plus noise."),
        ({"shape": lambda a, s, v, w: (1 / w - 1 + w.log()) / 2}, f"{SECOND}prior and aggregate have changed places; a divergence is not symmetric."),
        ({"shape": lambda a, s, v, w: (w - 1 + w.log()) / 2}, f"{SECOND}the logarithm has the wrong sign."),
        ({"shape": lambda a, s, v, w: (w - w.log()) / 2}, f"{SECOND}it does not vanish when the aggregate is the prior; a constant is missing."),
        (lambda a, s, v: _split(a, s, v).flip(0), "the two parts have changed places."),
        (lambda a, s, v: _split(a, s, v)[0], "only the information is returned; stack it with the divergence, the information first."),
        (lambda a, s, v: _split(a, s, v)[1], "only the divergence is returned; stack it with the information, the information first."),
    ],
)

def _reach(within, k):
    """From the distances within the data, how far it is to the k-th neighbour; each row is its own first."""
    return within.kthvalue(k + 1, dim=1).values

def _precision(real, fake, k, *, reach=_reach, closer=torch.le, balls=Tensor.any, over=1, share=torch.mean):
    """03-2: the share of samples in the data's territory.

    reach: the radii, from the distances within the data and k. closer: when a distance is in a ball. balls: how many of them
    must hold, over: the axis on which that is asked. share: what is made of the answers.
    """
    return share(balls(closer(torch.cdist(fake, real), reach(torch.cdist(real, real), k)), over).double())

g = seeded(302)
CORNERS = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [20.0, 0.0], [20.0, 5.0], [40.0, 40.0], [40.0, 41.0]])
EDGE = torch.tensor([[-3.0, 0.0], [0.0, 8.0], [20.0, -5.0], [40.0, 39.0], [9.0, 9.0]])  # four on the edge of a ball
formula(
    "03-2", "The territory", 2, "each ball is as large as the data are sparse there.", _precision, [
        *((draw(g, n, d), 0.3 + 1.5 * draw(g, m, d), k) for n, m, d, k in ((40, 61, 2, 3), (55, 37, 3, 2), (30, 83, 2, 5))),
        (CORNERS.double(), EDGE.double(), 1),
    ], [
        ({"reach": lambda d, k: _reach(d, k - 1)}, "the radii are a little too small: does each row count itself as its first neighbour?"),
        ({"reach": lambda d, k: _reach(d, k + 1)}, "the radii are a little too large: one neighbour too many is counted."),
        ({"reach": lambda d, k: _reach(d, k).mean()}, "every ball has the same, average radius; each row has a radius of its own."),
        ({"reach": lambda d, k: _reach(d, k).max()}, "every ball has the largest radius; each row has a radius of its own."),
        ({"reach": lambda d, k: d.sort(dim=1).values[:, 1 : k + 1].mean(1)}, "the radius is the mean distance to the neighbours; the ball reaches to the last of them."),
        ({"reach": lambda d, k: _reach(d, k) / 2}, "the balls are half as wide as they should be."),
        ({"reach": lambda d, k: _reach(d, k) ** 2}, "distances are compared with squared radii, or the other way round."),
        (lambda real, fake, k: _precision(fake, real, k), "this is the recall: whose territory is it, and whose rows are counted?"),
        ({"over": 0}, "this counts the balls that hold a sample; count the samples that lie in a ball."),
        (lambda real, fake, k: _precision(fake, real, k, over=0), "the balls stand around the samples; the territory is the data's."),
        ({"balls": lambda inside, over: inside}, "this averages over all pairs; a sample counts once, however many balls it lies in."),
        ({"share": torch.sum}, "this is the number of samples inside; their share is asked for."),
        ({"balls": Tensor.all}, "a sample need not lie in every ball; one is enough."),
        (lambda real, fake, k: 1 - _precision(real, fake, k), "this is the share outside."),
        (lambda real, fake, k: _precision(real, fake, k, reach=lambda *_: torch.cdist(fake, real).kthvalue(k, dim=1).values[:, None]), "every sample comes out inside: a radius is a distance within the data, from a row to its k-th neighbour; and look at the direction of the comparison, and at what is averaged."),
        ({"closer": torch.lt}, "a sample on the edge of a ball lies in it."),
        ({"share": torch.clone}, "one number for each sample is returned; their mean is asked for."),
    ],
    tolerance=1e-6,
)

def _circle(a, b, u, *, cosine=torch.cosine_similarity, angle=torch.arccos, whole=torch.sin):
    """03-3: a walk along the circle through both; cosine: of the ends. angle: from it. whole: of the angle, what divides."""
    theta, u = angle(cosine(a, b))[:, None], u[:, None]
    return (torch.sin((1 - u) * theta) * a + torch.sin(u * theta) * b) / whole(theta)

g = seeded(303)
formula(
    "03-3", "Along the great circle", 2, "equal shares are equal angles.", _circle, [
        # lengths below 1, and unlike each other
        (0.4 * a / d**0.5, 0.6 * b / d**0.5, 0.1 + 0.8 * torch.rand(n, generator=g, dtype=torch.float64))
        for n, d in ((4, 3), (5, 8))
        for a, b in [draw(g, 2, n, d)]
    ], [
        (lambda a, b, u: _circle(b, a, u), "the ends have changed places, or the share is counted from the other end: at 0 the walk must stand at a."),
        (lambda a, b, u: torch.lerp(a, b, u[:, None]), "this is the straight line; the coefficients must be those of a circle."),
        ({"whole": torch.ones_like}, "the division by the sine of the whole angle is missing: look where the walk begins."),
        ({"angle": lambda c: torch.full_like(c, math.pi / 2)}, "this takes the angle for a right one; that holds only nearly, and only for noises in many dimensions."),
        ({"angle": lambda c: torch.rad2deg(torch.arccos(c))}, "the angle is in degrees; the sine takes radians."),
        ({"angle": lambda c: c}, "the cosine of the angle is used where the angle belongs."),
        ({"angle": torch.arcsin}, "the angle comes from the inverse of the wrong function: the inner product gives a cosine."),
        ({"cosine": lambda a, b: (a * b).sum(1)}, "the angle is taken from the bare inner product, as if both vectors had the length 1."),
        (lambda a, b, u: _circle(normalize(a), normalize(b), u), "the ends have lost their lengths: unit vectors serve for the angle only."),
        (lambda a, b, u: normalize(_circle(a, b, u)), "the result is scaled to the length 1; at the share 0 the walk must stand at a itself."),
        (lambda a, b, u: normalize(torch.lerp(a, b, u[:, None])) * torch.lerp(a.norm(dim=1), b.norm(dim=1), u)[:, None], "this stretches the straight line to the sphere: the path is right, the speed is not."),
        (lambda a, b, u: _circle(a, -b, u), "a sign is flipped: the walk must end at b."),
        (lambda a, b, u: _circle(a, b, u[:1].expand(len(a))), "every row is taken at the first row's share."),
    ],
)

choice(
    "03-4", "A hundredfold weight", 1, "no sampler of latents is better than the decoder.", "c", {
        "a": "it is true that the denoiser has less to do; but look at what the decoder makes of the latents of real data.",
        "b": "at this weight the latents still hold more than one nat about their point; noise would hold none.",
        "d": "diffusion does learn whatever is there; but its samples still have to go through the decoder.",
    },
)

def _quantize(z, codebook, commitment, *, through="latents", weights=lambda c: (1.0, c), held=torch.detach):
    """03-5: (quantised latents, loss of each row). Planted are the way of the gradient (through) and the swapped weights.

    through: to what the result passes its gradient. weights: of the terms that move the codes and the latents, from the
    commitment. held: what is done to the other side in either.
    """
    code = codebook[torch.cdist(z, codebook).argmin(1)]
    of_codes, of_latents = weights(commitment)
    loss = of_codes * (held(z) - code).square().sum(1) + of_latents * (z - held(code)).square().sum(1)
    ways = {"latents": z + (code - z).detach(), "codes": code, "none": code.detach(), "both": z + code - z.detach(), "raw": z}
    return ways[through], loss

def _felt(answer: Any) -> Function:
    """What an answer returns and what flows back through it, in one tensor: values, then the gradients of both results."""

    def feel(z: Tensor, codebook: Tensor, commitment: float, pull: Tensor) -> Tensor:
        _two_tensors(call(answer, {"z": z, "codebook": codebook, "commitment": commitment}), z)
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

    return feel

def _two_tensors(given: Any, z: Tensor) -> None:
    """Refuse what is not (quantised latents, loss of each row)."""
    if not (isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(v, Tensor) for v in given)):
        raise NotYetError("return two tensors: the quantised latents and the loss of each row.")
    for name, value, shape in (("quantised latents", given[0], z.shape), ("loss", given[1], z.shape[:1])):
        if value.shape != shape:
            raise NotYetError(f"the {name} should have the shape {tuple(shape)}, not {tuple(value.shape)}.")

BLOCKED = "the reconstruction's gradient still goes to the codebook and not to the encoder."
SWAPPED = {"weights": lambda c: (c, 1.0)}
FACTOR = "the small factor still stands at the term of the codes; it belongs to the one that moves the latents."
g = seeded(305)
formula(
    "03-5", "A quantiser with two faults", 3, "the reconstruction teaches the encoder, the loss teaches the codebook.", _quantize, [
        (draw(g, n, d), draw(g, codes, d), commitment, draw(g, n, d))
        for n, codes, d, commitment in ((6, 4, 2, 0.25), (9, 5, 3, 0.4))
    ], [
        ({"through": "codes", **SWAPPED}, f"both faults are still there. One: {BLOCKED} Two: {FACTOR}"),
        ({"through": "codes"}, f"the loss is mended, one fault is left: {BLOCKED}"),
        (SWAPPED, f"the way of the gradient is mended, one fault is left: {FACTOR}"),
        ({"through": "none", **SWAPPED}, f"now the reconstruction's gradient goes nowhere at all; and {FACTOR}"),
        ({"through": "both", **SWAPPED}, f"now the reconstruction's gradient goes to both, encoder and codebook; and {FACTOR}"),
        ({"through": "none"}, "the loss is mended; but now the reconstruction's gradient goes nowhere: nothing of the encoder's output is left in the graph."),
        ({"through": "both"}, "the loss is mended; but the reconstruction's gradient goes to the encoder and to the codebook; stop it at the code as well."),
        ({"through": "raw"}, "the latents are returned as they came; they must have the value of their code."),
        ({"held": lambda v: v}, "the gradient's way is mended; but nothing is held fixed in the loss, so that latents and codes run after each other."),
        ({"through": "codes", "held": lambda v: v}, f"nothing is held fixed in the loss; and {BLOCKED}"),
        ({"weights": lambda c: (0.0, c)}, "the term that moves the codes is missing: the codebook would stay where it started."),
        (lambda *z: tuple(v.detach() for v in _quantize(*z)), "the values are right, but nothing is left in the graph: neither encoder nor codebook would learn."),
        ({"weights": lambda c: (1.0, 0.0)}, "the commitment is missing: nothing holds the latents near their codes."),
        ({"weights": lambda c: (1.0, 1.0)}, "both terms have the weight 1; the commitment has a factor of its own."),
    ],
    measure=_felt,
)
