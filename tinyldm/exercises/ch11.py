"""Chapter 11: tokens back to a picture, a gated half of a block, a count of parameters, shuffled words, a broken rotation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime import seeded
from .before import Dials, Exercise, grade_choice, grade_dials, grade_function, register
from .ch11_mistakes import COUNTS, HALVES, PICTURES, TURNS


def _unpatchify(
    tokens: Tensor, height: int, width: int, p: int, *, order: str = "r s i j c", at: str = "c r i s j"
) -> Tensor:
    """Tokens of (row, column, channel) as a picture; the axes are read and laid down in the named order."""
    sizes = {"r": height // p, "s": width // p, "i": p, "j": p, "c": tokens.shape[2] // p**2}
    names, placed = order.split(), at.split()
    cut = tokens.reshape(len(tokens), *(sizes[name] for name in names))
    laid = cut.permute(0, *(1 + names.index(name) for name in placed))
    return laid.reshape(len(tokens), sizes["c"], height, width)


def grade_unpatchify(answer: Any) -> None:
    """11-1: (B, h w, p p C), row and column before the channel -> (B, C, H, W)."""
    g = seeded(111)
    cases = [
        {"tokens": torch.randn(2, h * w // p**2, p**2 * c, generator=g), "height": h, "width": w, "p": p}
        for h, w, p, c in ((4, 6, 2, 3), (6, 3, 3, 2), (8, 4, 2, 4))
    ]
    read, laid = "In reading: ", "In laying out: "
    dials: Dials = {
        "order": [
            ("r s c i j", read + "inside a token the channel is taken to come first, as in FLUX's packing; here it comes last."),
            ("r s j i c", read + "row and column inside a token have changed places."),
            ("s r i j c", read + "the tokens are taken to run down the columns of the picture; they run along its rows."),
            ("r s j c i", read + "the three numbers that place an entry inside a token are in another order."),
        ],
        "at": [
            ("c r i j s", laid + "the column inside a token stands before the column of the token: tokens are interleaved, not put side by side."),
            ("c i r s j", laid + "the row inside a token stands before the row of the token: tokens are interleaved, not put one below the other."),
            ("c i r j s", laid + "the places inside a token stand before those of the tokens: tokens are interleaved, not put side by side."),
            ("c r s i j", laid + "the axes are not brought next to those that they belong with: a row of the picture runs through a row of all its tokens."),
            ("r i s j c", laid + "the channels are laid down last; a picture of this book has them before rows and columns."),
            ("c s j r i", laid + "rows and columns of the picture have changed places."),
        ],
    }  # fmt: skip
    grade_dials(answer, _unpatchify, cases, dials, PICTURES, tolerance=1e-5)


def _layer(x: Tensor) -> Tensor:
    """Something smooth that mixes the tokens and is not even or odd."""
    return torch.sin(1.2 * x) + 0.3 * x.mean(1, keepdim=True) + 0.2


def _normed(x: Tensor, axis: str, eps: float) -> Tensor:
    """The tokens after a norm of the named kind."""
    if axis == "no":
        return x
    if axis == "rms":
        return F.rms_norm(x, x.shape[2:], eps=eps)
    over = {"tokens": (1,), "both": (1, 2)}.get(axis, (2,))
    variance = x.var(over, correction=0, keepdim=True) + eps
    return (x - x.mean(over, keepdim=True)) / (variance if axis == "variance" else variance.sqrt())


def _half(
    x: Tensor,
    shift: Tensor,
    scale: Tensor,
    gate: Tensor,
    layer: Callable[[Tensor], Tensor],
    *,
    axis: str = "numbers",
    swap: str = "",
    eps: float = 1e-6,
    one: int = 1,
    scaling: int = 1,
    sign: int = 1,
    gating: str = "layer",
    called: bool = True,
    sum_with: str = "x",
) -> Tensor:
    """Half a block with every mistake as a dial."""
    given = {"shift": shift, "scale": scale, "gate": gate}
    if swap:
        first, second = swap.split()
        given |= {first: given[second], second: given[first]}
    shift, scale, gate = (t[:, None] for t in given.values())
    normed = _normed(x, axis, eps)
    shown = normed * (one + scaling * scale) + sign * shift
    asked = gate * shown if gating == "inside" else shown
    made = layer(asked) if called else asked
    added = {"all": None, "layer": gate * made, "one": (1 + gate) * made, "turned": (1 - gate) * made}.get(gating, made)
    rest = {"x": x, "normed": normed, "shown": shown, "none": torch.zeros_like(x)}[sum_with]
    return gate * (rest + made) if added is None else rest + added


def grade_half(answer: Any) -> None:
    """11-2: x + gate layer((1 + scale) norm(x) + shift)."""
    g = seeded(112)
    cases = []
    # in the last case the numbers are so small that the norm's small number can be seen
    for b, n, c, mean, size in ((3, 5, 8, 0.7, 1.8), (2, 7, 6, 0.7, 1.8), (2, 4, 8, 0.004, 0.01)):
        parts = dict(zip(("shift", "scale", "gate"), torch.randn(3, b, c, generator=g), strict=True))
        cases.append({"x": mean + size * torch.randn(b, n, c, generator=g), **parts, "layer": _layer})
    dials: Dials = {
        "axis": [
            ("tokens", "the norm runs over the tokens; every token is normalised by itself, over its own numbers."),
            ("both", "the norm runs over the tokens as well; every token is normalised by itself."),
            ("rms", "the mean is not taken out: this is the norm by the root mean square."),
            ("no", "the layer is shown tokens that are not normalised."),
            ("variance", "the norm divides by the root of the variance, not by the variance."),
        ],
        "eps": [
            (1e-5, "the norm's small number is PyTorch's default, 1e-5; here it is 1e-6."),
            (0.0, "the norm's small number, 1e-6, is missing."),
        ],
        "swap": [
            ("shift scale", "shift and scale have changed places."),
            ("scale gate", "scale and gate have changed places."),
            ("shift gate", "shift and gate have changed places."),
        ],
        "one": [(0, "with a scale of zero nothing must be lost: the tokens are to be multiplied by one more than the scale.")],
        "scaling": [(-1, "the sign of the scale is flipped.")],
        "sign": [(-1, "the sign of the shift is flipped.")],
        "gating": [
            ("none", "the gate is missing."),
            ("one", "a gate of zero must let nothing of the layer through; yours lets all of it through."),
            ("all", "the gate acts on the tokens as well; only what the layer adds goes through it."),
            ("inside", "the gate acts on what the layer gives, not on what it is shown."),
            ("turned", "the gate is turned round: zero must close it."),
        ],
        "called": [(False, "`layer` is never called.")],
        "sum_with": [
            ("normed", "the layer's result is added to the normalised tokens; it is added to the tokens as they came in."),
            ("shown", "the layer's result is added to the modulated tokens; it is added to the tokens as they came in."),
            ("none", "the tokens themselves are missing: the layer adds to them."),
        ],
    }  # fmt: skip
    grade_dials(answer, _half, cases, dials, HALVES, tolerance=1e-4)


def _count(
    width: int,
    blocks: int,
    *,
    streams: int = 2,
    modulation: int = 6,
    bias: int = 1,
    ends: bool = True,
    keeps: int = 2,
    wider: int = 4,
    qkv: int = 3,
    out: int = 1,
) -> Tensor:
    """The parameters of SD3's blocks, with every mistake as a dial."""

    def linear(cin: int, cout: int) -> int:
        return cin * cout + bias * cout

    asks = qkv * linear(width, width)
    acts = out * linear(width, width) + linear(width, wider * width) + linear(wider * width, width)
    stream = linear(width, modulation * width) + asks + acts
    ending = linear(width, keeps * width) + asks
    return torch.tensor(float(streams * blocks * stream - (stream - ending if ends else 0)), dtype=torch.float64)


def grade_count(answer: Any) -> None:
    """11-3: (36 w^2 + 30 w) blocks - 13 w^2 - 10 w."""
    cases = [{"width": w, "blocks": n} for w, n in ((64, 3), (96, 1), (1536, 24), (40, 7))]
    dials: Dials = {
        "ends": [(False, "the last block's text stream is counted whole; it stops at its queries, keys and values.")],
        "keeps": [
            (6, "the last block's text needs fewer modulations than the others: nothing of it is gated or fed forward."),
            (3, "the last block's text has neither gate nor map after the attention: nothing is added to it."),
            (0, "the last block's text is still shifted and scaled before it is asked."),
        ],
        "bias": [(0, "the biases are missing.")],
        "modulation": [
            (0, "the modulations are missing."),
            (3, "attention and feed-forward have a shift, a scale and a gate each; half of them is missing."),
            (4, "the gates are missing."),
            (2, "of the modulations two are counted; a stream has them twice, and gates besides."),
        ],
        "streams": [(1, "text and image have weights of their own: two streams.")],
        "wider": [
            (1, "the feed-forward is four times wider in the middle."),
            (8, "the feed-forward is four times wider in the middle, not eight: it is no gated one."),
        ],
        "qkv": [
            (1, "queries, keys and values are three linear maps."),
            (2, "one of the three maps to queries, keys and values is missing."),
        ],
        "out": [(0, "the linear map after the attention is missing.")],
    }  # fmt: skip
    grade_dials(answer, _count, cases, dials, COUNTS, tolerance=1e-8)


def grade_shuffled(answer: Any) -> None:
    """11-4: the transformer has no positions for the words."""
    grade_choice(
        answer,
        "b",
        {
            "a": "look at what the transformer adds to the words, or turns them by, to tell the first from the second.",
            "c": "the rotations of FLUX turn image tokens by their places; look at the places that the words are given.",
            "d": "each word's token is changed by the others in the text's stream, but ask whether those changes know an order.",
        },
    )


def _turn(
    x: Tensor, angles: Tensor, *, pairs: str = "neighbours", back: str = "neighbours", first: int = -1, second: int = 1
) -> Tensor:
    """A rotation with every mistake as a dial."""
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = x.unflatten(3, (-1, 2)).unbind(4) if pairs == "neighbours" else x.chunk(2, 3)
    a, b = a * cos + first * b * sin, b * cos + second * a * sin
    if back == "halves":
        return torch.cat([a, b], 3)
    return torch.stack([b, a] if back == "exchanged" else [a, b], 4).flatten(3)


def grade_turn(answer: Any) -> None:
    """11-5: two planted bugs, halves for neighbours and a sign."""
    g = seeded(115)
    cases = [
        {"x": torch.randn(2, n, heads, d, generator=g), "angles": 3 * torch.rand(n, d // 2, generator=g) + 0.1}
        for n, heads, d in ((5, 3, 8), (4, 2, 12))
    ]
    halves = "the pairs are the first half and the second; here neighbours are turned together."
    sign = "this is no rotation: lengths are not kept. Look at the signs."
    backwards = "the tokens are turned backwards: the minus sign belongs to the first number of a pair."
    last = "one fault is left: "

    def dials(**chosen: Any) -> Any:
        return partial(_turn, **chosen)

    grade_function(
        answer,
        _turn,
        cases,
        wrong=[
            (dials(pairs="halves", second=-1), f"both faults are still there. One: {halves} Two: {sign}"),
            (dials(second=-1), f"the pairs are mended, {last}{sign}"),
            (dials(pairs="halves"), f"the signs are mended, {last}{halves}"),
            (dials(pairs="halves", back="halves"), f"the signs are mended and the pairs are consistent now, but {halves}"),
            (dials(pairs="halves", back="halves", second=-1), f"the pairs are consistent now, but {halves} And {sign}"),
            (dials(back="halves"), "the pairs are read rightly, but written back as two halves; they must return to their places."),
            (dials(back="halves", second=-1), f"the pairs are read rightly, but written back as two halves. And {sign}"),
            (dials(first=1, second=-1), backwards),
            (dials(first=1, second=-1, pairs="halves"), f"{backwards} And {halves}"),
            (dials(back="exchanged"), "the two numbers of each pair have changed places in the result."),
            (dials(first=1, second=1), sign),
            *TURNS,
        ],
        tolerance=1e-4,
    )  # fmt: skip


for _exercise in (
    Exercise("11-1", "Tokens back to a picture", 2, grade_unpatchify, "every number is where its patch was cut."),
    Exercise("11-2", "Half a block", 2, grade_half, "with all three at zero it does nothing, and then it learns what to do."),
    Exercise("11-3", "What SD3's blocks weigh", 2, grade_count, "with 24 of them, 1,536 wide, that is almost the whole of SD3."),
    Exercise("11-4", "Shuffled words", 1, grade_shuffled, "the order of the words is in the words, where the text encoder has put it."),
    Exercise("11-5", "A rotation with two faults", 3, grade_turn, "neighbours turn together and keep their length."),
):  # fmt: skip
    register(_exercise)
