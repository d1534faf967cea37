"""The book's one style, and the figures that more than one chapter draws."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from ..errors import expect
from ..files import atomic_file
from ..latent import LatentDiffusion
from .widgets import png

# Okabe and Ito's palette: distinct also for colour-blind readers.
COLORS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
}
WIDTH = 7.2  # inches: the width of the book's text

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.prop_cycle": plt.cycler(color=list(COLORS.values())[:6]),
}


def style() -> AbstractContextManager[None]:
    """The book's style, for what is drawn inside ``with``. A notebook's pictures get two pixels for each that is shown."""
    if "inline" in plt.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")  # sharp on any screen
    return plt.rc_context(STYLE)


def figure(rows: int = 1, cols: int = 1, height: float = 2.6) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the book's text and its axes as an array (rows, cols). height: inches, in all."""
    with style():
        return plt.subplots(rows, cols, figsize=(WIDTH, height), squeeze=False)


def gray(images: Tensor) -> np.ndarray:
    """Images (N, 1, H, W) in [-1, 1] as uint8 (N, H, W), dark ink on white paper: -1 is paper, 1 is ink."""
    return color(-images.float())[..., 0]


def color(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) in [-1, 1] as uint8 (N, H, W, 3): -1 is black, 1 is full red, green or blue."""
    levels = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _drawn(images: Tensor) -> np.ndarray:
    """Images of one channel as ``gray`` shows them, of three as ``color`` does."""
    drawable = images.ndim == 4 and images.shape[1] in (1, 3)
    expect(drawable, "images", f"shape {tuple(images.shape)}", "(N, 1, H, W) or (N, 3, H, W)")
    return gray(images) if images.shape[1] == 1 else color(images)


def contact_sheet(images: Tensor, cols: int, gap: int = 2) -> np.ndarray:
    """Images (N, 1 or 3, H, W) in [-1, 1] as one picture, uint8 (rows, columns) or (rows, columns, 3).

    ``cols`` a row, ``gap`` white pixels around each; one channel is drawn as ``gray``, three as ``color``.
    Raises ``ValueError`` for another rank or other channels.
    """
    drawn = _drawn(images)
    around = (0, -len(drawn) % cols), (gap, gap), (gap, gap), (0, 0)  # white images fill the last row
    framed = np.pad(drawn, around[: drawn.ndim], constant_values=255)
    rows = framed.reshape(-1, cols, *framed.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def save_png(images: Tensor, path: str | os.PathLike, cols: int = 10, gap: int = 2) -> None:
    """Write images (N, 1 or 3, H, W) in [-1, 1] as the ``contact_sheet`` of these columns: a PNG file, whole or not at all.

    One image alone, without a frame: ``cols=1, gap=0``. Raises what ``contact_sheet`` raises.
    """
    content = png(contact_sheet(images, cols, gap))
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def board(
    images: Tensor, cols: int, *, row_labels: Sequence[str] = (), col_labels: Sequence[str] = (), height: float | None = None
) -> Figure:
    """Images (N, 1 or 3, H, W) in [-1, 1], or latents in any range as (N, 1, h, w), row by row on ``cols`` columns.

    Values outside [-1, 1] are drawn as the nearest of the two. Labels name the rows and the columns.
    Raises ``ValueError`` for another rank or other channels than one (``gray``) or three (``color``).
    """
    pictures = _drawn(images)
    rows = -(-len(images) // cols)
    side = WIDTH / (cols + (0.9 if row_labels else 0))
    fig, axes = figure(rows, cols, height or side * rows + (0.25 if col_labels else 0))
    with style():
        fig.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, picture in zip(axes.flat, pictures, strict=False):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for ax, name in zip(axes[:, 0], row_labels, strict=False):
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, name in zip(axes[0], col_labels, strict=False):
            ax.set_title(name)
    return fig


def curves(ax: Axes, series: Mapping[str, Tensor], smooth: int = 1) -> Axes:
    """Lines of numbers against their index, one for each name; ``smooth`` averages over that many neighbours."""
    for name, values in series.items():
        kernel = np.ones(smooth) / smooth
        ax.plot(np.arange(len(values) - smooth + 1) + smooth // 2, np.convolve(values.numpy(), kernel, "valid"), label=name)
    return ax


def noising(model: LatentDiffusion, x0: Tensor, eps: Tensor, times: Sequence[float]) -> Figure:
    """Latents x0 (N, c, h, w) at these times, decoded, one row each; the titles give t, alpha and sigma."""
    path = model.denoiser.path
    ts = torch.tensor(times, dtype=torch.float64)
    noisy = torch.stack([path.marginal(x0, eps, t) for t in ts], dim=1)  # (N, times, c, h, w)
    titles = [f"t = {t:g}\nα = {path.alpha(t):.2f}\nσ = {path.sigma(t):.2f}" for t in ts]
    return board(model.space.decode(noisy.flatten(0, 1)), len(times), col_labels=titles, height=1.05 * len(x0) + 0.7)


def pipeline(model: LatentDiffusion, image: Sequence[int]) -> Figure:
    """The model as boxes and arrows, with the shapes of what flows; read from the model itself. image: (C, H, W)."""

    def shape(sizes: Sequence[int]) -> str:
        return " × ".join(map(str, sizes))

    def millions(module: torch.nn.Module) -> str:
        return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"

    auto, net = model.space.autoencoder, model.denoiser.net
    fig, axes = figure(height=2.3)
    ax = axes[0, 0]
    ax.set(xlim=(0, 12), ylim=(0, 4.4))
    ax.set_axis_off()

    def box(x: float, y: float, text: str, color: str) -> None:
        ax.add_patch(FancyBboxPatch((x, y), 2.0, 1.0, boxstyle="round,pad=0.08", fc=color, ec="black", alpha=0.35, lw=1))
        ax.text(x + 1.0, y + 0.5, text, ha="center", va="center", fontsize=8.5)

    def arrow(start: tuple[float, float], end: tuple[float, float], text: str = "", bend: float = 0.0) -> None:
        bow = f"arc3,rad={bend}"
        ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, connectionstyle=bow, color="black", lw=1.1))
        ax.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.14, text, ha="center", va="bottom", fontsize=8)

    box(0.1, 2.9, f"image\n{shape(image)}", "white")
    box(3.3, 2.9, f"encoder\n{millions(auto.encoder)} weights", COLORS["sky"])
    box(6.6, 2.9, f"latent $x_0$\n{shape(model.latent)}", "white")
    box(9.8, 2.9, f"noisy latent $x_t$\n{shape(model.latent)}", "white")
    box(9.8, 0.3, f"denoiser\n{millions(net)} weights", COLORS["orange"])
    box(6.6, 0.3, f"clean latent\n{shape(model.latent)}", "white")
    box(3.3, 0.3, f"decoder\n{millions(auto.decoder)} weights", COLORS["sky"])
    box(0.1, 0.3, f"new image\n{shape(image)}", "white")
    arrow((2.25, 3.4), (3.2, 3.4))
    arrow((5.45, 3.4), (6.5, 3.4))
    arrow((8.75, 3.4), (9.7, 3.4), "+ noise")
    arrow((10.8, 2.75), (10.8, 1.45))
    ax.text(10.95, 2.1, "t, label", fontsize=8, va="center")
    arrow((9.65, 0.8), (8.75, 0.8), "predicts")
    arrow((8.0, 1.45), (10.2, 2.75), bend=-0.15)
    ax.text(8.3, 2.2, "solver: less noise,\nthen again", ha="right", va="center", fontsize=8)
    arrow((6.45, 0.8), (5.45, 0.8))
    arrow((3.15, 0.8), (2.25, 0.8))
    return fig
