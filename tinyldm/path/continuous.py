"""The paths that the literature writes down as functions of a continuous time."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..broadcast import expand
from ..errors import expect
from .base import Path


@dataclass(frozen=True)
class _LinearRate(Path):
    """What VP and sub-VP share: a rate beta(t) that rises linearly, and the fading exp(-integral of beta / 2)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        expect(
            0 < self.beta_min <= self.beta_max, "beta_min, beta_max", (self.beta_min, self.beta_max), "0 < beta_min <= beta_max"
        )

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def alpha(self, t: Tensor) -> Tensor:
        """exp(-integral of beta / 2). Implements :eq:`vp-path`."""
        return torch.exp(-self._integral(t) / 2)


@dataclass(frozen=True)
class VP(_LinearRate):
    r"""Variance preserving, :math:`\alpha^2 + \sigma^2 = 1`, with a linear rate beta from ``beta_min`` to ``beta_max``.

    Raises ``ValueError`` unless 0 < beta_min <= beta_max.
    Source: Song et al., Score-Based Generative Modeling through SDEs (2021), section 3.4 and appendix C.
    """

    constant = True

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2), without cancellation for small t. Implements :eq:`vp-path`."""
        return torch.sqrt(-torch.expm1(-self._integral(t)))


@dataclass(frozen=True)
class SubVP(_LinearRate):
    """VP's fading with less noise: sigma = 1 - alpha^2, so that the variance stays below VP's at every time.

    Raises ``ValueError`` unless 0 < beta_min <= beta_max. Source: Song et al. (2021), section 3.4 and appendix C.
    """

    constant = True

    def sigma(self, t: Tensor) -> Tensor:
        """1 - alpha^2, without cancellation for small t. Implements :eq:`subvp-path`."""
        return -torch.expm1(-self._integral(t))


@dataclass(frozen=True)
class VE(Path):
    """Variance exploding: the data is never faded, the noise grows geometrically from ``sigma_min`` to ``sigma_max``.

    At t = 0 a noise of ``sigma_min`` is already there. Raises ``ValueError`` unless 0 < sigma_min < sigma_max.
    Source: Song et al. (2021), section 3.4 and appendix C.
    """

    constant = True
    t_min = 1e-5

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        expect(
            0 < self.sigma_min < self.sigma_max,
            "sigma_min, sigma_max",
            (self.sigma_min, self.sigma_max),
            "0 < sigma_min < sigma_max",
        )

    def alpha(self, t: Tensor) -> Tensor:
        """1 at every time."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_min (sigma_max / sigma_min)^t. Implements :eq:`ve-path`."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def network_input(self, x: Tensor, t: Tensor) -> Tensor:
        """x over its standard deviation for data of unit variance (Karras et al. 2022, table 1, c_in)."""
        return x / expand((1 + self.sigma(t) ** 2).sqrt(), x)


@dataclass(frozen=True)
class CosineVP(Path):
    """Variance preserving with alpha a quarter of a cosine; ``offset`` keeps the first steps from being too small.

    At t = 1 no data is left, so the usable range ends just before. Its table of 1000 steps, whose last betas are capped, is
    ``DiscreteVP.from_betas("cosine")``. Raises ``ValueError`` for an offset outside [0, 1).
    Source: Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models (2021), equation 17.
    """

    constant = True
    t_max = 0.999

    offset: float = 0.008

    def __post_init__(self) -> None:
        expect(0 <= self.offset < 1, "offset", self.offset, "a number in [0, 1)")

    def _angles(self, t: Tensor) -> tuple[Tensor, float]:
        start = self.offset / (1 + self.offset) * math.pi / 2
        return (math.pi / 2 - start) * t, start

    def alpha(self, t: Tensor) -> Tensor:
        """cos(start + turned) / cos(start). Implements :eq:`cosine-path`."""
        _, start = self._angles(t)
        return torch.sin((math.pi / 2 - start) * (1 - t)) / math.cos(start)

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2) as sqrt(sin(turned) sin(2 start + turned)) / cos(start): no cancellation for small t."""
        turned, start = self._angles(t)
        return torch.sqrt(torch.sin(turned) * torch.sin(turned + 2 * start)) / math.cos(start)


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """The straight line: alpha = 1 - t, sigma = t. At t = 1 no data is left, so the usable range ends just before.

    Source: Liu et al., Flow Straight and Fast (2022), section 2.1; Lipman et al., Flow Matching (2023), section 4.1.
    """

    constant = True
    t_max = 0.999

    def alpha(self, t: Tensor) -> Tensor:
        """What is left of the data, 1 - t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """The noise, t."""
        return 1 * t
