"""Points in the plane: clouds, densities, trajectories; and error against work."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..gaussian import GaussianMixture
from ..path import Path
from .plots import COLORS


def cloud(ax: Axes, points: Tensor, color: str = "blue", size: float = 2.0, span: float = 1.8) -> Axes:
    """Points (N, 2) as small dots; both axes run from -span to span at one scale."""
    x, y = points.detach().cpu().T
    ax.scatter(x, y, s=size, color=COLORS[color], linewidths=0, alpha=0.5, rasterized=True)
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xticks=[], yticks=[])
    return ax


def density(ax: Axes, mixture: GaussianMixture, path: Path | None = None, t: Tensor | None = None, span: float = 1.8) -> Axes:
    """The exact density of the data, or of x_t, in shades of gray: dark is dense."""
    side = (torch.arange(160, dtype=torch.float64) + 0.5) * (2 * span / 160) - span  # the pixels' centres
    places = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).reshape(-1, 2)
    values = mixture.log_prob(places, path, t).exp().reshape(160, 160).numpy()
    ax.imshow(values, origin="lower", extent=(-span, span, -span, span), cmap="Greys", alpha=0.6)
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    return ax


def trajectories(ax: Axes, ts: Tensor, states: Tensor, color: str = "blue") -> Axes:
    """Lines of one coordinate against time. ts: (n,), states: (n, B)."""
    ax.plot(ts.cpu(), states.detach().cpu(), color=COLORS[color], lw=0.7, alpha=0.6)
    ax.set(xlabel="time t", ylabel="x")
    return ax


def convergence(ax: Axes, work: Sequence[float], errors: Mapping[str, Sequence[float]], orders: Sequence[int] = ()) -> Axes:
    """Error against evaluations, both logarithmic, one line a solver; dotted lines show what a pure order would be."""
    markers = "osD^vP*X"
    for i, (name, values) in enumerate(errors.items()):
        ax.loglog(work, values, marker=markers[i % len(markers)], ms=4, lw=1.3, label=name)
    top = max(max(values) for values in errors.values())
    for order in orders:
        ax.loglog(work, [top * (work[0] / n) ** order for n in work], ":", color="gray", lw=1)
        ax.annotate(f"order {order}", (work[-1], top * (work[0] / work[-1]) ** order), fontsize=7, color="gray")
    ax.set(xlabel="evaluations of the denoiser", ylabel="error")
    return ax
