"""Chapter 04: a layer of a perceptual distance, the hinge's best value, an average's shares, the price of sharpness, packing."""

import math

import torch
import torch.nn.functional as F

from ..runtime import seeded
from .core import choice, formula

# fmt: off

def _length(f, dim=1):
    return torch.linalg.vector_norm(f, dim=dim, keepdim=True)

def _layer(f, g, *, length=_length, between=lambda a, b: (a - b).square(), pool=lambda d: d.sum(1).mean((1, 2))):
    """04-1: length: what each map is divided by. between: what is compared, entry by entry. pool: to one number a picture."""
    return pool(between(f / length(f), g / length(g)))

g = seeded(41)
formula(
    "04-1", "One layer of a perceptual distance", 2, "it looks at directions, never at lengths.", _layer, [
        (torch.randn(3, 4, 5, 2, generator=g).double(), torch.randn(3, 4, 5, 2, generator=g).double()),
        (torch.rand(2, 6, 3, 3, generator=g).double() + 0.1, 3 * torch.rand(2, 6, 3, 3, generator=g).double()),
    ], [
        ({"length": lambda f: 1}, "the features are compared as they are; every position's vector should first be brought to length 1."),
        ({"pool": lambda d: d.mean((1, 2, 3))}, "the channels are averaged as well; a squared distance adds them up, only positions are averaged."),
        ({"pool": lambda d: d.sum((1, 2, 3))}, "the positions are added up: a larger picture would be further from its copy. Average over positions."),
        ({"pool": lambda d: d.sum(1).sqrt().mean((1, 2))}, "this averages distances; squared distances are asked for."),
        ({"between": lambda a, b: (a - b).abs()}, "absolute differences instead of squared ones."),
        (lambda f, g: 1 - _layer(f, g, between=torch.mul), "one minus the cosine is half of the squared distance of two unit vectors; a factor is missing."),
        ({"between": torch.mul}, "this is the cosine: 1 where the features agree. A distance is 0 there."),
        ({"length": lambda f: _length(f, (2, 3))}, "each channel is normalised over the picture; normalise each position over its channels."),
        ({"length": lambda f: _length(f, (1, 2, 3))}, "the whole map is normalised at once; normalise each position over its channels."),
        (lambda f, g: _layer(f / _length(f), g, length=lambda f: 1), "only the first map is normalised."),
        (lambda f, g: ((f - g) / _length(f - g)).square().sum(1).mean((1, 2)), "the difference is normalised; normalise both maps first, then subtract."),
        ({"length": lambda f: f.square().sum(1, keepdim=True)}, "the vectors are divided by their squared length; a square root is missing."),
        ({"length": lambda f: f.abs().sum(1, keepdim=True)}, "the length is the root of the sum of squares, not the sum of absolute values."),
        ({"length": lambda f: f.square().mean(1, keepdim=True).sqrt()}, "the length takes the sum over channels, not the mean: this is as many times too large as there are channels."),
        (lambda f, g: _layer(f, -g), "the two maps are added; their difference is asked for."),
    ],
    tolerance=1e-5,
)

def _hinge(p, q):
    """04-2: the smallest hinge loss is the overlap of the two distributions."""
    return torch.minimum(p, q).sum()

def _kl(p, q):
    return (p * (p / q).log()).sum()

def _js(p, q):
    return (_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2

formula(
    "04-2", "The best a discriminator can do", 3, "the overlap of the two: 0 apart, 1 when alike.", _hinge, [
        (torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.1, 0.3, 0.6]).double()),
        (torch.tensor([0.7, 0.1, 0.1, 0.1]).double(), torch.tensor([0.25, 0.4, 0.05, 0.3]).double()),
    ], [
        (lambda p, q: 2 * _hinge(p, q), "twice what is asked for: the loss is the mean of its two halves, each carries a factor of one half."),
        (lambda p, q: 1 - (p - q).abs().sum(), "the gain is counted twice; write the loss between the two kinks as 1 minus something and look at its coefficient again."),
        (lambda p, q: 2 - (p - q).abs().sum() / 2, "what is left when the distributions are alike? A logit of 0 everywhere then costs less than this."),
        (lambda p, q: (p - q).abs().sum() / 2, "this is the total variation distance; the loss goes the other way: easy to tell apart means a small loss."),
        (lambda p, q: (p - q).abs().sum(), "this is a distance, twice the total variation; the loss goes the other way: easy to tell apart means a small loss."),
        (lambda p, q: 1 + (p - q).abs().sum() / 2, "the sign of the discriminator is flipped: this is the loss of the worst answer between the kinks."),
        (lambda p, q: 2 * torch.maximum(p, q).sum(), "at each outcome the discriminator can choose, and it chooses the cheaper side; and each half carries a factor."),
        (torch.minimum, "this is the loss of each outcome; add them up."),
        (lambda p, q: torch.minimum(p, q).mean(), "the outcomes are averaged; the probabilities are the weights already, so add up."),
        (lambda p, q: -(q * (p - q).sign()).sum(), "this is the generator's loss at the best discriminator, not the discriminator's own."),
        (lambda p, q: torch.sign(p - q), "this is the best discriminator; its loss is asked for."),
        (lambda p, q: torch.tensor(1.0).double(), "this is 1 for any p and q: the loss of a discriminator that always says 0, or differences added up with their signs; a better one knows where each distribution is larger."),
        (lambda p, q: math.log(2) - _js(p, q), "this is the best value of the logistic loss of the first GANs; the hinge has another."),
        (lambda p, q: 2 * math.log(2) - 2 * _js(p, q), "this is the best value of the logistic loss of the first GANs; the hinge has another."),
        (_js, "this is the Jensen-Shannon divergence, which belongs to the logistic loss; the hinge has another."),
        (_kl, "this is a Kullback-Leibler divergence; no logarithm appears in the hinge."),
        (lambda p, q: (p * q).sqrt().sum(), "this overlap takes geometric means; no product of the two appears in the hinge."),
    ],
)

def _later(m):
    """The product of the decays that come after each update."""
    return torch.cat([m.flip(0).cumprod(0).flip(0)[1:], torch.ones_like(m[:1])])

def _shares(decays, *, start=torch.prod, enters=lambda m: 1 - m, shrinks=_later):
    """04-3: the shares of the start and of each update in an average; an update enters with one factor, another shrinks it."""
    return torch.cat([start(decays).reshape(1), enters(decays) * shrinks(decays)])

n = torch.arange(1, 7, dtype=torch.float64)
formula(
    "04-3", "Who is in the average", 3, "and the shares add up to 1 with any decays.", _shares,
    [(torch.tensor([0.5, 0.9, 0.7, 0.8], dtype=torch.float64),), (((1 + n) / (10 + n)).clamp(max=0.4),)], [
        (lambda m: _shares(m)[1:], "the start is missing: N decays give N + 1 shares, and they add up to 1."),
        ({"enters": lambda m: (1 - m) * m}, "each share is multiplied by its own decay as well; an iterate enters first, and only later decays shrink it."),
        ({"shrinks": torch.ones_like}, "each iterate enters with this share, but every later update shrinks it."),
        ({"shrinks": lambda m: torch.cat([torch.ones_like(m[:1]), m.cumprod(0)[:-1]])}, "the decays before an iterate came are applied to it; it is the later ones that shrink it."),
        (lambda m: torch.full((len(m) + 1,), 1 / (len(m) + 1)), "all shares are equal here; an exponential average forgets."),
        (lambda m: _shares(1 - m), "the decay multiplies the old average, and what is left to 1 the new iterate; here it is the other way round."),
        (lambda m: _shares(m).roll(-1), "the start stands at the end; it is the oldest and comes first."),
        (lambda m: _shares(m).flip(0), "the order is reversed: the start comes first."),
        ({"start": lambda m: 0 * m[0]}, "the start never disappears completely: it has been through all the decays."),
        ({"start": lambda m: m[0]}, "the start has been through all the decays, not only the first."),
        ({"start": lambda m: 1 - m[0]}, "the average begins as the start itself; no share is taken from it when it enters."),
        (lambda m: _shares(m[-1].expand(len(m))), "this takes the last decay for all; each update has its own."),
        (lambda m: _shares(m) / (1 - m.prod()), "something is divided by the start's missing share; the shares add up to 1 by themselves."),
        ({"enters": torch.ones_like}, "an iterate enters with what its decay leaves to it, not in full."),
    ],
)

choice(
    "04-4", "The price of a sharp picture", 1, "the error doubles for every distribution.", "b", {
        "a": "both pictures are equally typical of the latent, but one is compared with the other: two independent draws differ, a draw and the mean differ less.",
        "c": "the mean squared error does grow; work out by which factor, for two independent draws of one distribution.",
        "d": "sharpness is no help here: among all functions of the latent, the mean has the smallest squared error, so any other has a larger one; by how much does not depend on the data.",
    },
)

def _tokens(z, weight, bias, *, axes=(0, 2, 4, 1, 3, 5)):
    """04-5: packing, then one matrix. Planted are tokens that run down the columns and channels that come last inside one.

    axes: the order of (batch, channel, rows, row, columns, column).
    """
    b, c, h, w = z.shape
    tokens = z.reshape(b, c, h // 2, 2, w // 2, 2).permute(axes).flatten(1, 2).flatten(2)
    return tokens @ weight.flatten(1).T + bias

def _conv(z, weight, bias):
    return F.conv2d(z, weight, bias, stride=2)

RUN = "the tokens run down the columns; the convolution's output, flattened, runs along the rows."
INSIDE = "inside a token the entries do not stand in the order of the kernel's: which of its axes comes first?"
g = seeded(45)
formula(
    "04-5", "A patch embedding with two faults", 3, "a strided convolution is packing and a matrix.", _tokens, [
        tuple(torch.randn(shape, generator=g).double() for shape in ((2, 3, *sides), (7, 3, 2, 2), (7,)))
        for sides in ((4, 6), (8, 4))
    ], [
        ({"axes": (0, 4, 2, 3, 5, 1)}, f"both faults are still there. One: {RUN} Two: {INSIDE}"),
        ({"axes": (0, 2, 4, 3, 5, 1)}, f"the tokens' order is mended, one fault is left: {INSIDE}"),
        ({"axes": (0, 4, 2, 1, 3, 5)}, f"the order inside a token is mended, one fault is left: {RUN}"),
        ({"axes": (0, 2, 4, 1, 5, 3)}, "nearly: inside a token, row and column of the little square have changed places."),
        ({"axes": (0, 2, 4, 5, 3, 1)}, "the channel still comes last inside a token, and row and column have changed places too."),
        ({"axes": (0, 4, 2, 1, 5, 3)}, f"inside a token, row and column of the little square have changed places; and {RUN}"),
        ({"axes": (0, 2, 4, 3, 1, 5)}, "inside a token, the channel stands between row and column; where does the kernel have it?"),
        (lambda z, w, b: _tokens(z, w, 0 * b), "both orders are right, but the bias is missing."),
        (lambda z, w, b: z.reshape(len(z), -1, w[0].numel()) @ w.flatten(1).T + b, "the numbers are only cut into pieces, without bringing each square's together first; permute before you flatten."),
        (_conv, "the numbers are right; arrange them as tokens, the channel last."),
        (lambda z, w, b: _conv(z, w, b).flatten(2), "the numbers are right, but tokens and channels have changed places."),
        (lambda z, w, b: _conv(z, w, b).mT.flatten(2).mT, RUN),
        (lambda z, w, b: _tokens(z, w.flip(2, 3), b), "the kernel is flipped; networks compute a correlation and flip nothing."),
    ],
)
