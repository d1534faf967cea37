"""A transformer drawn from itself: its streams, their linear maps with sizes, where it is modulated, and what weighs what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from ..nn.mmdit import Clock, MMDiT
from .plots import COLORS, WIDTH, style

KINDS = {  # what a piece is for, and its colour
    "modulation": COLORS["orange"],
    "attention": COLORS["sky"],
    "feed-forward": COLORS["green"],
    "attention and feed-forward": COLORS["purple"],
    "ends": "white",
}
STREAM = {  # a part of a block: what it is for, where it is drawn below the block's upper edge, what is written there
    "modulation": ("modulation", 0.55, "modulation {}"),
    "qkv": ("attention", 2.05, "q, k, v: {}"),
    "out": ("attention", 3.75, "out {}, × gate, +"),
    "ff": ("feed-forward", 5.55, "feed-forward {}, × gate, +"),
}
SINGLE = {  # the same, and in which column
    "modulation": ("modulation", 0.55, "modulation {}", "all"),
    "qkv": ("attention", 2.2, "q, k, v: {}, attention", "text"),
    "wide": ("feed-forward", 2.2, "feed-forward's first half {}", "image"),
    "out": ("attention and feed-forward", 3.35, "out of both {}, × gate, +", "all"),
}
TEXT, ROW = 7.5, 0.4  # points, inches
COLUMNS = {"text": (6.0, 42.0), "image": (52.0, 42.0), "all": (6.0, 88.0)}  # left edge and width, of 100


@dataclass(frozen=True)
class Piece:
    """A part of a transformer, over all blocks that have one like it.

    group: "in", "double" (blocks with a stream for every kind of token), "single" or "out". stream: "text", "image" or
    "all". kind: a key of ``KINDS``. sizes: its linear maps as text. parameters: their number, in all blocks together.
    """

    group: str
    stream: str
    name: str
    kind: str
    sizes: str
    parameters: int


def pieces(net: MMDiT) -> list[Piece]:
    """Every parameter of a transformer, in the order in which the parts work. On the "meta" device this needs no memory."""
    found = [] if net.text is None else [_piece("in", "text", "tokens", "ends", [net.text])]
    found.append(_piece("in", "image", "patches", "ends", [net.patch]))
    found.append(Piece("in", "all", "clock", "ends", _clock(net), _count(net.clocks)))
    for stream in _columns(net):
        for name, (kind, *_) in STREAM.items():
            parts = [getattr(getattr(block, stream), name) for block in net.blocks]
            found.append(_piece("double", stream, name, kind, parts))
    for name, (kind, *_) in SINGLE.items() if net.singles else ():
        found.append(_piece("single", "all", name, kind, [getattr(block, name) for block in net.singles]))
    found.append(_piece("out", "image", "modulation", "modulation", [net.modulation]))
    return [*found, _piece("out", "image", "last", "ends", [net.last])]


def _piece(group: str, stream: str, name: str, kind: str, parts: Sequence[nn.Module | None]) -> Piece:
    there = [part for part in parts if part is not None]  # an ending stream lacks some
    return Piece(group, stream, name, kind, _sizes(there[0]) if there else "absent", _count(there))


def blocks(net: MMDiT) -> Figure:
    """A transformer as boxes, top to bottom, read from the module; below them, where its parameters are.

    Each box names its linear maps and the parameters of all blocks together; the orange rails carry shifts, scales and
    gates to where they act. Source of the form: Esser et al. (2024), figure 2.
    """
    found = {(p.group, p.stream, p.name): p for p in pieces(net)}
    rows = 10.8 + (5.3 if net.singles else 0)
    with style():
        size, shares = (WIDTH, ROW * rows + 0.8), [ROW * rows, 0.8]
        fig, (ax, bar) = plt.subplots(2, 1, figsize=size, height_ratios=shares)
        ax.set(xlim=(0, 100), ylim=(rows, 0))
        ax.set_axis_off()
        columns, p = _columns(net), net.config.patch
        if "text" in columns:
            _box(ax, columns["text"], 0.1, "text tokens: {}", found["in", "text", "tokens"])
        _box(ax, columns["image"], 0.1, f"image, patches of {p} x {p} latent pixels: {{}}", found["in", "image", "patches"])
        _box(ax, COLUMNS["all"], 1.1, "clock: {}", found["in", "all", "clock"])
        bottom = _double(ax, net, found)
        if net.singles:
            bottom = _single(ax, net, found, bottom + 0.6)
        last = found["out", "image", "modulation"], found["out", "image", "last"]
        _box(ax, columns["image"], bottom + 0.3, "norm, scale, shift (modulation {})\nlast {}, unpacked", *last, high=1.1)
        _shares(bar, list(found.values()))
    return fig


Found = dict[tuple[str, str, str], Piece]


def _columns(net: MMDiT) -> dict[str, tuple[float, float]]:
    """Where each stream is drawn: alone, it has the whole width."""
    return {"image": COLUMNS["all"]} if net.text is None else {stream: COLUMNS[stream] for stream in ("text", "image")}


def _double(ax: Axes, net: MMDiT, found: Found) -> float:
    """The blocks with streams; returns where they end."""
    top, high, columns = 2.2, 7.0, _columns(net)
    _frame(ax, top, high, f"{len(net.blocks)} blocks with {len(columns)} stream{'s' * (len(columns) > 1)}")
    for stream, column in columns.items():
        _rail(ax, column, stream == "image", [top + y for y in (0.9, 1.65, 4.1, 4.95, 5.9)])
        for name, (_, y, text) in STREAM.items():
            _box(ax, column, top + y, text, found["double", stream, name])
        for y in (1.4, 4.7):
            _box(ax, column, top + y, "norm, scale, shift", high=0.5)
    turned = ", which turns q and k by their places" if net.config.rope else ""
    text = f"one attention over all tokens, {net.config.heads} heads of {net.config.width // net.config.heads}{turned}"
    _box(ax, COLUMNS["all"], top + 3.0, text, kind="attention", high=0.55)
    if net.text is not None and not net.singles:
        ax.text(50, top + 6.65, "in the last block the text ends at q, k and v", ha="center", va="center", size=TEXT)
    return top + high


def _single(ax: Axes, net: MMDiT, found: Found, top: float) -> float:
    """The blocks with one stream; returns where they end."""
    high = 4.7
    _frame(ax, top, high, f"{len(net.singles)} blocks with 1 stream, text and image one after the other")
    _rail(ax, COLUMNS["all"], True, [top + y for y in (0.9, 1.65, 3.7)])
    _box(ax, COLUMNS["all"], top + 1.4, "norm, scale, shift", high=0.5)
    for name, (_, y, text, column) in SINGLE.items():
        _box(ax, COLUMNS[column], top + y, text, found["single", "all", name])
    return top + high


def _box(
    ax: Axes, column: tuple[float, float], y: float, text: str, *found: Piece, kind: str = "ends", high: float = 0.72
) -> None:
    """A box, y from the top. Of pieces it writes the sizes for each {} and counts the parameters, in the last one's colour."""
    left, width = column
    style, colour = "round,pad=0,rounding_size=0.1", _pale(found[-1].kind if found else kind)
    ax.add_patch(FancyBboxPatch((left, y), width, high, boxstyle=style, fc=colour, ec="black", lw=0.8))
    said = text.format(*(piece.sizes for piece in found))
    weight = f"\n{_short(sum(piece.parameters for piece in found))}" if found else ""
    ax.text(left + width / 2, y + high / 2, said + weight, ha="center", va="center", size=TEXT, linespacing=1.1)


def _frame(ax: Axes, top: float, high: float, title: str) -> None:
    style = "round,pad=0,rounding_size=0.2"
    ax.add_patch(FancyBboxPatch((0.5, top), 99, high, boxstyle=style, fc="none", ec="0.5", lw=1))
    ax.text(2, top + 0.28, title, va="center", size=TEXT + 0.5, weight="bold")


def _rail(ax: Axes, column: tuple[float, float], right: bool, places: Sequence[float]) -> None:
    """A line down the outer side of a stream, from its modulation, the first place, to where it acts."""
    left, width = column
    side, edge = (left + width + 3.2, left + width) if right else (left - 3.2, left)
    color = COLORS["orange"]
    ax.plot([edge, side, side], [places[0], places[0], places[-1]], color=color, lw=1.4)
    for y in places[1:]:
        arrow = FancyArrowPatch((side, y), (edge, y), arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0, color=color)
        ax.add_patch(arrow)


def _shares(ax: Axes, found: list[Piece]) -> None:
    """A bar of all parameters by kind."""
    total, left = sum(p.parameters for p in found), 0.0
    for kind in KINDS:
        share = 100 * sum(p.parameters for p in found if p.kind == kind) / total
        ax.barh(0, share, left=left, color=_pale(kind), ec="black", lw=0.8)
        if share > 6:
            text = kind.replace(" and ", "\nand ")
            ax.text(left + share / 2, 0, f"{text}\n{share:.0f} %", ha="center", va="center", size=TEXT)
        left += share
    ax.set(xlim=(0, 100.2), yticks=[], xlabel=f"share of {_short(total)} parameters (%)")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _pale(kind: str) -> tuple[float, ...]:
    """A kind's colour mixed with white, so that text can stand on it."""
    return tuple(1 - 0.4 * (1 - level) for level in to_rgb(KINDS[kind]))


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _short(n: int) -> str:
    """A number of parameters in three or four digits."""
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if n >= unit:
            return f"{n / unit:.2f}{name}" if n < 100 * unit else f"{n / unit:.0f}{name}"
    return str(n)


def _sizes(module: nn.Module) -> str:
    """The linear maps of a part: "64 → 1,536", of queries, keys and values "3 × (1,536 → 1,536)"."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    through = [layers[0].in_features, *(layer.out_features for layer in layers)]
    if len(layers) == 3:
        return f"3 × ({through[0]:,} → {through[1]:,})"
    return " → ".join(f"{n:,}" for n in through)


def _clock(net: MMDiT) -> str:
    """What the clock of the first block takes in, and how wide it is."""
    clock = cast(Clock, net.clocks[0])
    told = {"time": clock.time, "guidance": clock.guidance, "vector": clock.vector}
    said = [f"{name} {part.linear1.in_features:,}" for name, part in told.items() if part is not None]
    if clock.label is not None:
        said.append(f"{net.config.classes:,} labels")
    return f"{', '.join(said)} → {net.config.width:,}"
