"""Chapter 11: further mistakes of its exercises, each with the sentence that it deserves."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nn.packing import unpack
from .before import Wrong


def _picture(tokens: Tensor, height: int, width: int, p: int) -> Tensor:
    """The right picture: inside each token the channel is brought to the front, then FLUX's order is read."""
    return unpack(tokens.unflatten(2, (p * p, -1)).transpose(2, 3).flatten(2), height, width, p)


# (tokens, height, width, p)
PICTURES: Wrong = [
    (lambda z, h, w, p: z.transpose(1, 2).reshape(len(z), -1, h, w), "the tokens are put in rows as if each were one pixel; a token is a square of them."),
    (lambda z, h, w, p: _picture(z, h, w, p).permute(0, 2, 3, 1), "the channels are laid down last; a picture of this book has them before rows and columns."),
    (lambda z, h, w, p: _picture(z, h, w, p).transpose(2, 3), "rows and columns of the picture have changed places."),
    (lambda z, h, w, p: z.reshape(len(z), -1, h, w), "nothing is moved: a reshape alone keeps the numbers in their order."),
]  # fmt: skip


def _half(state: Any = None, end: Any = None, eps: float = 1e-6, correction: int = 0) -> Callable[..., Tensor]:
    """Half a block with another input of its layer (x, n, shift, scale, gate) or another end (x, made, gate, ...)."""

    def half(x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor, layer: Any) -> Tensor:
        shift, scale, gate = (t[:, None] for t in (shift, scale, gate))
        n = (x - x.mean(2, keepdim=True)) / (x.var(2, correction=correction, keepdim=True) + eps).sqrt()
        made = layer(state(x, n, shift, scale) if state else n * (1 + scale) + shift)
        return end(x, made, gate) if end else x + gate * made

    return half


HALVES: Wrong = [
    (_half(correction=1), "the variance of a norm divides by the number of entries, not by one less."),
    (_half(state=lambda x, n, a, s: (x - x.mean(2, keepdim=True)) / (x.std(2, correction=0, keepdim=True) + 1e-6) * (1 + s) + a), "the norm's small number is added to the variance, under the root, not to the root."),
    (_half(state=lambda x, n, a, s: F.rms_norm(x, x.shape[2:]) * (1 + s) + a), "the mean is not taken out: this is the norm by the root mean square."),
    (_half(state=lambda x, n, a, s: (n + a) * (1 + s)), "the shift is multiplied by the scale; the scale comes first, then the shift."),
    (_half(state=lambda x, n, a, s: n * s.exp() + a), "the scale is an addition to one here, not an exponent."),
    (_half(state=lambda x, n, a, s: n * (1 + s)), "the shift is missing."),
    (_half(state=lambda x, n, a, s: n + a), "the scale is missing."),
    (_half(state=lambda x, n, a, s: n), "the layer is shown the normalised tokens without scale and shift."),
    (_half(state=lambda x, n, a, s: F.layer_norm(x * (1 + s) + a, x.shape[2:], eps=1e-6)), "the norm comes after scale and shift and undoes much of them; it comes before."),
    (_half(end=lambda x, made, g: x + g.sigmoid() * made), "the gate is a factor as it is, not through a sigmoid."),
    (_half(end=lambda x, made, g: x + g.tanh() * made), "the gate is a factor as it is, not through a tanh."),
    (_half(end=lambda x, made, g: (1 - g) * x + g * made), "the gate mixes the tokens with the layer's result; it only lets the result in, the tokens stay whole."),
    (_half(end=lambda x, made, g: x - g * made), "what the layer gives is subtracted; it is added."),
]  # fmt: skip


def _number(formula: Callable[[int, int], int]) -> Callable[..., Tensor]:
    return lambda width, blocks: torch.tensor(float(formula(width, blocks)), dtype=torch.float64)


# (width, blocks)
COUNTS: Wrong = [
    (_number(lambda w, n: 36 * w * w + 30 * w), "this is one block of the others; there are several, and the last is smaller."),
    (_number(lambda w, n: 18 * w * w + 15 * w), "this is one stream of one block."),
    (_number(lambda w, n: n * (18 * w * w + 15 * w)), "text and image have weights of their own: two streams in each block."),
    (_number(lambda w, n: n * (30 * w * w + 24 * w) - 9 * w * w - 6 * w), "the two streams share one modulation; each has its own."),
    (_number(lambda w, n: n * (30 * w * w + 24 * w) - 13 * w * w - 10 * w), "the two streams share one modulation; each has its own."),
    (_number(lambda w, n: 2 * n * (18 * w * w + 15 * w) - 5 * w * w - 5 * w), "the last block's text has no feed-forward layer either."),
    (_number(lambda w, n: n * (23 * w * w + 20 * w)), "the text is taken to end in every block; it ends in the last one only."),
    (_number(lambda w, n: 36 * w * w * n), "the biases are missing, and the last block's text stops early."),
    (_number(lambda w, n: (n - 1) * (36 * w * w + 30 * w)), "the last block is missing; only a part of its text's stream is."),
    (_number(lambda w, n: (n - 1) * (36 * w * w + 30 * w) + 18 * w * w + 15 * w), "the last block's text still has its queries, keys and values, and what shifts and scales them."),
]  # fmt: skip

# (x, angles)
TURNS: Wrong = [
    (lambda x, a: x * a.cos().repeat_interleave(2, 1)[:, None], "the sines are missing: each number is only multiplied by a cosine."),
    (lambda x, a: x, "nothing is turned."),
    (lambda x, a: x * a.cos().repeat(1, 2)[:, None], "the sines are missing: each number is only multiplied by a cosine."),
]  # fmt: skip
