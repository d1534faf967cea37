"""A U-Net drawn from itself: every part at the size of what it returns, and who hands over to whom."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from ..errors import whole_number
from ..nn import UNet
from ..nn.condition import Condition
from ..nn.unet import Stage
from .plots import COLORS, WIDTH, style

ROW = 1.0  # one level's height in the drawing; a column is one part wide
TEXT = 7.5  # points
KINDS = {nn.Conv2d: "convolution", Stage: "stage"}


@dataclass(frozen=True)
class Part:
    """What one part of a U-Net returned. shape: (C, H, W). attention: how many attention blocks follow its residual block.

    skip: the name of the part whose output is concatenated to this one's input, or None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    attention: int = 0
    skip: str | None = None


def parts(net: UNet, side: int) -> list[Part]:
    """The parts of a U-Net in the order in which they work, on an input of ``side`` x ``side``.

    The shapes are those that hooks see while the network runs once, on its own device; on "meta" this needs no memory.
    kind: "convolution", "stage", "resize". Raises ``ValueError`` for a side that the levels cannot halve.
    """
    whole_number("side", side, 1)
    named: dict[str, nn.Module] = {"conv_in": net.conv_in}
    for group in ("down", "middle", "up"):
        named |= {f"{group}.{i}": module for i, module in enumerate(getattr(net, group))}
    named["conv_out"] = net.conv_out
    shapes = _run(net, named, side)
    waiting: list[str] = []
    found = []
    for name, module in named.items():
        skip = waiting.pop() if name.startswith("up") and isinstance(module, Stage) else None
        if name.startswith(("conv_in", "down")):
            waiting.append(name)
        attention = getattr(module, "attention", None)
        depth = 0 if attention is None else len(getattr(attention, "blocks", [attention]))
        found.append(Part(name, KINDS.get(type(module), "resize"), shapes[name], depth, skip))
    return found


def _run(net: UNet, named: dict[str, nn.Module], side: int) -> dict[str, tuple[int, ...]]:
    """The shape of what each part returns."""
    shapes: dict[str, tuple[int, ...]] = {}

    def see(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape[1:])})

    hooks = [module.register_forward_hook(see(name)) for name, module in named.items()]
    like, config = net.conv_in.weight, net.config
    tokens = like.new_zeros(1, 1, config.tokens) if config.tokens else None
    vector = like.new_zeros(1, config.vector) if config.vector else None
    try:
        with torch.no_grad():
            net(like.new_zeros(1, config.in_channels, side, side), 0.0, Condition(tokens=tokens, vector=vector))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def architecture(net: UNet, side: int) -> Figure:
    """A U-Net as a picture: down on the left, up on the right, a row for every level, brackets for the skip connections.

    A box is as high as the root of its side and as wide as the root of its channels, which stand under it; the number in
    a box counts its transformer blocks. side: of the input, in its own pixels. See ``parts`` for what is raised.
    """
    found = parts(net, side)
    levels = sorted({p.shape[1] for p in found}, reverse=True)
    with style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.7 + 0.95 * len(levels)))
    edge = 0.09 * len(found)
    ax.set(xlim=(-edge, len(found) - 0.4), ylim=(0.4 - ROW * len(levels), 0.55 * ROW))
    ax.set_axis_off()
    widest, narrow = max(p.shape[0] for p in found), len(found) > 20
    tops: dict[str, tuple[float, float]] = {}
    for x, part in enumerate(found):
        c, h, _ = part.shape
        y = -ROW * levels.index(h)
        high, wide = 0.42 * ROW * (h / side) ** 0.5, 0.84 * (c / widest) ** 0.5
        ax.add_patch(Rectangle((x - wide / 2, y - high / 2), wide, high, fc=_colour(part), ec="black", lw=0.7))
        ax.text(x, y - high / 2 - 0.04, str(c), ha="center", va="top", fontsize=TEXT, rotation=90 if narrow else 0)
        if part.attention and net.config.tokens:
            ax.text(x, y, str(part.attention), ha="center", va="center", fontsize=TEXT)
        tops[part.name] = (x, y + high / 2)
    _brackets(ax, found, tops)
    for row, level in enumerate(levels):
        ax.text(-edge, -ROW * row, f"{level} × {level}", va="center", fontsize=TEXT + 1)
    first, last = (tops[f"middle.{i}"][0] for i in (0, 1))
    ax.text((first + last) / 2, 0.42 - ROW * len(levels), "middle", ha="center", va="bottom", fontsize=TEXT)
    _legend(fig, found, net.config.tokens > 0)
    return fig


def _colour(part: Part) -> str:
    plain = {"convolution": "white", "resize": "0.75", "stage": COLORS["sky"]}[part.kind]
    return COLORS["orange"] if part.attention else plain


def _brackets(ax: Axes, found: list[Part], tops: dict[str, tuple[float, float]]) -> None:
    """A line from every part that hands over to the one that takes, the inner ones lower."""
    for part in found:
        if part.skip is None:
            continue
        (x0, y0), (x1, y1) = tops[part.skip], tops[part.name]
        inner = sum(1 for p in found if p.skip and p.shape[1] == part.shape[1] and x0 < tops[p.skip][0])
        rise = max(y0, y1) + 0.08 + 0.07 * inner
        ax.plot([x0, x0, x1, x1], [y0, rise, rise, y1], color=COLORS["green"], lw=0.9)
        ax.plot([x1], [y1 + 0.02], "v", color=COLORS["green"], ms=3)


def _legend(fig: Figure, found: list[Part], text: bool) -> None:
    attends = "transformer blocks" if text else "self-attention"
    named = {
        "white": "convolution",
        COLORS["sky"]: "residual block",
        COLORS["orange"]: f"residual block, {attends}",
        "0.75": "halve or double",
    }
    used = {_colour(p) for p in found}
    handles: list[Artist] = [Patch(fc=c, ec="black", lw=0.7, label=label) for c, label in named.items() if c in used]
    handles.append(Line2D([], [], color=COLORS["green"], lw=0.9, label="skip connection"))
    fig.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=TEXT, handlelength=1.2, frameon=False)
