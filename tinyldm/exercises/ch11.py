"""Chapter 11: tokens back to a picture, a gated half of a block, a count of parameters, shuffled words, a broken rotation."""

from functools import partial

import torch
import torch.nn.functional as F

from ..runtime import seeded
from .core import choice, formula

# fmt: off

def _unpatchify(tokens, height, width, p, *, order="r s i j c", at="c r i s j"):
    """11-1: tokens of (row, column, channel) as a picture; the axes are read in one order and laid down in another."""
    sizes = {"r": height // p, "s": width // p, "i": p, "j": p, "c": tokens.shape[2] // p**2}
    names, placed = order.split(), at.split()
    cut = tokens.reshape(len(tokens), *(sizes[name] for name in names))
    laid = cut.permute(0, *(1 + names.index(name) for name in placed))
    return laid.reshape(len(tokens), sizes["c"], height, width)

READ, LAID = "In reading: ", "In laying out: "
g = seeded(111)
formula(
    "11-1", "Tokens back to a picture", 2, "every number is where its patch was cut.", _unpatchify, [
        (torch.randn(2, h * w // p**2, p**2 * c, generator=g), h, w, p)
        for h, w, p, c in ((4, 6, 2, 3), (6, 3, 3, 2), (8, 4, 2, 4))
    ], [
        (lambda z, h, w, p: z.mT.reshape(len(z), -1, h, w), "the tokens are put in rows as if each were one pixel; a token is a square of them."),
        (lambda z, h, w, p: _unpatchify(z, h, w, p).permute(0, 2, 3, 1), "the channels are laid down last; a picture of this book has them before rows and columns."),
        (lambda z, h, w, p: _unpatchify(z, h, w, p).mT, "rows and columns of the picture have changed places."),
        (lambda z, h, w, p: z.reshape(len(z), -1, h, w), "nothing is moved: a reshape alone keeps the numbers in their order."),
        ({"order": "r s c i j"}, READ + "inside a token the channel is taken to come first, as in FLUX's packing; here it comes last."),
        ({"order": "r s j i c"}, READ + "row and column inside a token have changed places."),
        ({"order": "s r i j c"}, READ + "the tokens are taken to run down the columns of the picture; they run along its rows."),
        ({"order": "r s j c i"}, READ + "the three numbers that place an entry inside a token are in another order."),
        ({"at": "c r i j s"}, LAID + "the column inside a token stands before the column of the token: tokens are interleaved, not put side by side."),
        ({"at": "c i r s j"}, LAID + "the row inside a token stands before the row of the token: tokens are interleaved, not put one below the other."),
        ({"at": "c i r j s"}, LAID + "the places inside a token stand before those of the tokens: tokens are interleaved, not put side by side."),
        ({"at": "c r s i j"}, LAID + "the axes are not brought next to those that they belong with: a row of the picture runs through a row of all its tokens."),
        ({"at": "r i s j c"}, LAID + "the channels are laid down last; a picture of this book has them before rows and columns."),
        ({"at": "c s j r i"}, LAID + "rows and columns of the picture have changed places."),
    ],
    tolerance=1e-5,
)

def _norm(x, eps, over=(2,), correction=0, root=torch.sqrt):
    return (x - x.mean(over, keepdim=True)) / root(x.var(over, correction=correction, keepdim=True) + eps)

def _half(
    x, shift, scale, gate, layer, *, order=(0, 1, 2), norm=_norm, eps=1e-6, factor=lambda s: 1 + s, scaling=1, sign=1, called=True,
    kept=lambda x, normed, shown: x, end=lambda x, f, shown, g: x + g * f(shown),
):
    """11-2: x + gate layer((1 + scale) norm(x) + shift).

    order: of shift, scale and gate. norm, eps: the norm and its small number. factor: of the normed tokens, from the scale.
    scaling, sign: of scale and shift. called: whether the layer is. kept: what the layer's result is added to. end: how.
    """
    shift, scale, gate = ((shift, scale, gate)[i][:, None] for i in order)
    normed = norm(x, eps)
    shown = factor(scaling * scale) * normed + sign * shift
    return end(kept(x, normed, shown), layer if called else lambda shown: shown, shown, gate)

def _layer(x):
    """Something smooth that mixes the tokens and is not even or odd."""
    return torch.sin(1.2 * x) + 0.3 * x.mean(1, keepdim=True) + 0.2

def _norm_after(x, shift, scale, gate, layer):
    return x + gate[:, None] * layer(_norm(x * (1 + scale[:, None]) + shift[:, None], 1e-6))

g = seeded(112)
formula(
    "11-2", "Half a block", 2, "with all three at zero it does nothing, and then it learns what to do.", _half, [
        (mean + size * torch.randn(b, n, c, generator=g), *parts, _layer)
        # in the last case the numbers are so small that the norm's small number can be seen
        for b, n, c, mean, size in ((3, 5, 8, 0.7, 1.8), (2, 7, 6, 0.7, 1.8), (2, 4, 8, 0.004, 0.01))
        for parts in [torch.randn(3, b, c, generator=g)]
    ], [
        ({"norm": partial(_norm, correction=1)}, "the variance of a norm divides by the number of entries, not by one less."),
        ({"norm": lambda x, eps: (x - x.mean(2, keepdim=True)) / (x.std(2, correction=0, keepdim=True) + eps)}, "the norm's small number is added to the variance, under the root, not to the root."),
        ({"norm": lambda x, eps: F.rms_norm(x, x.shape[2:])}, "the mean is not taken out: this is the norm by the root mean square."),
        (lambda x, a, s, g, f: _half(x, a * (1 + s), s, g, f), "the shift is multiplied by the scale; the scale comes first, then the shift."),
        ({"factor": torch.exp}, "the scale is an addition to one here, not an exponent."),
        ({"sign": 0}, "the shift is missing."),
        ({"scaling": 0}, "the scale is missing."),
        ({"scaling": 0, "sign": 0}, "the layer is shown the normalised tokens without scale and shift."),
        (_norm_after, "the norm comes after scale and shift and undoes much of them; it comes before."),
        ({"end": lambda x, f, shown, g: x + g.sigmoid() * f(shown)}, "the gate is a factor as it is, not through a sigmoid."),
        ({"end": lambda x, f, shown, g: x + g.tanh() * f(shown)}, "the gate is a factor as it is, not through a tanh."),
        ({"end": lambda x, f, shown, g: (1 - g) * x + g * f(shown)}, "the gate mixes the tokens with the layer's result; it only lets the result in, the tokens stay whole."),
        ({"end": lambda x, f, shown, g: x - g * f(shown)}, "what the layer gives is subtracted; it is added."),
        ({"norm": partial(_norm, over=(1,))}, "the norm runs over the tokens; every token is normalised by itself, over its own numbers."),
        ({"norm": partial(_norm, over=(1, 2))}, "the norm runs over the tokens as well; every token is normalised by itself."),
        ({"norm": lambda x, eps: F.rms_norm(x, x.shape[2:], eps=eps)}, "the mean is not taken out: this is the norm by the root mean square."),
        ({"norm": lambda x, eps: x}, "the layer is shown tokens that are not normalised."),
        ({"norm": partial(_norm, root=lambda variance: variance)}, "the norm divides by the root of the variance, not by the variance."),
        ({"eps": 1e-5}, "the norm's small number is PyTorch's default, 1e-5; here it is 1e-6."),
        ({"eps": 0.0}, "the norm's small number, 1e-6, is missing."),
        ({"order": (1, 0, 2)}, "shift and scale have changed places."),
        ({"order": (0, 2, 1)}, "scale and gate have changed places."),
        ({"order": (2, 1, 0)}, "shift and gate have changed places."),
        ({"factor": lambda s: s}, "with a scale of zero nothing must be lost: the tokens are to be multiplied by one more than the scale."),
        ({"scaling": -1}, "the sign of the scale is flipped."),
        ({"sign": -1}, "the sign of the shift is flipped."),
        ({"end": lambda x, f, shown, g: x + f(shown)}, "the gate is missing."),
        ({"end": lambda x, f, shown, g: x + (1 + g) * f(shown)}, "a gate of zero must let nothing of the layer through; yours lets all of it through."),
        ({"end": lambda x, f, shown, g: g * (x + f(shown))}, "the gate acts on the tokens as well; only what the layer adds goes through it."),
        ({"end": lambda x, f, shown, g: x + f(g * shown)}, "the gate acts on what the layer gives, not on what it is shown."),
        ({"end": lambda x, f, shown, g: x + (1 - g) * f(shown)}, "the gate is turned round: zero must close it."),
        ({"called": False}, "`layer` is never called."),
        ({"kept": lambda x, normed, shown: normed}, "the layer's result is added to the normalised tokens; it is added to the tokens as they came in."),
        ({"kept": lambda x, normed, shown: shown}, "the layer's result is added to the modulated tokens; it is added to the tokens as they came in."),
        ({"kept": lambda x, normed, shown: 0 * x}, "the tokens themselves are missing: the layer adds to them."),
    ],
)

def _count(width, blocks, *, streams=2, modulation=6, bias=1, ends=True, keeps=2, wider=4, qkv=3, out=1):
    """11-3: (36 w^2 + 30 w) blocks - 13 w^2 - 10 w, the parameters of SD3's blocks.

    modulation, keeps: how many vectors shift, scale and gate a stream, and the last block's text. ends: whether that stops at
    its queries, keys and values. wider: the middle of the feed-forward. qkv, out: maps before and after the attention.
    """

    def linear(cin, cout):
        return cin * cout + bias * cout

    asks = qkv * linear(width, width)
    acts = out * linear(width, width) + linear(width, wider * width) + linear(wider * width, width)
    stream = linear(width, modulation * width) + asks + acts
    saved = stream - linear(width, keeps * width) - asks if ends else 0
    return torch.tensor(streams * blocks * stream - saved, dtype=torch.float64)

formula(
    "11-3", "What SD3's blocks weigh", 2, "with 24 of them, 1,536 wide, that is almost the whole of SD3.", _count,
    [(64, 3), (96, 1), (1536, 24), (40, 7)], [
        (lambda w, n: _count(w, 1, ends=False), "this is one block of the others; there are several, and the last is smaller."),
        (lambda w, n: _count(w, 1, ends=False, streams=1), "this is one stream of one block."),
        ({"ends": False, "streams": 1}, "text and image have weights of their own: two streams in each block."),
        (lambda w, n: _count(w, n) - (6 * n - 4) * (w * w + w), "the two streams share one modulation; each has its own."),
        (lambda w, n: _count(w, n) - 6 * n * (w * w + w), "the two streams share one modulation; each has its own."),
        (lambda w, n: _count(w, n) + 8 * w * w + 5 * w, "the last block's text has no feed-forward layer either."),
        (lambda w, n: n * _count(w, 1), "the text is taken to end in every block; it ends in the last one only."),
        ({"ends": False, "bias": 0}, "the biases are missing, and the last block's text stops early."),
        (lambda w, n: _count(w, n - 1, ends=False), "the last block is missing; only a part of its text's stream is."),
        (lambda w, n: _count(w, n - 1, ends=False) + _count(w, 1, ends=False, streams=1), "the last block's text still has its queries, keys and values, and what shifts and scales them."),
        ({"ends": False}, "the last block's text stream is counted whole; it stops at its queries, keys and values."),
        ({"keeps": 6}, "the last block's text needs fewer modulations than the others: nothing of it is gated or fed forward."),
        ({"keeps": 3}, "the last block's text has neither gate nor map after the attention: nothing is added to it."),
        ({"keeps": 0}, "the last block's text is still shifted and scaled before it is asked."),
        ({"bias": 0}, "the biases are missing."),
        ({"modulation": 0}, "the modulations are missing."),
        ({"modulation": 3}, "attention and feed-forward have a shift, a scale and a gate each; half of them is missing."),
        ({"modulation": 4}, "the gates are missing."),
        ({"modulation": 2}, "of the modulations two are counted; a stream has them twice, and gates besides."),
        ({"streams": 1}, "text and image have weights of their own: two streams."),
        ({"wider": 1}, "the feed-forward is four times wider in the middle."),
        ({"wider": 8}, "the feed-forward is four times wider in the middle, not eight: it is no gated one."),
        ({"qkv": 1}, "queries, keys and values are three linear maps."),
        ({"qkv": 2}, "one of the three maps to queries, keys and values is missing."),
        ({"out": 0}, "the linear map after the attention is missing."),
    ],
    tolerance=1e-8,
)

choice(
    "11-4", "Shuffled words", 1, "the order of the words is in the words, where the text encoder has put it.", "b", {
        "a": "look at what the transformer adds to the words, or turns them by, to tell the first from the second.",
        "c": "the rotations of FLUX turn image tokens by their places; look at the places that the words are given.",
        "d": "each word's token is changed by the others in the text's stream, but ask whether those changes know an order.",
    },
)

def _turn(x, angles, *, pairs="neighbours", back="neighbours", first=-1, second=1):
    """11-5: a rotation. Planted are halves for neighbours and a sign.

    pairs: how they are read, back: how they are written. first, second: the signs of the sines.
    """
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = x.unflatten(3, (-1, 2)).unbind(4) if pairs == "neighbours" else x.chunk(2, 3)
    a, b = a * cos + first * b * sin, b * cos + second * a * sin
    if back == "halves":
        return torch.cat([a, b], 3)
    return torch.stack([b, a] if back == "exchanged" else [a, b], 4).flatten(3)

HALVES = "the pairs are the first half and the second; here neighbours are turned together."
SIGN = "this is no rotation: lengths are not kept. Look at the signs."
BACKWARDS = "the tokens are turned backwards: the minus sign belongs to the first number of a pair."
LAST = "one fault is left: "
g = seeded(115)
formula(
    "11-5", "A rotation with two faults", 3, "neighbours turn together and keep their length.", _turn, [
        (torch.randn(2, n, heads, d, generator=g), 3 * torch.rand(n, d // 2, generator=g) + 0.1)
        for n, heads, d in ((5, 3, 8), (4, 2, 12))
    ], [
        ({"pairs": "halves", "second": -1}, f"both faults are still there. One: {HALVES} Two: {SIGN}"),
        ({"second": -1}, f"the pairs are mended, {LAST}{SIGN}"),
        ({"pairs": "halves"}, f"the signs are mended, {LAST}{HALVES}"),
        ({"pairs": "halves", "back": "halves"}, f"the signs are mended and the pairs are consistent now, but {HALVES}"),
        ({"pairs": "halves", "back": "halves", "second": -1}, f"the pairs are consistent now, but {HALVES} And {SIGN}"),
        ({"back": "halves"}, "the pairs are read rightly, but written back as two halves; they must return to their places."),
        ({"back": "halves", "second": -1}, f"the pairs are read rightly, but written back as two halves. And {SIGN}"),
        ({"first": 1, "second": -1}, BACKWARDS),
        ({"first": 1, "second": -1, "pairs": "halves"}, f"{BACKWARDS} And {HALVES}"),
        ({"back": "exchanged"}, "the two numbers of each pair have changed places in the result."),
        ({"first": 1, "second": 1}, SIGN),
        ({"first": 0, "second": 0}, "the sines are missing: each number is only multiplied by a cosine."),
        (lambda x, angles: x, "nothing is turned."),
        ({"first": 0, "second": 0, "pairs": "halves", "back": "halves"}, "the sines are missing: each number is only multiplied by a cosine."),
    ],
)
