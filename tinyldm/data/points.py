"""Points in the plane: toy data whose density fits on one picture."""

import math

import torch
from torch import Tensor

from ..errors import choose, expect, whole_number
from ..gaussian import GaussianMixture
from ..runtime import seeded
from .memory import InMemory


def six_gaussians() -> GaussianMixture:
    """The distribution of ``load("points", shape="mixture")``, exactly: six narrow Gaussians on a circle of radius 1."""
    angle = torch.arange(6, dtype=torch.float64) * (2 * math.pi / 6)
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return GaussianMixture(torch.full((6,), 1 / 6, dtype=torch.float64), means, stds=torch.full((6,), 0.1))


def three_arms(*classes: int) -> GaussianMixture:
    """A pinwheel of three bent arms, thin near the middle: the density of one class, or of several together, exactly.

    classes: numbers from 0 to 2; none for all three. Raises ``ValueError`` for another number.
    """
    r = torch.linspace(0.15, 1.35, 12, dtype=torch.float64)
    means = []
    for c in classes or range(3):
        angle = whole_number("classes", c, 0, 2) * 2 * math.pi / 3 + 0.9 * r
        means.append(torch.stack([r * angle.cos(), r * angle.sin()], dim=1))
    stds = (0.05 + 0.06 * r).repeat(len(means))
    return GaussianMixture(torch.full_like(stds, 1 / len(stds)), torch.cat(means), stds=stds)


def _mixture(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Six narrow Gaussians on a circle; the label is the component."""
    label = torch.randint(6, (n,), generator=generator)
    angle = label * (2 * math.pi / 6)
    centre = torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + 0.1 * torch.randn(n, 2, generator=generator), label


def _rings(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two noisy circles of radius 0.5 and 1."""
    label = torch.randint(2, (n,), generator=generator)
    radius = 0.5 + 0.5 * label + 0.05 * torch.randn(n, generator=generator)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1), label


def _moons(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles."""
    label = torch.randint(2, (n,), generator=generator)
    angle = math.pi * torch.rand(n, generator=generator)
    sign = 1.0 - 2.0 * label
    arc = torch.stack([angle.cos() * sign - 0.5 * sign, angle.sin() * sign - 0.25 * sign], dim=1)
    return arc + 0.05 * torch.randn(n, 2, generator=generator), label


SHAPES = {"mixture": _mixture, "rings": _rings, "moons": _moons}


def load_points(split: str, size: int | None = None, shape: str = "mixture", n: int = 2000, seed: int = 0) -> InMemory:
    """n points: "point" (n, 2), about unit size, and "label" (n,). shape: "mixture", "rings" or "moons".

    Train and test are different draws. Raises ``ValueError`` for an unknown shape, n < 1 or a size (points have none).
    """
    expect(size is None, "size", size, "None: points have no size")
    n = whole_number("n", n, 1)
    draw = choose("shape", shape, SHAPES)
    point, label = draw(n, seeded(2 * seed + (split == "test")))
    return InMemory({"point": point, "label": label})
