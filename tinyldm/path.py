r"""Floor 1. The forward path: two functions alpha(t) and sigma(t); everything else is derived from them.

Time runs from t = 0, data, to t = 1, noise, and :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .errors import expect, in_range
from .shapes import expand


@dataclass(frozen=True)
class Path:
    """A Gaussian path from data to noise. A subclass gives ``alpha`` and ``sigma``; the rest follows.

    ``t_min`` and ``t_max`` bound the usable range: outside it a ratio such as alpha/sigma leaves the
    floating-point numbers or a parametrisation becomes singular. Times are tensors () or (B,).
    """

    t_min: ClassVar[float] = 1e-3
    t_max: ClassVar[float] = 1.0

    def alpha(self, t: Tensor) -> Tensor:
        """How much of the data is left at time t."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise at time t."""
        raise NotImplementedError

    def d_alpha(self, t: Tensor) -> Tensor:
        """The derivative of alpha, by automatic differentiation."""
        return _derivative(self.alpha, t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """The derivative of sigma, by automatic differentiation."""
        return _derivative(self.sigma, t)

    def lam(self, t: Tensor) -> Tensor:
        """log(alpha / sigma), half the log signal-to-noise ratio: the clock of the exponential integrators."""
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))

    def log_snr(self, t: Tensor) -> Tensor:
        r"""The log signal-to-noise ratio :math:`\log(\alpha_t^2/\sigma_t^2)`. Implements :eq:`log-snr`."""
        return 2 * self.lam(t)

    def t_of_lam(self, lam: Tensor) -> Tensor:
        """The time in (0, 1) at which ``lam(t)`` takes this value, by bisection in float64 (lam falls with t)."""
        goal = lam.double()
        low, high = torch.zeros_like(goal), torch.ones_like(goal)
        for _ in range(60):
            middle = (low + high) / 2
            too_early = self.lam(middle) > goal
            low, high = torch.where(too_early, middle, low), torch.where(too_early, high, middle)
        return ((low + high) / 2).to(lam.dtype)

    def f(self, t: Tensor) -> Tensor:
        """The linear drift of the forward SDE dx = f(t) x dt + g(t) dW: alpha' / alpha."""
        return self.d_alpha(t) / self.alpha(t)

    def g2(self, t: Tensor) -> Tensor:
        """The squared diffusion of the forward SDE: d(sigma^2)/dt - 2 f sigma^2."""
        sigma = self.sigma(t)
        return 2 * sigma * self.d_sigma(t) - 2 * self.f(t) * sigma**2

    def clock(self, t: Tensor) -> Tensor:
        """The number a network sees instead of t: 0 ... 1000, the range that sinusoidal embeddings expect."""
        return 1000 * t

    def marginal(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        r"""Noise the data: :math:`\alpha_t x_0 + \sigma_t \varepsilon`. Implements :eq:`marginal`.

        x0, eps: (B, ...), alike. t: () or (B,), in [0, 1].
        Raises ``ValueError`` for shapes that differ and times outside [0, 1].
        Source: Kingma et al., Variational Diffusion Models (2021), section 3.1.
        """
        expect(x0.shape == eps.shape, "eps", f"shape {tuple(eps.shape)}", f"the shape of x0, {tuple(x0.shape)}")
        in_range("t", t, 0.0, 1.0)
        return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * eps


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d function / dt at each entry of t; works inside ``torch.no_grad`` and ``inference_mode`` too."""
    with torch.inference_mode(False), torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        value = function(t)
        if not value.requires_grad:  # a constant
            return torch.zeros_like(t)
        (slope,) = torch.autograd.grad(value.sum(), t)
    return slope


@dataclass(frozen=True)
class VP(Path):
    r"""Variance preserving, :math:`\alpha^2 + \sigma^2 = 1`, with a linear rate beta from ``beta_min`` to ``beta_max``.

    Source: Song et al., Score-Based Generative Modeling through SDEs (2021), section 3.4 and appendix C.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        expect(
            0 < self.beta_min <= self.beta_max,
            "beta_min, beta_max",
            (self.beta_min, self.beta_max),
            "0 < beta_min <= beta_max",
        )

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def alpha(self, t: Tensor) -> Tensor:
        """exp(-integral of beta / 2). Implements :eq:`vp-path`."""
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2), without cancellation for small t. Implements :eq:`vp-path`."""
        return torch.sqrt(-torch.expm1(-self._integral(t)))


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """The straight line: alpha = 1 - t, sigma = t. At t = 1 no data is left, so the usable range ends just before.

    Source: Liu et al., Flow Straight and Fast (2022), section 2.1; Lipman et al., Flow Matching (2023), section 4.1.
    """

    t_max: ClassVar[float] = 0.999

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return 1 * t


PATHS: dict[str, type[Path]] = {path.__name__: path for path in (VP, RectifiedFlow)}
