"""Chapter 10: attention by hand, the clock's waves, a block's weights, a prediction, a forward pass with two faults."""

import math

import torch
import torch.nn.functional as F

from ..runtime import seeded
from .core import choice, formula

# fmt: off

def _attention(q, k, v, *, width=lambda q, k, v: q.shape[2], power=0.5, weigh=lambda s: s.softmax(2)):
    """10-1: softmax(q k' / sqrt(C)) v. width, power: of the scale; weigh: weights from the scores."""
    return weigh(q @ k.mT / width(q, k, v) ** power) @ v

def _scores(q, k, v):
    return q @ k.mT / q.shape[2] ** 0.5

g = seeded(1)
formula(
    "10-1", "Attention by hand", 2, "averages, weighted by how well the keys answer.", _attention, [
        tuple(1.5 * torch.randn(*shape, generator=g) for shape in ((b, n, c), (b, m, c), (b, m, d)))
        for b, n, m, c, d in ((2, 5, 7, 4, 3), (1, 3, 6, 16, 5))
    ], [
        ({"power": 1}, "the scores are divided by the number of columns; a square root is missing, and with it the weights are nearly all equal."),
        ({"power": 0}, "the scores are not scaled: their spread grows with the number of columns, and the softmax picks single keys."),
        ({"power": -0.5}, "the scores are multiplied by the scale where they should be divided."),
        ({"power": 0.25}, "there is a root too many in the scale."),
        ({"power": 2}, "the scores are divided by the square of the number of columns."),
        ({"weigh": lambda s: s.softmax(1)}, "the softmax runs over the queries: each query's weights must add up to one."),
        ({"weigh": lambda s: s.softmax(0)}, "the softmax runs over the batch: samples must not see one another."),
        ({"weigh": lambda s: s}, "there is no softmax: the weights must be positive and add up to one."),
        ({"width": lambda q, k, v: k.shape[1]}, "the scale is that of the number of keys; it belongs to the number of columns of a query."),
        ({"width": lambda q, k, v: k.shape[1], "power": 1}, "the scores are divided by the number of keys; what spreads them is the number of columns of a query."),
        (_scores, "these are the scores; weights are to be made of them, and an average of the values."),
        (lambda q, k, v: _scores(q, k, v).softmax(2), "these are the weights; the average of the values is still to be taken."),
        ({"weigh": torch.sigmoid}, "a sigmoid makes weights positive, but they must also add up to one."),
        ({"weigh": torch.exp}, "the exponentials are not divided by their sum: the weights must add up to one."),
        ({"weigh": lambda s: s.exp() / s.exp().sum((1, 2), keepdim=True)}, "the weights of all queries together add up to one; those of each query must."),
        ({"weigh": torch.relu}, "the softmax is replaced by a rectifier: the weights must add up to one."),
        ({"weigh": lambda s: F.one_hot(s.argmax(2), s.shape[2]).to(s)}, "the best key takes all; the softmax is to weigh all keys."),
        ({"weigh": lambda s: (-s).softmax(2)}, "the sign of the scores is flipped: the keys that fit worst weigh most."),
        (lambda q, k, v: v.mean(1, keepdim=True).expand(-1, q.shape[1], -1), "this is the plain mean of the values: queries and keys have no say."),
        ({"weigh": lambda s: s.log_softmax(2)}, "the logarithms of the weights are taken for the weights."),
        (lambda q, k, v: _attention(q, k, v, power=0) / q.shape[2] ** 0.5, "the scale is applied after the softmax; it belongs to the scores."),
        (lambda q, k, v: F.normalize(q, dim=2) @ F.normalize(k, dim=2).mT @ v, "these are cosines between queries and keys; scaled products and a softmax are asked for."),
        ({"width": lambda q, k, v: q.shape[1]}, "the scale is that of the number of queries; it belongs to the number of columns of a query."),
        ({"width": lambda q, k, v: v.shape[2]}, "the scale is that of the values' columns; the scores are made of the queries' and keys' columns."),
        ({"weigh": lambda s: s.softmax(2).softmax(2)}, "the softmax is taken twice: the second makes the weights nearly equal."),
        (lambda q, k, v: _attention(q, k.reshape(*k.mT.shape).mT, v), "the keys are reshaped where rows and columns should change places: that mixes the entries of different keys."),
        ({"weigh": lambda s: s.abs().softmax(2)}, "the scores have lost their sign: a key that fits badly weighs as much as one that fits."),
        ({"weigh": lambda s: s.square().softmax(2)}, "the scores are squared, and have lost their sign."),
        ({"weigh": lambda s: s / s.sum(2, keepdim=True)}, "the scores are divided by their sum, but the exponential is missing: weights must be positive."),
        ({"weigh": lambda s: s.softmax(2).mean(1, keepdim=True)}, "the weights are averaged over the queries: each query has its own."),
    ],
)

def _halves(a):
    return torch.cat([a.cos(), a.sin()], 1)

def _swapped(a):
    return torch.cat([a.sin(), a.cos()], 1)

def _waves(ticks, k, *, base=10000.0, sign=-1, stretch=1, first=0, turns=1, join=_halves):
    """10-2: cosines, then sines, of ticks times 10000^(-j / k).

    sign, stretch: of the exponent, first: where it starts. turns: a factor of the angles. join: the result from the angles.
    """
    return join(turns * ticks[:, None] * base ** (sign * ((torch.arange(k) + first) * stretch / k)))

formula(
    "10-2", "The clock's waves", 2, "one number on many clocks, none of them with large hands.", _waves,
    [(torch.tensor([0.0, 1.0, 2.5, 31.0, 420.0]), 6), (torch.tensor([3.0, 77.0, 999.0]), 16)], [
        ({"join": _swapped}, "sines and cosines have changed places: cosines come first."),
        ({"join": torch.cos}, "half of it is missing: the sines."),
        ({"join": torch.sin}, "half of it is missing, the cosines; and the sines come second."),
        ({"join": lambda a: a.cos().repeat(1, 2)}, "the cosines stand there twice; the second half is sines."),
        ({"join": lambda a: a.sin().repeat(1, 2)}, "the sines stand there twice; the first half is cosines."),
        ({"stretch": 2}, "the frequencies fall too fast: the exponent runs twice as far, as if k counted sines and cosines together."),
        ({"stretch": 0.5}, "the frequencies fall too slowly: the exponent runs half as far; k counts frequencies, not entries."),
        ({"stretch": 2, "join": _swapped}, "two mistakes: sines come second, and the exponent runs twice as far as it should."),
        ({"base": 1e5}, "the slowest wave is too slow: look at the base."),
        ({"base": 1000.0}, "the slowest wave is too fast: look at the base."),
        ({"base": math.e}, "the base is missing: these frequencies hardly differ."),
        ({"sign": 1}, "the sign of the exponent is flipped: these frequencies rise, and the last waves turn many times from tick to tick."),
        ({"first": 1}, "the frequencies are counted from one; the first is the one with exponent zero."),
        ({"turns": 2 * math.pi}, "there is a full circle too many: the angles are in radians already."),
        ({"turns": math.pi}, "there is half a circle too many: the angles are in radians already."),
        ({"turns": 0.001}, "the ticks are divided by a thousand: the function gets the clock that runs to a thousand, as it is."),
        ({"turns": 1000.0}, "the ticks are multiplied by a thousand: they are the clock already, not a time up to one."),
        ({"join": lambda a: torch.stack([a.cos(), a.sin()], 2).flatten(1)}, "cosines and sines alternate; all cosines come first, then all sines."),
        ({"join": lambda a: torch.stack([a.sin(), a.cos()], 2).flatten(1)}, "sines and cosines alternate; all cosines come first, then all sines."),
        (lambda t, k: _halves(t[:, None] * 10000.0 ** (-torch.arange(k) / (k - 1))), "the last frequency is exactly one ten-thousandth, as in DDPM's code; here k steps would lead there, of which the last is not taken."),
        ({"join": lambda a: a.repeat(1, 2)}, "these are the angles; their cosines and sines are asked for."),
        ({"join": lambda a: _halves(-a)}, "the sines have the wrong sign."),
        ({"join": lambda a: torch.cat([a.cos(), a.sin()], 0)}, "cosines and sines stand one below the other; join them along dimension 1."),
        (lambda t, k: _halves(t[:, None] * 2.0 ** -torch.arange(k)), "the frequencies are halved from wave to wave; the base and the division by the number of waves are missing."),
        (lambda t, k: _waves(t, 2 * k), "these are twice as many frequencies as are asked for."),
        (lambda t, k: _waves(t, k // 2), "these are half as many frequencies as are asked for: each has a cosine and a sine."),
        ({"join": lambda a: a}, "these are the angles; their cosines and sines are asked for."),
        ({"join": lambda a: a.cos() + a.sin()}, "cosines and sines are added; they stand side by side."),
        ({"join": lambda a: _halves(a).flip(1)}, "everything is there, in the reverse order."),
        ({"join": lambda a: _halves(a.flip(1))}, "the frequencies run from slow to fast; they should fall."),
        (lambda t, k: _halves(t[:, None] / (torch.arange(k) + 1)), "the frequencies fall like one over their number; they should fall by a constant factor."),
    ],
)

def _block(
    cin, cout, width, *, norms=2, offsets=1, kernel=9, skip=lambda i, o, kernel: i if i != o else 0, time=1, second=lambda i, o: o
):
    """10-3: norms, two convolutions, the embedding, and the shortcut where the channels differ.

    norms: numbers a channel. offsets: of each output. kernel: pixels. skip: how many inputs the shortcut's outputs have.
    time: how often the embedding's map is counted. second: the channels that the second half works on.
    """
    into, across = second(cin, cout), skip(cin, cout, kernel)
    total = norms * (cin + into) + (kernel * (cin + into) + 2 * offsets + time * (width + offsets)) * cout
    return torch.tensor(total + ((across + offsets) * cout if across else 0), dtype=torch.float64)

formula(
    "10-3", "The weights of a block", 2, "it is the count of the library's block, shortcut or not.", _block,
    [(4, 6, 5), (8, 8, 20), (3, 2, 7), (12, 4, 9)], [
        ({"skip": lambda i, o, kernel: 0}, "the shortcut is left out; where the numbers of channels differ it has weights."),
        ({"skip": lambda i, o, kernel: i}, "the shortcut is counted even where the numbers of channels agree; there it is the identity."),
        ({"skip": lambda i, o, kernel: kernel * i if i != o else 0}, "the shortcut looks at one pixel only; you gave it a larger kernel."),
        ({"norms": 0}, "the normalisations are missing; each channel has two numbers there."),
        ({"norms": 1}, "a normalisation has two numbers a channel, a factor and an offset; you count one."),
        ({"norms": 4}, "the normalisations are counted twice."),
        ({"offsets": 0}, "the offsets are missing: one for every output of a convolution or an affine map."),
        ({"kernel": 3}, "a kernel has height and width; you count one of the two."),
        ({"kernel": 1}, "the kernels are counted as single pixels."),
        ({"time": 0}, "the embedding's map is missing."),
        ({"time": 2}, "the embedding is counted twice: it is added here, there is no scale beside the shift."),
        ({"second": lambda i, o: i}, "the second half works on what the first gives, which has the channels that come out."),
        (lambda i, o, w: _block(i, o, w) - (o if i != o else 0), "the shortcut's convolution has an offset too."),
        ({"skip": lambda i, o, kernel: o if i != o else 0}, "the shortcut starts from the channels that come in."),
        (lambda i, o, w: _block(i, o, w) - 9 * o * o - o - 2 * o, "one normalisation and one convolution only: the block has two of each."),
        (lambda i, o, w: _block(i, o, w) - 9 * o * o - o, "the second convolution is missing."),
        (lambda i, o, w: _block(i, o, w) - o, "one offset is missing, that of a convolution or of the embedding's map."),
        (lambda i, o, w: _block(i, o, w) - 2 * i, "the first normalisation is missing."),
        (lambda i, o, w: _block(i, o, w) - 2 * o, "the second normalisation is missing, or two offsets are."),
        (lambda i, o, w: _block(i, o, w) - 3 * o, "the offsets of the convolutions and of the embedding's map are missing."),
        (lambda i, o, w: _block(i, o, w) + (w + 1) * (i - o), "the embedding is added after the first convolution, so its map has as many outputs as come out."),
        (lambda i, o, w: _block(i, o, w) + 2 * (o - i), "both normalisations are counted with the channels that come out; the first works on what comes in."),
        (lambda i, o, w: _block(i, o, w) + 2 * (i - o), "both normalisations are counted with the channels that come in; the second works on what comes out."),
        (lambda i, o, w: _block(i, o, w) + 9 * o * (i - o), "the second convolution works on what the first gives, which has the channels that come out."),
        (lambda i, o, w: _block(i, o, w) + i - o, "a convolution has one offset for each channel that comes out of it."),
        (lambda i, o, w: _block(i, o, w) - (9 * i + 1) * o, "the first convolution is missing."),
        ({"skip": lambda i, o, kernel: i if i < o else 0}, "the shortcut is counted only where the channels become more; it is needed where they become fewer, too."),
        ({"skip": lambda i, o, kernel: i if i > o else 0}, "the shortcut is counted only where the channels become fewer; it is needed where they become more, too."),
    ],
    tolerance=1e-7,
)

choice(
    "10-4", "A third row without skips", 1, "what must be passed on is decided by the row.", "d", {
        "a": "the answer contains data and noise; what must the network return where there is only noise?",
        "b": "the answer contains noise and data; what must the network return where there is hardly any noise?",
        "c": "for v the two contributions cancel at every time, because of its coefficients; do they for these? Compute the gain at the two ends.",
    },
)

def _forward(
    x, first, down, middle, up, *, start="first", push="after", deep=True, take=list.pop, use=lambda h, skip: skip, swap=False,
    until=None,
):
    """10-5: a U-Net. Planted are a push before the layer and a pop from the front.

    start: what lies on the stack at first; "" for the middle's output, laid there last. push: of each part what it gets
    (before), what it gives (after) or the input x. deep: whether the middle is run. take: from the stack. use, swap: the pair
    at a joint. until: where the joints end.
    """
    h = first(x)
    stack = {"first": [h], "x": [x], "": []}[start]
    for layer in down:
        seen = {"x": x, "before": h, "after": layer(h)}
        stack += [seen[name] for name in push.split()]
        h = seen["after"]
    h = middle(h) if deep else h
    stack += [] if start else [h]
    for layer in up[:until]:
        skip = use(h, take(stack))
        h = layer(torch.cat([skip, h] if swap else [h, skip], 1))
    return h

def _layer(g, cin, cout):
    weight = torch.randn(cout, cin, generator=g) / cin**0.5
    return lambda h: torch.tanh(torch.einsum("oi,bi...->bo...", weight.to(h), h)) + 0.1 * h[:, :cout]

def _front(stack):
    return stack.pop(0)

PUSH = "a push comes too early: what is handed over is what a part gives, not what it gets."
POP = "the maps come back in the wrong order: the deepest joint must get the map that was pushed last."
g = seeded(5)
formula(
    "10-5", "A forward pass with two faults", 3, "as many pushes as joints, last in, first out.", _forward, [
        (torch.randn(*shape, generator=g), _layer(g, c, c), [_layer(g, c, c) for _ in range(depth)], _layer(g, c, c), [_layer(g, 2 * c, c) for _ in range(depth + 1)])
        for depth, shape in ((3, (2, 4, 3, 3)), (2, (3, 5, 2)))
        for c in [shape[1]]
    ], [
        ({"push": "before", "take": _front}, f"both faults are still there. One: {PUSH} Two: {POP}"),
        ({"push": "before", "take": _front, "swap": True}, f"both faults are still there, and at the joints the two maps have changed places. One: {PUSH} Two: {POP}"),
        ({"push": "before"}, f"the order is mended, one fault is left: {PUSH}"),
        ({"take": _front}, f"the push is mended, one fault is left: {POP}"),
        ({"swap": True}, "at the joints the two maps have changed places: what comes from below is the first."),
        ({"deep": False}, "the middle is left out."),
        ({"use": lambda h, skip: 0 * skip}, "nothing is handed over: the second half of the channels is zero."),
        ({"use": lambda h, skip: h}, "at the joints a map meets itself; its partner is on the stack."),
        ({"start": "x"}, "the input itself is on the stack in the place of the first map."),
        ({"start": ""}, "the middle's output is on the stack and the first map is not: the middle hands nothing over."),
        ({"until": -1}, "the last joint is left out."),
        ({"until": 1}, "only the first joint is made; does the `return` stand inside the loop?"),
        ({"take": lambda stack: stack[-1]}, "every joint gets the same map, the deepest; each should get its own."),
        ({"take": lambda stack: stack[0]}, "every joint gets the same map, the first; each should get its own."),
        ({"push": "before after"}, "each part is pushed twice, what it gets and what it gives; there are more pushes than joints."),
        ({"push": "x"}, "the input itself is pushed for every part; what is handed over is what a part gives."),
        ({"start": "", "push": "before"}, "each part is pushed too early, and the middle's output in the end; the middle hands nothing over."),
        (lambda x, first, down, middle, up: _forward(x, first, down[::-1], middle, up), "the parts on the way down are run in the reverse order."),
        (lambda x, first, down, middle, up: _forward(x, first, down, middle, up[::-1]), "the parts on the way up are run in the reverse order."),
    ],
)
