"""Chapter 10: attention by hand, the clock's waves, a block's weights, a prediction, a forward pass with two faults."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..nn.sinusoids import sinusoids
from ..runtime import seeded
from .before import Exercise, grade_choice, grade_function, register
from .ch10_mistakes import ATTENTIONS, BLOCKS, PASSES, WAVES

Layer = Callable[[Tensor], Tensor]


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    power: float = 0.5,
    along: int = 2,
    keep: bool = True,
    wide: bool = False,
    transposed: bool = False,
) -> Tensor:
    """Attention with dials: the power of the width, the softmax's axis, whether there is one, whose width, whose transpose."""
    width = k.shape[1] if wide else q.shape[2]
    scores = q @ k.mT / width**power
    weights = scores.softmax(along) if keep else scores
    return (weights.mT if transposed else weights) @ v


def grade_attention(answer: Any) -> None:
    """10-1: softmax(q k' / sqrt(C)) v, the softmax over the keys."""
    g = seeded(1)
    cases = []
    for b, n, m, c, d in ((2, 5, 7, 4, 3), (1, 3, 6, 16, 5)):
        sizes = {"q": (b, n, c), "k": (b, m, c), "v": (b, m, d)}
        cases.append({name: 1.5 * torch.randn(*shape, generator=g) for name, shape in sizes.items()})

    def dials(**chosen: Any) -> Any:
        return partial(_attention, **chosen)

    grade_function(
        answer,
        _attention,
        cases,
        wrong=[
            (dials(power=1.0), "the scores are divided by the number of columns; a square root is missing, and with it the weights are nearly all equal."),
            (dials(power=0.0), "the scores are not scaled: their spread grows with the number of columns, and the softmax picks single keys."),
            (dials(power=-0.5), "the scores are multiplied by the scale where they should be divided."),
            (dials(power=0.25), "there is a root too many in the scale."),
            (dials(power=2.0), "the scores are divided by the square of the number of columns."),
            (dials(along=1), "the softmax runs over the queries: each query's weights must add up to one."),
            (dials(along=0), "the softmax runs over the batch: samples must not see one another."),
            (dials(keep=False), "there is no softmax: the weights must be positive and add up to one."),
            (dials(wide=True), "the scale is that of the number of keys; it belongs to the number of columns of a query."),
            (dials(wide=True, power=1.0), "the scores are divided by the number of keys; what spreads them is the number of columns of a query."),
            *ATTENTIONS,
        ],
    )  # fmt: skip


def _waves(
    ticks: Tensor,
    k: int,
    *,
    order: str = "cs",
    base: float = 10000.0,
    stretch: float = 1.0,
    first: int = 0,
    sign: float = -1.0,
    turns: float = 1.0,
) -> Tensor:
    """The clock's waves with dials: which waves in which order, and how the frequencies run."""
    power = (torch.arange(k) + first) * stretch / k
    angles = turns * ticks[:, None] * base ** (sign * power)
    parts = {"c": angles.cos(), "s": angles.sin()}
    return torch.cat([parts[name] for name in order], dim=1)


def grade_waves(answer: Any) -> None:
    """10-2: cosines, then sines, of ticks times 10000^(-j / k)."""
    cases = [
        {"ticks": torch.tensor([0.0, 1.0, 2.5, 31.0, 420.0]), "k": 6},
        {"ticks": torch.tensor([3.0, 77.0, 999.0]), "k": 16},
    ]

    def dials(**chosen: Any) -> Any:
        return partial(_waves, **chosen)

    grade_function(
        answer,
        lambda ticks, k: sinusoids(ticks, 2 * k),
        cases,
        wrong=[
            (dials(order="sc"), "sines and cosines have changed places: cosines come first."),
            (dials(order="c"), "half of it is missing: the sines."),
            (dials(order="s"), "half of it is missing, the cosines; and the sines come second."),
            (dials(order="cc"), "the cosines stand there twice; the second half is sines."),
            (dials(order="ss"), "the sines stand there twice; the first half is cosines."),
            (dials(stretch=2.0), "the frequencies fall too fast: the exponent runs twice as far, as if k counted sines and cosines together."),
            (dials(stretch=0.5), "the frequencies fall too slowly: the exponent runs half as far; k counts frequencies, not entries."),
            (dials(stretch=2.0, order="sc"), "two mistakes: sines come second, and the exponent runs twice as far as it should."),
            (dials(base=1e5), "the slowest wave is too slow: look at the base."),
            (dials(base=1000.0), "the slowest wave is too fast: look at the base."),
            (dials(base=math.e), "the base is missing: these frequencies hardly differ."),
            (dials(sign=1.0), "the sign of the exponent is flipped: these frequencies rise, and the last waves turn many times from tick to tick."),
            (dials(first=1), "the frequencies are counted from one; the first is the one with exponent zero."),
            (dials(turns=2 * math.pi), "there is a full circle too many: the angles are in radians already."),
            (dials(turns=math.pi), "there is half a circle too many: the angles are in radians already."),
            (dials(turns=0.001), "the ticks are divided by a thousand: the function gets the clock that runs to a thousand, as it is."),
            (dials(turns=1000.0), "the ticks are multiplied by a thousand: they are the clock already, not a time up to one."),
            *WAVES,
        ],
    )  # fmt: skip


def _block(
    cin: int,
    cout: int,
    width: int,
    *,
    norms: float = 2,
    offsets: int = 1,
    kernel: int = 9,
    skip: str = "1x1",
    time: int = 1,
    second: str = "out",
) -> Tensor:
    """The weights of a residual block with dials: what of a norm, of an offset, of the shortcut and of the time is counted."""
    into = cin if second == "in" else cout
    total = norms * (cin + into) + (kernel * cin + offsets) * cout + (kernel * into + offsets) * cout
    total += time * (width + offsets) * cout
    if skip == "always" or (skip != "never" and cin != cout):
        total += ((kernel if skip == "3x3" else 1) * cin + offsets) * cout
    return torch.tensor(float(total), dtype=torch.float64)


def grade_block(answer: Any) -> None:
    """10-3: norms, two convolutions, the embedding, and the shortcut where the channels differ."""
    cases = [
        {"cin": cin, "cout": cout, "width": width}
        for cin, cout, width in ((4, 6, 5), (8, 8, 20), (3, 2, 7), (12, 4, 9))
    ]

    def dials(**chosen: Any) -> Any:
        return partial(_block, **chosen)

    grade_function(
        answer,
        _block,
        cases,
        wrong=[
            (dials(skip="never"), "the shortcut is left out; where the numbers of channels differ it has weights."),
            (dials(skip="always"), "the shortcut is counted even where the numbers of channels agree; there it is the identity."),
            (dials(skip="3x3"), "the shortcut looks at one pixel only; you gave it a larger kernel."),
            (dials(norms=0), "the normalisations are missing; each channel has two numbers there."),
            (dials(norms=1), "a normalisation has two numbers a channel, a factor and an offset; you count one."),
            (dials(norms=4), "the normalisations are counted twice."),
            (dials(offsets=0), "the offsets are missing: one for every output of a convolution or an affine map."),
            (dials(kernel=3), "a kernel has height and width; you count one of the two."),
            (dials(kernel=1), "the kernels are counted as single pixels."),
            (dials(time=0), "the embedding's map is missing."),
            (dials(time=2), "the embedding is counted twice: it is added here, there is no scale beside the shift."),
            (dials(second="in"), "the second half works on what the first gives, which has the channels that come out."),
            *BLOCKS,
        ],
        tolerance=1e-7,
    )  # fmt: skip


def grade_row(answer: Any) -> None:
    """10-4: the gain of the flow row on white data changes sign in the middle."""
    grade_choice(
        answer,
        "d",
        {
            "a": "the answer contains data and noise; what must the network return where there is only noise?",
            "b": "the answer contains noise and data; what must the network return where there is hardly any noise?",
            "c": "for v the two contributions cancel at every time, because of its coefficients; do they for these? Compute the gain at the two ends.",
        },
    )


def _forward(
    x: Tensor,
    first: Layer,
    down: list[Layer],
    middle: Layer,
    up: list[Layer],
    *,
    early: bool = False,
    front: bool = False,
    swap: bool = False,
    deep: bool = True,
    use: str = "skip",
) -> Tensor:
    """A U-Net with dials: pushing too early, popping in front, the order at the joint, the middle, what is handed over."""
    h = first(x)
    stack = [h]
    for layer in down:
        before, h = h, layer(h)
        stack.append(before if early else h)
    if deep:
        h = middle(h)
    for layer in up:
        skip = stack.pop(0 if front else -1)
        skip = {"skip": skip, "blank": 0 * skip, "own": h}[use]
        h = layer(torch.cat([skip, h] if swap else [h, skip], dim=1))
    return h


def grade_pass(answer: Any) -> None:
    """10-5: two planted bugs, a push before the layer and a pop from the front."""

    def layer(cin: int, cout: int, g: torch.Generator) -> Layer:
        weight = torch.randn(cout, cin, generator=g) / cin**0.5
        return lambda h: torch.tanh(torch.einsum("oi,bi...->bo...", weight.to(h), h)) + 0.1 * h[:, :cout]

    g = seeded(5)
    cases = []
    for depth, shape in ((3, (2, 4, 3, 3)), (2, (3, 5, 2))):
        c = shape[1]
        cases.append(
            {
                "x": torch.randn(*shape, generator=g),
                "first": layer(c, c, g),
                "down": [layer(c, c, g) for _ in range(depth)],
                "middle": layer(c, c, g),
                "up": [layer(2 * c, c, g) for _ in range(depth + 1)],
            }
        )

    def dials(**chosen: Any) -> Any:
        return partial(_forward, **chosen)

    push = "a push comes too early: what is handed over is what a part gives, not what it gets."
    pop = "the maps come back in the wrong order: the deepest joint must get the map that was pushed last."
    grade_function(
        answer,
        _forward,
        cases,
        wrong=[
            (dials(early=True, front=True), f"both faults are still there. One: {push} Two: {pop}"),
            (dials(early=True, front=True, swap=True), f"both faults are still there, and at the joints the two maps have changed places. One: {push} Two: {pop}"),
            (dials(early=True), f"the order is mended, one fault is left: {push}"),
            (dials(front=True), f"the push is mended, one fault is left: {pop}"),
            (dials(swap=True), "at the joints the two maps have changed places: what comes from below is the first."),
            (dials(deep=False), "the middle is left out."),
            (dials(use="blank"), "nothing is handed over: the second half of the channels is zero."),
            (dials(use="own"), "at the joints a map meets itself; its partner is on the stack."),
            *PASSES,
        ],
    )  # fmt: skip


for _exercise in (
    Exercise("10-1", "Attention by hand", 2, grade_attention, "averages, weighted by how well the keys answer."),
    Exercise("10-2", "The clock's waves", 2, grade_waves, "one number on many clocks, none of them with large hands."),
    Exercise(
        "10-3", "The weights of a block", 2, grade_block, "it is the count of the library's block, shortcut or not."
    ),
    Exercise("10-4", "A third row without skips", 1, grade_row, "what must be passed on is decided by the row."),
    Exercise("10-5", "A forward pass with two faults", 3, grade_pass, "as many pushes as joints, last in, first out."),
):
    register(_exercise)
