"""Chapter 10: further mistakes of its exercises, each with the sentence that it deserves."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .core import Wrong


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


# (q, k, v)
ATTENTIONS: Wrong = [
    (lambda q, k, v: _scores(q, k), "these are the scores; weights are to be made of them, and an average of the values."),
    (lambda q, k, v: _scores(q, k).softmax(-1), "these are the weights; the average of the values is still to be taken."),
    (lambda q, k, v: _scores(q, k).sigmoid() @ v, "a sigmoid makes weights positive, but they must also add up to one."),
    (lambda q, k, v: _scores(q, k).exp() @ v, "the exponentials are not divided by their sum: the weights must add up to one."),
    (lambda q, k, v: (_scores(q, k).exp() / _scores(q, k).exp().sum((1, 2), keepdim=True)) @ v, "the weights of all queries together add up to one; those of each query must."),
    (lambda q, k, v: _scores(q, k).relu() @ v, "the softmax is replaced by a rectifier: the weights must add up to one."),
    (lambda q, k, v: F.one_hot(_scores(q, k).argmax(-1), k.shape[1]).to(v) @ v, "the best key takes all; the softmax is to weigh all keys."),
    (lambda q, k, v: (-_scores(q, k)).softmax(-1) @ v, "the sign of the scores is flipped: the keys that fit worst weigh most."),
    (lambda q, k, v: v.mean(1, keepdim=True).expand(-1, q.shape[1], -1), "this is the plain mean of the values: queries and keys have no say."),
    (lambda q, k, v: _scores(q, k).log_softmax(-1) @ v, "the logarithms of the weights are taken for the weights."),
    (lambda q, k, v: (q @ k.mT).softmax(-1) @ v / q.shape[-1] ** 0.5, "the scale is applied after the softmax; it belongs to the scores."),
    (lambda q, k, v: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT @ v, "these are cosines between queries and keys; scaled products and a softmax are asked for."),
    (lambda q, k, v: torch.softmax(_scores(q, k), -1).mean(1, keepdim=True) @ v, "the weights are averaged over the queries: each query has its own."),
]  # fmt: skip


def _angles(ticks: Tensor, k: int) -> Tensor:
    return ticks[:, None] * 10000.0 ** (-torch.arange(k) / k)


def _interleaved(ticks: Tensor, k: int) -> Tensor:
    a = _angles(ticks, k)
    return torch.stack([a.cos(), a.sin()], dim=2).flatten(1)


def _interleaved_sine(ticks: Tensor, k: int) -> Tensor:
    a = _angles(ticks, k)
    return torch.stack([a.sin(), a.cos()], dim=2).flatten(1)


def _to_the_end(ticks: Tensor, k: int) -> Tensor:
    a = ticks[:, None] * 10000.0 ** (-torch.arange(k) / (k - 1))
    return torch.cat([a.cos(), a.sin()], dim=1)


# (ticks, k)
WAVES: Wrong = [
    (_interleaved, "cosines and sines alternate; all cosines come first, then all sines."),
    (_interleaved_sine, "sines and cosines alternate; all cosines come first, then all sines."),
    (_to_the_end, "the last frequency is exactly one ten-thousandth, as in DDPM's code; here k steps would lead there, of which the last is not taken."),
    (lambda t, k: torch.cat([_angles(t, k), _angles(t, k)], 1), "these are the angles; their cosines and sines are asked for."),
    (_angles, "these are the angles; their cosines and sines are asked for."),
    (lambda t, k: _angles(t, k).cos() + _angles(t, k).sin(), "cosines and sines are added; they stand side by side."),
    (lambda t, k: torch.cat([_angles(t, k).cos(), _angles(t, k).sin()], 1).flip(1), "everything is there, in the reverse order."),
    (lambda t, k: torch.cat([_angles(t, k).flip(1).cos(), _angles(t, k).flip(1).sin()], 1), "the frequencies run from slow to fast; they should fall."),
    (lambda t, k: torch.cat([(t[:, None] / (j + 1)).cos() for j in range(k)] + [(t[:, None] / (j + 1)).sin() for j in range(k)], 1), "the frequencies fall like one over their number; they should fall by a constant factor."),
]  # fmt: skip


def _count(cin: int, cout: int, width: int) -> float:
    """The right count without the shortcut."""
    return 2 * (cin + cout) + (9 * cin + 1) * cout + (9 * cout + 1) * cout + (width + 1) * cout


def _whole(n: float) -> Tensor:
    return torch.tensor(float(n), dtype=torch.float64)


def _shortcut(cin: int, cout: int) -> int:
    return 0 if cin == cout else (cin + 1) * cout


# (cin, cout, width)
BLOCKS: Wrong = [
    (lambda i, o, w: _whole(_count(i, o, w) + (0 if i == o else i * o)), "the shortcut's convolution has an offset too."),
    (lambda i, o, w: _whole(_count(i, o, w) + (0 if i == o else (o + 1) * o)), "the shortcut starts from the channels that come in."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - 9 * o * o - o - 2 * o), "one normalisation and one convolution only: the block has two of each."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - 9 * o * o - o), "the second convolution is missing."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - o), "one offset is missing, that of a convolution or of the embedding's map."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - 2 * i), "the first normalisation is missing."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - 2 * o), "the second normalisation is missing, or two offsets are."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - 3 * o), "the offsets of the convolutions and of the embedding's map are missing."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) + (w + 1) * (i - o)), "the embedding is added after the first convolution, so its map has as many outputs as come out."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) + 2 * (o - i)), "both normalisations are counted with the channels that come out; the first works on what comes in."),
]  # fmt: skip


def _pass(start: bool = True, last: bool = False, until: int | None = None) -> Callable[..., Tensor]:
    """Another forward pass: what is pushed at the start, whether the middle is, and how many joints are made."""

    def run(x: Tensor, first: Any, down: Any, middle: Any, up: Any) -> Tensor:
        h = first(x)
        stack = [h] if start else [x]
        for layer in down:
            h = layer(h)
            stack.append(h)
        h = middle(h)
        if last:
            stack = [*stack[1:], h]
        for layer in up[:until]:
            h = layer(torch.cat([h, stack.pop()], dim=1))
        return h

    return run


def _repeated(x: Tensor, first: Any, down: Any, middle: Any, up: Any) -> Tensor:
    h = first(x)
    for layer in down:
        h = layer(h)
    deepest, h = h, middle(h)
    for layer in up:
        h = layer(torch.cat([h, deepest], dim=1))
    return h


# (x, first, down, middle, up)
PASSES: Wrong = [
    (_pass(start=False), "the input itself is on the stack in the place of the first map."),
    (_pass(last=True), "the middle's output is on the stack and the first map is not: the middle hands nothing over."),
    (_pass(until=-1), "the last joint is left out."),
    (_pass(until=1), "only the first joint is made; does the `return` stand inside the loop?"),
    (_repeated, "every joint gets the same map, the deepest; each should get its own."),
]  # fmt: skip
