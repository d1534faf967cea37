"""Chapter 10: further mistakes of its exercises, each with the sentence that it deserves."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .before import Wrong


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
    (lambda q, k, v: (q @ k.mT / q.shape[1] ** 0.5).softmax(-1) @ v, "the scale is that of the number of queries; it belongs to the number of columns of a query."),
    (lambda q, k, v: (q @ k.mT / v.shape[2] ** 0.5).softmax(-1) @ v, "the scale is that of the values' columns; the scores are made of the queries' and keys' columns."),
    (lambda q, k, v: _scores(q, k).softmax(-1).softmax(-1) @ v, "the softmax is taken twice: the second makes the weights nearly equal."),
    (lambda q, k, v: _scores(q, k.reshape(k.shape[0], k.shape[2], k.shape[1]).mT).softmax(-1) @ v, "the keys are reshaped where rows and columns should change places: that mixes the entries of different keys."),
    (lambda q, k, v: _scores(q, k).abs().softmax(-1) @ v, "the scores have lost their sign: a key that fits badly weighs as much as one that fits."),
    (lambda q, k, v: _scores(q, k).square().softmax(-1) @ v, "the scores are squared, and have lost their sign."),
    (lambda q, k, v: _scores(q, k) / _scores(q, k).sum(-1, keepdim=True) @ v, "the scores are divided by their sum, but the exponential is missing: weights must be positive."),
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


def _halves(angles: Tensor) -> Tensor:
    return torch.cat([angles.cos(), angles.sin()], dim=1)


# (ticks, k)
WAVES: Wrong = [
    (_interleaved, "cosines and sines alternate; all cosines come first, then all sines."),
    (_interleaved_sine, "sines and cosines alternate; all cosines come first, then all sines."),
    (_to_the_end, "the last frequency is exactly one ten-thousandth, as in DDPM's code; here k steps would lead there, of which the last is not taken."),
    (lambda t, k: torch.cat([_angles(t, k), _angles(t, k)], 1), "these are the angles; their cosines and sines are asked for."),
    (lambda t, k: torch.cat([_angles(t, k).cos(), -_angles(t, k).sin()], 1), "the sines have the wrong sign."),
    (lambda t, k: torch.cat([_angles(t, k).cos(), _angles(t, k).sin()], 0), "cosines and sines stand one below the other; join them along dimension 1."),
    (lambda t, k: _halves(t[:, None] * 2.0 ** -torch.arange(k)), "the frequencies are halved from wave to wave; the base and the division by the number of waves are missing."),
    (lambda t, k: _halves(_angles(t, 2 * k)), "these are twice as many frequencies as are asked for."),
    (lambda t, k: _halves(_angles(t, k // 2)), "these are half as many frequencies as are asked for: each has a cosine and a sine."),
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
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) + 2 * (i - o)), "both normalisations are counted with the channels that come in; the second works on what comes out."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) + 9 * o * (i - o)), "the second convolution works on what the first gives, which has the channels that come out."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) + i - o), "a convolution has one offset for each channel that comes out of it."),
    (lambda i, o, w: _whole(_count(i, o, w) + _shortcut(i, o) - (9 * i + 1) * o), "the first convolution is missing."),
    (lambda i, o, w: _whole(_count(i, o, w) + (_shortcut(i, o) if i < o else 0)), "the shortcut is counted only where the channels become more; it is needed where they become fewer, too."),
    (lambda i, o, w: _whole(_count(i, o, w) + (_shortcut(i, o) if i > o else 0)), "the shortcut is counted only where the channels become fewer; it is needed where they become more, too."),
]  # fmt: skip


def _pass(start: bool = True, last: bool = False, until: int | None = None, turned: str = "") -> Callable[..., Tensor]:
    """Another forward pass: what is pushed at the start, whether the middle is, the joints made, the list turned round."""

    def run(x: Tensor, first: Any, down: Any, middle: Any, up: Any) -> Tensor:
        h = first(x)
        stack = [h] if start else [x]
        for layer in down[::-1] if turned == "down" else down:
            h = layer(h)
            stack.append(h)
        h = middle(h)
        if last:
            stack = [*stack[1:], h]
        for layer in up[::-1] if turned == "up" else up[:until]:
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


def _pushing(*what: str, end: bool = False) -> Callable[..., Tensor]:
    """A forward pass that pushes the named ones of a part's input x, what it gets (before) and what it gives (after)."""

    def run(x: Tensor, first: Any, down: Any, middle: Any, up: Any) -> Tensor:
        h = first(x)
        stack = [] if end else [h]
        for layer in down:
            seen = {"before": h, "after": layer(h), "x": x}
            stack += [seen[name] for name in what]
            h = seen["after"]
        h = middle(h)
        stack += [h] if end else []
        for layer in up:
            h = layer(torch.cat([h, stack.pop()], dim=1))
        return h

    return run


def _first_map(x: Tensor, first: Any, down: Any, middle: Any, up: Any) -> Tensor:
    h = top = first(x)
    for layer in down:
        h = layer(h)
    h = middle(h)
    for layer in up:
        h = layer(torch.cat([h, top], dim=1))
    return h


# (x, first, down, middle, up)
PASSES: Wrong = [
    (_pass(start=False), "the input itself is on the stack in the place of the first map."),
    (_pass(last=True), "the middle's output is on the stack and the first map is not: the middle hands nothing over."),
    (_pass(until=-1), "the last joint is left out."),
    (_pass(until=1), "only the first joint is made; does the `return` stand inside the loop?"),
    (_repeated, "every joint gets the same map, the deepest; each should get its own."),
    (_first_map, "every joint gets the same map, the first; each should get its own."),
    (_pushing("before", "after"), "each part is pushed twice, what it gets and what it gives; there are more pushes than joints."),
    (_pushing("x"), "the input itself is pushed for every part; what is handed over is what a part gives."),
    (_pushing("before", end=True), "each part is pushed too early, and the middle's output in the end; the middle hands nothing over."),
    (_pass(turned="down"), "the parts on the way down are run in the reverse order."),
    (_pass(turned="up"), "the parts on the way up are run in the reverse order."),
]  # fmt: skip
