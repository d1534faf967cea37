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
from .plots import COLORS, STYLE, WIDTH

KINDS = {  # what a piece is for, and its colour
    "modulation": COLORS["orange"],
    "attention": COLORS["sky"],
    "feed-forward": COLORS["green"],
    "attention and feed-forward": COLORS["purple"],
    "ends": "white",
}
STREAM = {"modulation": "modulation", "qkv": "attention", "out": "attention", "ff": "feed-forward"}
SINGLE = {"modulation": "modulation", "qkv": "attention", "wide": "feed-forward", "out": "attention and feed-forward"}
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
    found = []
    if net.text is not None:
        found.append(Piece("in", "text", "tokens", "ends", _sizes(net.text), _count([net.text])))
    found.append(Piece("in", "image", "patches", "ends", _sizes(net.patch), _count([net.patch])))
    found.append(Piece("in", "all", "clock", "ends", _clock(net), _count(net.clocks)))
    for stream in _streams(net):
        for name, kind in STREAM.items():
            parts = [getattr(getattr(block, stream), name) for block in net.blocks]
            there = [part for part in parts if part is not None]  # an ending stream lacks some
            sizes = _sizes(there[0]) if there else "absent"
            found.append(Piece("double", stream, name, kind, sizes, _count(there)))
    for name, kind in SINGLE.items() if net.singles else ():
        parts = [getattr(block, name) for block in net.singles]
        found.append(Piece("single", "all", name, kind, _sizes(parts[0]), _count(parts)))
    for name, layer in (("modulation", net.modulation), ("last", net.last)):
        kind = "modulation" if name == "modulation" else "ends"
        found.append(Piece("out", "image", name, kind, _sizes(layer), _count([layer])))
    return found


def blocks(net: MMDiT) -> Figure:
    """A transformer as boxes, top to bottom, read from the module; below them, where its parameters are.

    Each box names its linear maps and the parameters of all blocks together; the orange rails carry shifts, scales and
    gates to where they act. Source of the form: Esser et al. (2024), figure 2.
    """
    found = {(p.group, p.stream, p.name): p for p in pieces(net)}
    rows = 10.8 + (5.3 if net.singles else 0)
    with plt.rc_context(STYLE):
        size, shares = (WIDTH, ROW * rows + 0.8), [ROW * rows, 0.8]
        fig, (ax, bar) = plt.subplots(2, 1, figsize=size, height_ratios=shares)
        ax.set(xlim=(0, 100), ylim=(rows, 0))
        ax.set_axis_off()
        _inputs(ax, net, found)
        bottom = _double(ax, net, found)
        if net.singles:
            bottom = _single(ax, net, found, bottom + 0.6)
        _output(ax, net, found, bottom + 0.3)
        _shares(bar, list(found.values()))
    return fig


Found = dict[tuple[str, str, str], Piece]


def _streams(net: MMDiT) -> list[str]:
    return ["image"] if net.text is None else ["text", "image"]


def _column(net: MMDiT, stream: str) -> tuple[float, float]:
    """Where a stream is drawn: alone, it has the whole width."""
    return COLUMNS["all" if net.text is None else stream]


def _inputs(ax: Axes, net: MMDiT, found: Found) -> None:
    p = net.config.patch
    for stream, text in (("text", "text tokens"), ("image", f"image, patches of {p} x {p} latent pixels")):
        if stream in _streams(net):
            piece = found["in", stream, "tokens" if stream == "text" else "patches"]
            _box(ax, _column(net, stream), 0.1, f"{text}: {piece.sizes}", piece.kind, piece.parameters)
    clock = found["in", "all", "clock"]
    _box(ax, COLUMNS["all"], 1.1, f"clock: {clock.sizes}", clock.kind, clock.parameters)


def _double(ax: Axes, net: MMDiT, found: Found) -> float:
    """The blocks with streams; returns where they end."""
    top, high, streams = 2.2, 7.0, _streams(net)
    _frame(ax, top, high, f"{len(net.blocks)} blocks with {len(streams)} stream{'s' * (len(streams) > 1)}")
    for stream in streams:
        column = _column(net, stream)
        _rail(ax, column, stream == "image", [top + y for y in (0.9, 1.65, 4.1, 4.95, 5.9)])
        for name, y, text in (
            ("modulation", 0.55, "modulation {}"),
            ("qkv", 2.05, "q, k, v: {}"),
            ("out", 3.75, "out {}, × gate, +"),
            ("ff", 5.55, "feed-forward {}, × gate, +"),
        ):
            piece = found["double", stream, name]
            _box(ax, column, top + y, text.format(piece.sizes), piece.kind, piece.parameters)
        for y in (1.4, 4.7):
            _box(ax, column, top + y, "norm, scale, shift", high=0.5)
    turned = ", which turns q and k by their places" if net.config.rope else ""
    text = f"one attention over all tokens, {net.config.heads} heads of {net.config.width // net.config.heads}{turned}"
    _box(ax, COLUMNS["all"], top + 3.0, text, "attention", high=0.55)
    if net.text is not None and not net.singles:
        ax.text(50, top + 6.65, "in the last block the text ends at q, k and v", ha="center", va="center", size=TEXT)
    return top + high


def _single(ax: Axes, net: MMDiT, found: Found, top: float) -> float:
    """The blocks with one stream; returns where they end."""
    high = 4.7
    _frame(ax, top, high, f"{len(net.singles)} blocks with 1 stream, text and image one after the other")
    _rail(ax, COLUMNS["all"], True, [top + y for y in (0.9, 1.65, 3.7)])
    _box(ax, COLUMNS["all"], top + 1.4, "norm, scale, shift", high=0.5)
    for column, name, y, text in (
        ("all", "modulation", 0.55, "modulation {}"),
        ("text", "qkv", 2.2, "q, k, v: {}, attention"),
        ("image", "wide", 2.2, "feed-forward's first half {}"),
        ("all", "out", 3.35, "out of both {}, × gate, +"),
    ):
        piece = found["single", "all", name]
        _box(ax, COLUMNS[column], top + y, text.format(piece.sizes), piece.kind, piece.parameters)
    return top + high


def _output(ax: Axes, net: MMDiT, found: Found, top: float) -> None:
    last, modulation = found["out", "image", "last"], found["out", "image", "modulation"]
    text = f"norm, scale, shift (modulation {modulation.sizes})\nlast {last.sizes}, unpacked"
    _box(ax, _column(net, "image"), top, text, "ends", last.parameters + modulation.parameters, 1.1)


def _box(
    ax: Axes,
    column: tuple[float, float],
    y: float,
    text: str,
    kind: str = "ends",
    parameters: int | None = None,
    high: float = 0.72,
) -> None:
    """A box with a text in it and, below the text, a number of parameters."""
    left, width = column
    style = "round,pad=0,rounding_size=0.1"
    ax.add_patch(FancyBboxPatch((left, y), width, high, boxstyle=style, fc=_pale(kind), ec="black", lw=0.8))
    weight = "" if parameters is None else f"\n{_short(parameters)}"
    ax.text(left + width / 2, y + high / 2, text + weight, ha="center", va="center", size=TEXT, linespacing=1.1)


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
