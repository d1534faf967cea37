"""Chapter 12: scale and shift by hand, a text of one token, the empty text, cross-attention the wrong way round, zero starts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .core import Function, NotYetError, call, choice, formula

# fmt: off

def _halves(said):
    return said.chunk(2, 1)

def _neighbours(said):
    return said[:, 0::2], said[:, 1::2]

def _film(h, said, *, cut=_halves, flip=False, one=1, scale=1, shift=1, lift=lambda s: s[:, :, None, None]):
    """12-1: h (1 + scale) + shift. cut: what is said in two parts; flip: which comes first. one, scale, shift: factors.

    lift: from (B, C) to what is broadcast against h.
    """
    first, second = map(lift, cut(said)[::-1] if flip else cut(said))
    return h * (one + scale * first) + shift * second

def _parts(said):
    return (s[:, :, None, None] for s in _halves(said))

def _with(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    """A formula of (h, scale, shift) as one of (h, said)."""
    return lambda h, said: function(h, *_parts(said))

g = seeded(121)
formula(  # a wrong axis must fit too, or PyTorch would stop before anything could be said: rows, columns and channels are as many
    "12-1", "Scale and shift by hand", 1, "every channel has a scale and a shift of its own, and zeros change nothing.", _film, [
        (torch.randn(b, c, h, w, generator=g), torch.randn(b, 2 * c, generator=g)) for b, c, h, w in ((4, 4, 4, 4), (1, 6, 6, 6), (1, 1, 4, 6))
    ], [
        ({"flip": True}, "scale and shift have changed places: look at which half comes first."),
        ({"one": 0}, "with a scale of zero nothing would be left of the picture; it must then stay as it is."),
        ({"scale": -1}, "the sign of the scale is flipped: a positive one must make the picture stronger."),
        ({"shift": -1}, "the sign of the shift is flipped: it is added."),
        ({"shift": 0}, "the shift is missing."),
        ({"scale": 0}, "the scale is missing."),
        (_with(lambda h, a, b: (h + b) * (1 + a)), "the shift is multiplied as well; it comes last."),
        (_with(lambda h, a, b: (h + b) * a), "the shift is multiplied as well; it comes last. And a scale of zero would leave nothing of the picture."),
        (_with(lambda h, a, b: h * (1 + a) ** 2 + b), "the scale is applied twice."),
        (_with(lambda h, a, b: h * a.exp() + b), "there is an exponential around the scale; here it is taken as it is."),
        (_with(lambda h, a, b: h * a.sigmoid() + b), "there is a sigmoid around the scale; here it is taken as it is."),
        (_with(lambda h, a, b: h * (2 + a) + b), "the picture stands there twice: what comes out takes its place, it is not added to it."),
        (_with(lambda h, a, b: h * (1 + a) + 1 + b), "there is a 1 too many: it belongs to the scale alone."),
        (_with(lambda h, a, b: h * a + 1 + b), "the 1 stands at the shift; it belongs to the scale."),
        (_with(lambda h, a, b: a + b), "the picture itself is missing."),
        (_with(lambda h, a, b: h + a + b), "the scale is added; it multiplies."),
        (_with(lambda h, a, b: h * (1 + a) * (1 + b)), "the shift multiplies; it is added."),
        (_with(lambda h, a, b: h / (1 + a) + b), "the picture is divided; it is multiplied."),
        (_with(lambda h, a, b: h + b * (1 + a)), "the scale multiplies the shift; it belongs to the picture."),
        ({"cut": _neighbours}, "scales and shifts are taken by turns; the scales are the first half, in one piece."),
        ({"cut": lambda said: (_halves(said)[0],) * 2}, "the scales are taken for the shifts as well."),
        ({"cut": lambda said: (_halves(said)[1],) * 2}, "the shifts are taken for the scales as well."),
        ({"lift": lambda s: s}, "samples and channels of what is said meet rows and columns of the picture: broadcasting begins at the last axis."),
        ({"lift": lambda s: s[..., None]}, "samples and channels of what is said meet channels and rows of the picture: broadcasting begins at the last axis."),
        ({"lift": lambda s: s[:, None, None]}, "the numbers run along the columns of the picture; each belongs to a channel."),
        ({"lift": lambda s: s[:, None, :, None]}, "the numbers run along the rows of the picture; each belongs to a channel."),
        ({"lift": lambda s: s[0, :, None, None]}, "every sample gets what is said of the first."),
        ({"lift": lambda s: s.mean(0)[:, None, None]}, "what is said is averaged over the batch; every sample has its own."),
        ({"lift": lambda s: s.mean(1)[:, None, None, None]}, "what is said is averaged over the channels; each has its own."),
    ],
)

def _adds(
    x, c, w_q, w_k, w_v, w_o, *,
    seen=lambda x, c: c, value=lambda s, w_v: s @ w_v.T, out=lambda v, w_o: v @ w_o.T, weigh=lambda s, root: torch.ones_like(s), extra=0
):
    """12-2: W_o W_v c at every place. seen: where values come from; value, out: the two maps. weigh: from the scores (B, N, 1) and

    the root of the width. extra: how often x itself is in it.
    """
    weights = weigh((x @ w_q.T) @ (c @ w_k.T).mT, w_q.shape[0] ** 0.5)
    return out(weights * value(seen(x, c), w_v), w_o) + extra * x

def _row(x, c, w_q, w_k, w_v, w_o):
    return (c @ w_v.T @ w_o.T)[:, :1]

TURNED = "a matrix stands the wrong way: the rows of w_v and of w_o are what comes out, their columns what goes in."
g = seeded(122)
formula(  # all widths are one number, so that a matrix the wrong way round does not stop the student's function
    "12-2", "A text of one token", 2, "one answer needs no question: what is added is the same at every place.", _adds, [
        (torch.randn(b, n, c, generator=g), torch.randn(b, 1, c, generator=g), *torch.randn(4, c, c, generator=g)) for b, n, c in ((2, 5, 4), (3, 4, 3))
    ], [
        (_row, "the row of each sample is right; every place gets it, so that the result has the shape of x."),
        (lambda *z: _row(*z)[:, 0], "the row of each sample is right; every place gets it, so that the result has the shape of x."),
        ({"weigh": lambda s, root: (s / root).softmax(1)}, "the softmax runs over the places of the picture; each place weighs the tokens, and there is one."),
        ({"weigh": lambda s, root: s / root}, "there is a score in it; ask what a softmax makes of a single number."),
        ({"weigh": lambda s, root: s}, "there is a score in it; ask what a softmax makes of a single number."),
        ({"weigh": lambda s, root: (s / root).sigmoid()}, "there is a score in it; ask what a softmax makes of a single number."),
        ({"weigh": lambda s, root: (s / root).exp()}, "there is a score in it, and its exponential is not divided by anything; ask what a softmax makes of a single number."),
        ({"weigh": lambda s, root: s / root / s.shape[1]}, "there is a score in it, divided by the number of places; ask what a softmax makes of a single number."),
        ({"weigh": lambda s, root: torch.ones_like(s) / s.shape[1]}, "it is divided by the number of places; each place asks for itself and gets the whole answer."),
        ({"weigh": lambda s, root: torch.ones_like(s) * s.shape[1]}, "it is multiplied by the number of places; each place gets the answer once."),
        ({"weigh": lambda s, root: torch.ones_like(s) / root}, "the scale belongs to the scores; where they have no say, it has none."),
        ({"weigh": lambda s, root: torch.zeros_like(s)}, "something is added even if nothing else can be looked at: a softmax of one number is not zero."),
        ({"seen": lambda x, c: x}, "the values are made of x; a place looks at the condition."),
        ({"seen": lambda x, c: c.mean(0, keepdim=True)}, "the token is averaged over the batch; every sample has its own."),
        ({"seen": lambda x, c: c[:1]}, "every sample gets the token of the first."),
        ({"out": lambda v, w_o: v}, "the last map is missing: the values still go through w_o."),
        ({"value": lambda s, w_v: s}, "the token itself goes through the last map; its value does."),
        ({"value": lambda s, w_v: s, "out": lambda v, w_o: v}, "this is the token itself; its value is asked for, after the last map."),
        (lambda x, c, w_q, w_k, w_v, w_o: _adds(x, c, w_q, w_k, w_k, w_o), "the key is taken for the value."),
        (lambda x, c, w_q, w_k, w_v, w_o: _adds(x, c, w_q, w_k, w_q, w_o), "the matrix of the queries is taken for that of the values."),
        (lambda x, c, w_q, w_k, w_v, w_o: _adds(x, c, w_q, w_k, w_o, w_v), "the two maps have changed places: first the value, then the way back to the width of x."),
        ({"value": lambda s, w_v: s @ w_v}, TURNED),
        ({"out": lambda v, w_o: v @ w_o}, TURNED),
        ({"value": lambda s, w_v: s @ w_v, "out": lambda v, w_o: v @ w_o}, "both matrices stand the wrong way: their rows are what comes out, their columns what goes in."),
        (lambda x, c, *w: x * _adds(x, c, *w), "it multiplies x; what the layer adds to x is asked for."),
        ({"extra": 1}, "x itself is in it; what the layer adds to x is asked for."),
        ({"extra": -1}, "x is subtracted; what the layer adds to x is asked for."),
    ],
)

def _padded(t, length, value=0, end=True):
    fill = torch.full((len(t), length - t.shape[1], *t.shape[2:]), value, dtype=t.dtype)
    return torch.cat([t, fill] if end else [fill, t], 1)

def _emptied(
    tokens, mask, null, null_mask, u, share, *, below=True, length=max, pad=False, end=True,
    what=lambda null: null, seen=lambda null_mask: null_mask, who=lambda hide: (hide, hide),
):
    """12-3: the null text where u < share. length: of both, from L and L0. pad: what the mask says of padding; end: where it is.

    what, seen: the tokens and the mask put in. who: which samples get the tokens, which the mask.
    """
    n = length(tokens.shape[1], null.shape[1])
    tokens, mask, null, null_mask = (
        _padded(t[:, :n], n, value, end) for t, value in ((tokens, 0), (mask, pad), (null, 0), (null_mask, pad))
    )
    for_tokens, for_mask = who(u < share if below else u > share)
    return torch.where(for_tokens[:, None, None], what(null), tokens), torch.where(for_mask[:, None], seen(null_mask), mask)

def _looked_at(answer: Any) -> Function:
    """What attention gets to see of an answer, in one tensor: the tokens, zero where the mask hides them, and the mask."""

    def look(tokens: Tensor, mask: Tensor, null: Tensor, null_mask: Tensor, u: Tensor, share: float) -> Tensor:
        names = ("tokens", "mask", "null", "null_mask", "u", "share")
        given = call(answer, dict(zip(names, (tokens, mask, null, null_mask, u, share), strict=True)))
        if not (isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(t, Tensor) for t in given)):
            raise NotYetError("return two tensors: the tokens and their mask.")
        if given[0].ndim != 3 or given[1].shape != given[0].shape[:2]:
            shapes = " and ".join(str(tuple(t.shape)) for t in given)
            raise NotYetError(f"expected tokens (B, L, C) and a mask (B, L), one entry a token; yours have the shapes {shapes}.")
        visible = given[1][..., None] != 0
        return torch.cat([given[0].where(visible, 0), visible.to(given[0])], 2)

    return look

def _text(b: int, length: int, words: list[int]) -> tuple[Tensor, Tensor]:
    """Tokens, and a mask that hides all but the first so many."""
    return torch.randn(b, length, 3, generator=g), torch.arange(length) < torch.tensor(words)[:, None]

def _old(*z):
    """The mask as it was, padded."""
    return _emptied(*z, who=lambda hide: (hide, hide & False))[1]

BOTH = "the null text's mask is mixed with the old text's; a sample that has the null text has its mask alone."
SIZES = "the tokens or their mask have another shape than (B, max(L, L0), C) and (B, max(L, L0))."
g = seeded(123)
NOBODY = "a mask that hides every token leaves the softmax nothing to weigh; the null text has tokens that are seen."
formula(
    "12-3", "The text that says nothing", 2, "a share of the samples hears the null text, all of it and nothing else, and padding is not heard.", _emptied, [
        (*_text(b, length, words), *_text(1, length0, [words0]), torch.tensor(u), share)
        for b, length, words, length0, words0, u, share in (
            (5, 4, [4, 1, 4, 2, 3], 6, 2, [0.7, 0.1, 0.2, 0.9, 0.4], 0.3),
            (4, 6, [3, 6, 5, 4], 3, 2, [0.3, 0.9, 0.6, 0.55], 0.5),
            (3, 5, [2, 3, 4], 5, 3, [0.2, 0.95, 0.75], 0.9),
        )
    ], [
        ({"below": False}, "the wrong samples get the null text: look at the comparison."),
        (lambda tokens, mask, null, null_mask, u, share: _emptied(tokens, mask, null, null_mask, u, 1 - share), "the share is turned round: it says how many samples get the null text."),
        (lambda tokens, mask, null, null_mask, u, share: _emptied(tokens, mask, null, null_mask, u.mean().expand(len(u)), share), "one draw decides for the whole batch; each sample has its own."),
        (lambda tokens, mask, null, null_mask, u, share: _emptied(tokens, torch.ones_like(mask), null, null_mask, u, share), "the texts that are kept are seen in all places; their own mask is lost."),
        ({"who": lambda hide: (hide, hide & False)}, "the tokens are exchanged, their mask is not: the null text is seen through the old text's mask."),
        ({"who": lambda hide: (hide & False, hide)}, "the mask is exchanged, the tokens are not: the old text is seen through the null text's mask."),
        ({"who": lambda hide: (hide & False, hide & False)}, "nothing is exchanged: the network would never hear the null text."),
        ({"who": lambda hide: (hide | True, hide | True)}, "every sample gets the null text: the network would never hear another."),
        ({"who": lambda hide: (hide[:1].expand(len(hide)),) * 2}, "one draw decides for the whole batch; each sample has its own."),
        ({"who": lambda hide: (torch.arange(len(hide)) < hide.sum(),) * 2}, "the number of samples is right, but the first ones are taken; the draws decide which."),
        ({"what": torch.zeros_like}, "zeros stand for the null text; it has tokens of its own, those that the encoder gives."),
        ({"what": torch.zeros_like, "seen": torch.ones_like}, "zeros stand for the null text, and all of them are seen; it has tokens of its own, and its mask."),
        ({"seen": torch.zeros_like}, NOBODY),
        ({"what": torch.zeros_like, "seen": lambda m: m & False}, NOBODY),
        ({"seen": lambda m: torch.arange(m.shape[1])[None] < 1}, "only the first token of the null text is seen; it has a mask of its own."),
        (lambda tokens, mask, null, null_mask, u, share: _emptied(tokens, mask, null, torch.ones_like(null_mask), u, share), "all of the null text is seen, what it was filled up with included; it has a mask of its own."),
        (lambda *z: (_emptied(*z)[0], _emptied(*z)[1] & _old(*z)), BOTH),
        (lambda *z: (_emptied(*z)[0], _emptied(*z)[1] | _old(*z)), BOTH),
        ({"seen": torch.ones_like}, "all of the null text is seen, padding included; it has a mask of its own."),
        (lambda *z: (_emptied(*z)[0], ~_emptied(*z)[1]), "the mask is turned round: it is true where a token may be looked at."),
        ({"pad": True}, "padding is seen: the mask must hide what was put there to make the lengths equal."),
        ({"end": False}, "the padding stands in front; the texts begin at the first place."),
        ({"length": min}, "the longer of the two is cut off: both are to be as long as the longer one."),
        ({"length": lambda n, n0: n}, "the result is as long as the texts, even where the null text is longer."),
        ({"length": lambda n, n0: n0}, "the result is as long as the null text, even where the texts are longer."),
        ({"length": lambda n, n0: n + n0}, "the texts are padded too far: both are to be as long as the longer one."),
        (lambda tokens, mask, null, null_mask, *_: tuple(torch.cat([t, s.expand(len(t), *s.shape[1:])], 1) for t, s in ((tokens, null), (mask, null_mask))), "the null text is appended; for some samples it takes the place of the text."),
    ],
    measure=_looked_at, second_look=lambda problem, answer, cases: SIZES if problem and problem.startswith("the result has shape") else problem,
)

def _look(
    x, c, w_q, w_k, w_v, *, asks="image", axis=2, power=0.5, matrices=lambda *w: w, answers=lambda asks, other: other,
    width=lambda q, k, x: q.shape[2], weigh=lambda s, axis: s.softmax(axis), average=lambda w, k, v: w @ v
):
    """12-4: the image asks, the text answers. Planted are who asks and the axis of the softmax.

    width, power: of the scale. matrices: of queries, keys and values. answers: who is looked at. weigh: instead of a softmax.
    average: what is made of the weights.
    """
    w_q, w_k, w_v = matrices(w_q, w_k, w_v)
    one, other = (x, c) if asks == "image" else (c, x)
    seen = answers(one, other)
    q, k, v = one @ w_q.T, seen @ w_k.T, seen @ w_v.T
    return average(weigh(q @ k.mT / width(q, k, x) ** power, axis), k, v)

LAST = "one fault is left: "
ASKS = "the words ask and the picture answers, so that the result has a row for each word."
AXIS = "the softmax runs over those who ask; the weights of each of them must add up to one."
g = seeded(124)
formula(
    "12-4", "Cross-attention with two faults", 2, "every place of the picture asks, and its weights over the words add up to one.", _look, [
        (torch.randn(b, n, 4, generator=g), torch.randn(b, m, 4, generator=g), *torch.randn(3, 6, 4, generator=g)) for b, n, m in ((2, 7, 3), (3, 5, 6))
    ], [
        ({"asks": "text", "axis": 1}, f"both faults are still there. One: {ASKS} Two: {AXIS}"),
        ({"asks": "text"}, f"the softmax is mended, {LAST}{ASKS}"),
        ({"axis": 1}, f"who asks is mended, {LAST}{AXIS}"),
        ({"axis": 0}, "who asks is mended, but now the softmax runs over the batch: samples must not see one another."),
        ({"asks": "text", "axis": 0}, f"now the softmax runs over the batch: samples must not see one another. And {ASKS}"),
        ({"power": 0}, "both faults are mended, but the scale, which was right, is missing."),
        ({"power": 1}, "both faults are mended, but the root in the scale, which was right, is missing."),
        ({"power": -0.5}, "both faults are mended, but the scores are multiplied by the scale now; to divide by it was right."),
        ({"width": lambda q, k, x: x.shape[2]}, "both faults are mended, but the scale is that of the picture's channels now; that of a query's columns was right."),
        ({"width": lambda q, k, x: k.shape[1]}, "both faults are mended, but the scale is that of the number of words now; that of a query's columns was right."),
        ({"width": lambda q, k, x: q.shape[1]}, "both faults are mended, but the scale is that of the number of places now; that of a query's columns was right."),
        ({"weigh": lambda s, axis: s.exp()}, "both faults are mended, but the exponentials are not divided by their sum: the weights must add up to one."),
        ({"weigh": lambda s, axis: s.sigmoid()}, "both faults are mended, but a sigmoid does not make weights that add up to one."),
        ({"weigh": lambda s, axis: s.log_softmax(2)}, "both faults are mended, but the logarithms of the weights are taken for the weights."),
        ({"average": lambda w, k, v: w}, "both faults are mended, but these are the weights; the average of the values is still to be taken."),
        ({"average": lambda w, k, v: w @ k}, "both faults are mended, but the keys are averaged now; the values were right."),
        ({"weigh": lambda s, axis: s}, "both faults are mended, but the softmax is missing."),
        ({"matrices": lambda q, k, v: (k, q, v)}, "both faults are mended, but the picture goes through the matrix of the keys now, and the words through that of the queries."),
        ({"matrices": lambda q, k, v: (q, v, k)}, "both faults are mended, but keys and values have changed places."),
        ({"answers": lambda asks, other: asks}, "now the picture asks and answers: this is self-attention, and the words have no say."),
        ({"answers": lambda asks, other: asks, "axis": 1}, f"now the picture asks and answers: this is self-attention, and the words have no say. And {AXIS}"),
        ({"answers": lambda asks, other: asks, "asks": "text"}, "now the words ask and answer: this is self-attention, and the picture has no say."),
        ({"weigh": lambda s, axis: s.flatten(1).softmax(1).reshape(s.shape)}, "who asks is mended, but now the weights of all places together add up to one; those of each place must."),
        ({"weigh": lambda s, axis: torch.full_like(s, 1 / s.shape[2])}, "the words are averaged: queries and keys have no say."),
        ({"axis": 1, "power": 0}, f"who asks is mended, {LAST}{AXIS} And the scale, which was right, is missing."),
        ({"matrices": lambda q, k, v: (k, q, v), "axis": 1}, f"who asks is mended, but the picture goes through the matrix of the keys now, and the words through that of the queries. And {AXIS}"),
    ],
)

choice(
    "12-5", "A start that changes nothing", 1, "a zero behind features that are not zero hears a gradient at once, and the copy after it.", "d", {
        "a": "small is not zero: compare the pictures bit by bit.",
        "b": "nothing is said, but ask what a gradient is multiplied by on its way back.",
        "c": "a product of two zeros: the derivative by each of them is multiplied by the other.",
    },
)
