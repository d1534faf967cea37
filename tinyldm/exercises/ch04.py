"""Chapter 04: a layer of a perceptual distance, the hinge's best value, an average's shares, the price of sharpness, packing."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime import seeded
from .before import Exercise, grade_choice, grade_function, register


def _unit(f: Tensor) -> Tensor:
    return f / f.norm(dim=1, keepdim=True)


def _mean_of_sums(difference: Tensor) -> Tensor:
    return difference.sum(1).mean((1, 2))


def grade_layer(answer: Any) -> None:
    """04-1: unit vectors at every position, squared distance, mean over positions."""
    g = seeded(41)
    cases = [
        {"f": torch.randn(3, 4, 5, 2, generator=g).double(), "g": torch.randn(3, 4, 5, 2, generator=g).double()},
        {
            "f": torch.rand(2, 6, 3, 3, generator=g).double() + 0.1,
            "g": 3 * torch.rand(2, 6, 3, 3, generator=g).double(),
        },
    ]
    grade_function(
        answer,
        lambda f, g: _mean_of_sums((_unit(f) - _unit(g)) ** 2),
        cases,
        wrong=[
            (lambda f, g: _mean_of_sums((f - g) ** 2), "the features are compared as they are; every position's vector should first be brought to length 1."),
            (lambda f, g: ((_unit(f) - _unit(g)) ** 2).mean((1, 2, 3)), "the channels are averaged as well; a squared distance adds them up, only positions are averaged."),
            (lambda f, g: ((_unit(f) - _unit(g)) ** 2).sum((1, 2, 3)), "the positions are added up: a larger picture would be further from its copy. Average over positions."),
            (lambda f, g: (_unit(f) - _unit(g)).norm(dim=1).mean((1, 2)), "this averages distances; squared distances are asked for."),
            (lambda f, g: _mean_of_sums((_unit(f) - _unit(g)).abs()), "absolute differences instead of squared ones."),
            (lambda f, g: 1 - (_unit(f) * _unit(g)).sum(1).mean((1, 2)), "one minus the cosine is half of the squared distance of two unit vectors; a factor is missing."),
            (lambda f, g: (_unit(f) * _unit(g)).sum(1).mean((1, 2)), "this is the cosine: 1 where the features agree. A distance is 0 there."),
            (lambda f, g: _mean_of_sums((f / f.flatten(2).norm(dim=2)[..., None, None] - g / g.flatten(2).norm(dim=2)[..., None, None]) ** 2), "each channel is normalised over the picture; normalise each position over its channels."),
            (lambda f, g: _mean_of_sums((f / f.flatten(1).norm(dim=1)[:, None, None, None] - g / g.flatten(1).norm(dim=1)[:, None, None, None]) ** 2), "the whole map is normalised at once; normalise each position over its channels."),
            (lambda f, g: _mean_of_sums((_unit(f) - g) ** 2), "only the first map is normalised."),
            (lambda f, g: _mean_of_sums(_unit(f - g) ** 2), "the difference is normalised; normalise both maps first, then subtract."),
            (lambda f, g: _mean_of_sums((f / f.square().sum(1, keepdim=True) - g / g.square().sum(1, keepdim=True)) ** 2), "the vectors are divided by their squared length; a square root is missing."),
            (lambda f, g: _mean_of_sums((f / f.abs().sum(1, keepdim=True) - g / g.abs().sum(1, keepdim=True)) ** 2), "the length is the root of the sum of squares, not the sum of absolute values."),
            (lambda f, g: _mean_of_sums((f / f.square().mean(1, keepdim=True).sqrt() - g / g.square().mean(1, keepdim=True).sqrt()) ** 2), "the length takes the sum over channels, not the mean: this is as many times too large as there are channels."),
            (lambda f, g: _mean_of_sums((_unit(f) + _unit(g)) ** 2), "the two maps are added; their difference is asked for."),
        ],
        tolerance=1e-5,
    )  # fmt: skip


def _js(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return (p * (p / m).log() + q * (q / m).log()).sum() / 2


def grade_hinge(answer: Any) -> None:
    """04-2: the smallest hinge loss is the overlap of the two distributions."""
    cases = [
        {"p": torch.tensor([0.5, 0.3, 0.2]).double(), "q": torch.tensor([0.1, 0.3, 0.6]).double()},
        {"p": torch.tensor([0.7, 0.1, 0.1, 0.1]).double(), "q": torch.tensor([0.25, 0.4, 0.05, 0.3]).double()},
    ]
    grade_function(
        answer,
        lambda p, q: torch.minimum(p, q).sum(),
        cases,
        wrong=[
            (lambda p, q: 2 * torch.minimum(p, q).sum(), "twice what is asked for: the loss is the mean of its two halves, each carries a factor of one half."),
            (lambda p, q: 1 - (p - q).abs().sum(), "the gain is counted twice; write the loss between the two kinks as 1 minus something and look at its coefficient again."),
            (lambda p, q: 2 - (p - q).abs().sum() / 2, "what is left when the distributions are alike? A logit of 0 everywhere then costs less than this."),
            (lambda p, q: (p - q).abs().sum() / 2, "this is the total variation distance; the loss goes the other way: easy to tell apart means a small loss."),
            (lambda p, q: (p - q).abs().sum(), "this is a distance, twice the total variation; the loss goes the other way: easy to tell apart means a small loss."),
            (lambda p, q: 1 + (p - q).abs().sum() / 2, "the sign of the discriminator is flipped: this is the loss of the worst answer between the kinks."),
            (lambda p, q: 2 * torch.maximum(p, q).sum(), "at each outcome the discriminator can choose, and it chooses the cheaper side; and each half carries a factor."),
            (lambda p, q: torch.minimum(p, q), "this is the loss of each outcome; add them up."),
            (lambda p, q: torch.minimum(p, q).mean(), "the outcomes are averaged; the probabilities are the weights already, so add up."),
            (lambda p, q: -(q * (p - q).sign()).sum(), "this is the generator's loss at the best discriminator, not the discriminator's own."),
            (lambda p, q: torch.sign(p - q), "this is the best discriminator; its loss is asked for."),
            (lambda p, q: torch.tensor(1.0).double(), "this is 1 for any p and q: the loss of a discriminator that always says 0, or differences added up with their signs; a better one knows where each distribution is larger."),
            (lambda p, q: torch.tensor(2.0).log() - _js(p, q), "this is the best value of the logistic loss of the first GANs; the hinge has another."),
            (lambda p, q: 2 * torch.tensor(2.0).log() - 2 * _js(p, q), "this is the best value of the logistic loss of the first GANs; the hinge has another."),
            (lambda p, q: _js(p, q), "this is the Jensen-Shannon divergence, which belongs to the logistic loss; the hinge has another."),
            (lambda p, q: (p * (p / q).log()).sum(), "this is a Kullback-Leibler divergence; no logarithm appears in the hinge."),
            (lambda p, q: (p * q).sqrt().sum(), "this overlap takes geometric means; no product of the two appears in the hinge."),
        ],
    )  # fmt: skip


def _later(m: Tensor) -> Tensor:
    """The product of the decays that come after each update, (N,)."""
    return torch.cat([m.flip(0).cumprod(0).flip(0)[1:], torch.ones(1, dtype=m.dtype)])


def _joined(start: Tensor, rest: Tensor) -> Tensor:
    return torch.cat([start.reshape(1), rest])


def grade_shares(answer: Any) -> None:
    """04-3: what share the start and each update have in an exponential average with changing decay."""
    n = torch.arange(1, 7, dtype=torch.float64)
    cases = [
        {"decays": torch.tensor([0.5, 0.9, 0.7, 0.8], dtype=torch.float64)},
        {"decays": ((1 + n) / (10 + n)).clamp(max=0.4)},
    ]
    earlier = lambda m: torch.cat([torch.ones(1, dtype=m.dtype), m.cumprod(0)[:-1]])  # noqa: E731
    grade_function(
        answer,
        lambda m: _joined(m.prod(), (1 - m) * _later(m)),
        cases,
        wrong=[
            (lambda m: (1 - m) * _later(m), "the start is missing: N decays give N + 1 shares, and they add up to 1."),
            (lambda m: _joined(m.prod(), (1 - m) * _later(m) * m), "each share is multiplied by its own decay as well; an iterate enters first, and only later decays shrink it."),
            (lambda m: _joined(m.prod(), 1 - m), "each iterate enters with this share, but every later update shrinks it."),
            (lambda m: _joined(m.prod(), (1 - m) * earlier(m)), "the decays before an iterate came are applied to it; it is the later ones that shrink it."),
            (lambda m: torch.ones(len(m) + 1, dtype=m.dtype) / (len(m) + 1), "all shares are equal here; an exponential average forgets."),
            (lambda m: _joined((1 - m).prod(), m * _later(1 - m)), "the decay multiplies the old average, and what is left to 1 the new iterate; here it is the other way round."),
            (lambda m: torch.cat([(1 - m) * _later(m), m.prod().reshape(1)]), "the start stands at the end; it is the oldest and comes first."),
            (lambda m: _joined(m.prod(), (1 - m) * _later(m)).flip(0), "the order is reversed: the start comes first."),
            (lambda m: _joined(torch.zeros(1, dtype=m.dtype), (1 - m) * _later(m)), "the start never disappears completely: it has been through all the decays."),
            (lambda m: _joined(m[0], (1 - m) * _later(m)), "the start has been through all the decays, not only the first."),
            (lambda m: _joined(1 - m[0], (1 - m) * _later(m)), "the average begins as the start itself; no share is taken from it when it enters."),
            (lambda m: _joined(m[-1] ** len(m), (1 - m[-1]) * m[-1] ** torch.arange(len(m) - 1, -1, -1, dtype=m.dtype)), "this takes the last decay for all; each update has its own."),
            (lambda m: _joined(m.prod(), (1 - m) * _later(m)) / (1 - m.prod()), "something is divided by the start's missing share; the shares add up to 1 by themselves."),
            (lambda m: _joined(m.prod(), _later(m)), "an iterate enters with what its decay leaves to it, not in full."),
        ],
    )  # fmt: skip


def grade_posterior(answer: Any) -> None:
    """04-4: what a decoder that draws from p(x | z) loses against one that returns the mean."""
    grade_choice(
        answer,
        "b",
        {
            "a": "both pictures are equally typical of the latent, but one is compared with the other: two independent draws differ, a draw and the mean differ less.",
            "c": "the mean squared error does grow; work out by which factor, for two independent draws of one distribution.",
            "d": "sharpness is no help here: among all functions of the latent, the mean has the smallest squared error, so any other has a larger one; by how much does not depend on the data.",
        },
    )


def _tokens(z: Tensor, weight: Tensor, bias: Tensor, order: tuple[int, ...], with_bias: bool = True) -> Tensor:
    """Packing in some order of the axes (batch, channel, rows, row, columns, column), then one matrix."""
    b, c, h, w = z.shape
    tokens = z.reshape(b, c, h // 2, 2, w // 2, 2).permute(*order).flatten(1, 2).flatten(2)
    out = tokens @ weight.reshape(len(weight), -1).T
    return out + bias if with_bias else out


def _packed_by(*order: int, with_bias: bool = True) -> Callable[..., Tensor]:
    return lambda z, weight, bias: _tokens(z, weight, bias, order, with_bias)


def _scrambled(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return z.reshape(len(z), -1, weight[0].numel()) @ weight.reshape(len(weight), -1).T + bias


def _conv(z: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(z, weight, bias, stride=2)


def grade_tokens(answer: Any) -> None:
    """04-5: two planted bugs, tokens that run down the columns and channels that come last inside a token."""
    g = seeded(45)
    cases = [
        {
            "z": torch.randn(2, 3, *sides, generator=g).double(),
            "weight": torch.randn(7, 3, 2, 2, generator=g).double(),
            "bias": torch.randn(7, generator=g).double(),
        }
        for sides in ((4, 6), (8, 4))
    ]
    run = "the tokens run down the columns; the convolution's output, flattened, runs along the rows."
    inside = "inside a token the entries do not stand in the order of the kernel's: which of its axes comes first?"
    grade_function(
        answer,
        lambda z, w, b: _conv(z, w, b).flatten(2).transpose(1, 2),
        cases,
        wrong=[
            (_packed_by(0, 4, 2, 3, 5, 1), f"both faults are still there. One: {run} Two: {inside}"),
            (_packed_by(0, 2, 4, 3, 5, 1), f"the tokens' order is mended, one fault is left: {inside}"),
            (_packed_by(0, 4, 2, 1, 3, 5), f"the order inside a token is mended, one fault is left: {run}"),
            (_packed_by(0, 2, 4, 1, 5, 3), "nearly: inside a token, row and column of the little square have changed places."),
            (_packed_by(0, 2, 4, 5, 3, 1), "the channel still comes last inside a token, and row and column have changed places too."),
            (_packed_by(0, 4, 2, 1, 5, 3), f"inside a token, row and column of the little square have changed places; and {run}"),
            (_packed_by(0, 2, 4, 3, 1, 5), "inside a token, the channel stands between row and column; where does the kernel have it?"),
            (_packed_by(0, 2, 4, 1, 3, 5, with_bias=False), "both orders are right, but the bias is missing."),
            (_scrambled, "the numbers are only cut into pieces, without bringing each square's together first; permute before you flatten."),
            (lambda z, w, b: _conv(z, w, b), "the numbers are right; arrange them as tokens, the channel last."),
            (lambda z, w, b: _conv(z, w, b).flatten(2), "the numbers are right, but tokens and channels have changed places."),
            (lambda z, w, b: _conv(z, w, b).transpose(2, 3).flatten(2).transpose(1, 2), run),
            (lambda z, w, b: _conv(z, w.flip(2, 3), b).flatten(2).transpose(1, 2), "the kernel is flipped; networks compute a correlation and flip nothing."),
        ],
    )  # fmt: skip


for _exercise in (
    Exercise("04-1", "One layer of a perceptual distance", 2, grade_layer, "it looks at directions, never at lengths."),
    Exercise(
        "04-2", "The best a discriminator can do", 3, grade_hinge, "the overlap of the two: 0 apart, 1 when alike."
    ),
    Exercise("04-3", "Who is in the average", 3, grade_shares, "and the shares add up to 1 with any decays."),
    Exercise("04-4", "The price of a sharp picture", 1, grade_posterior, "the error doubles for every distribution."),
    Exercise(
        "04-5", "A patch embedding with two faults", 3, grade_tokens, "a strided convolution is packing and a matrix."
    ),
):
    register(_exercise)
