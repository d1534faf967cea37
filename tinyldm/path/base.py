r"""The forward path: two functions alpha(t) and sigma(t); everything else is derived from them.

Time runs from t = 0, data, to t = 1, noise, and :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..broadcast import mix
from ..errors import expect, in_range

EARLIEST = 1e-12  # where sigma grows like a root its slope is infinite at 0, and g^2 is the limit


@dataclass(frozen=True, eq=False)
class Path:
    """A Gaussian path from data to noise. A subclass gives ``alpha`` and ``sigma``; the rest follows.

    ``t_min`` and ``t_max`` bound the usable range: outside it a ratio such as alpha/sigma leaves the
    floating-point numbers or a parametrisation becomes singular. Times are tensors () or (B,).

    A path of your own is two functions, and a ``t_max`` before 1 if no data is left there:

    >>> class Slow(tl.Path):
    ...     t_max = 0.99
    ...     def alpha(self, t): return torch.cos(t * torch.pi / 2)
    ...     def sigma(self, t): return torch.sin(t * torch.pi / 2)
    >>> tl.grid(Slow(), 3, "t")
    tensor([0.9900, 0.6603, 0.3307, 0.0010], dtype=torch.float64)
    """

    t_min = 1e-3
    t_max = 1.0

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
        r"""The log signal-to-noise ratio :math:`\log(\alpha_t^2/\sigma_t^2)`. Implements :eq:`log-snr`.

        Source: Kingma et al., Variational Diffusion Models (2021), section 3.1.
        """
        return 2 * self.lam(t)

    def t_of_lam(self, lam: Tensor) -> Tensor:
        """The time in (0, 1) at which ``lam(t)`` takes this value, by bisection in float64 (lam falls with t)."""
        goal = lam.double()
        low, high = torch.zeros_like(goal), torch.full_like(goal, max(1.0, self.t_max))
        for _ in range(60):
            middle = (low + high) / 2
            too_early = self.lam(middle) > goal
            low, high = torch.where(too_early, middle, low), torch.where(too_early, high, middle)
        return ((low + high) / 2).to(lam.dtype if lam.is_floating_point() else torch.float32)

    def f(self, t: Tensor) -> Tensor:
        """The linear drift of the forward SDE dx = f(t) x dt + g(t) dW: alpha' / alpha. Implements :eq:`drift`.

        Source: Karras et al. (2022), appendix B, whose s is alpha and whose sigma is sigma / alpha.
        """
        return self.d_alpha(t) / self.alpha(t)

    def g2(self, t: Tensor) -> Tensor:
        """The squared diffusion of the forward SDE: d(sigma^2)/dt - 2 f sigma^2. Implements :eq:`diffusion`.

        At t = 0, where the slope of sigma may be infinite, it is the value just after. Source: as for ``f``.
        """
        t = t.clamp(min=EARLIEST)
        sigma = self.sigma(t)
        return 2 * sigma * self.d_sigma(t) - 2 * self.f(t) * sigma**2

    def clock(self, t: Tensor) -> Tensor:
        """The number a network sees instead of t: 0 ... 1000, the range that sinusoidal embeddings expect."""
        return 1000 * t

    def network_input(self, x: Tensor, t: Tensor) -> Tensor:
        """What a network is shown of x: x itself, unless the path lets it grow out of the range of numbers networks like."""
        return x

    def marginal(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        r"""Noise the data: :math:`\alpha_t x_0 + \sigma_t \varepsilon`. Implements :eq:`marginal`.

        x0, eps: (B, ...), alike. t: () or (B,), in [0, 1].
        Raises ``ValueError`` for shapes that differ and times outside [0, 1].
        Source: Kingma et al., Variational Diffusion Models (2021), section 3.1.
        """
        expect(x0.shape == eps.shape, "eps", f"shape {tuple(eps.shape)}", f"the shape of x0, {tuple(x0.shape)}")
        t = torch.as_tensor(t)
        in_range("t", t, 0.0, 1.0)
        return mix(self.alpha(t), x0, self.sigma(t), eps)

    def at(self, t: Tensor) -> "Moment":
        """All coefficients at time t, each computed when first asked for: floats for t (), tensors for t (B,).

        A path that says ``constant = True`` in its own class body promises that its numbers never change; then a time () is
        worked out once and looked up afterwards. Any other path, such as one with weights to be learned, is asked anew.
        """
        t = torch.as_tensor(t)
        if t.ndim or t.requires_grad:
            return Moment(self, t)
        return _remembered(self, t.item()) if vars(type(self)).get("constant") else _moment(self, t.item())

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({given})"


class Moment:
    """A path at one time: alpha, sigma, their slopes and lam. floats where the time is (), tensors where it is (B,).

    t: () or (B,). alone: read the numbers at t () as floats; otherwise they stay tensors.
    """

    def __init__(self, path: Path, t: Tensor, alone: bool = False) -> None:
        self.path, self.t, self.alone = path, t, alone
        self.known: dict[str, Any] = {}

    def value(self, key: Any, function: Callable[[Tensor], Tensor]) -> Any:
        """function(t), (n, ...), at this moment; worked out once and remembered under ``key`` if that is a name."""
        if key in self.known:
            return self.known[key]
        found = function(self.t[None])[0].tolist() if self.alone else function(self.t)
        if isinstance(key, str):
            self.known[key] = found
        return found

    def _of(self, key: str, function: Callable[[Tensor], Tensor]) -> Any:
        return self.value(key, lambda t: torch.as_tensor(function(t), device=t.device).expand(t.shape))

    alpha = property(lambda self: self._of("alpha", self.path.alpha), doc="How much of the data is left.")
    sigma = property(lambda self: self._of("sigma", self.path.sigma), doc="The standard deviation of the noise.")
    d_alpha = property(lambda self: self._of("d_alpha", self.path.d_alpha), doc="The slope of alpha.")
    d_sigma = property(lambda self: self._of("d_sigma", self.path.d_sigma), doc="The slope of sigma; may be infinite.")
    lam = property(lambda self: self._of("lam", self.path.lam), doc="log(alpha / sigma); may be infinite.")


def _moment(path: Path, t: float) -> Moment:
    return Moment(path, torch.tensor(t, dtype=torch.float64), alone=True)


_remembered = lru_cache(maxsize=4096)(_moment)  # without it a solver's steps take up to a third longer


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d function / dt at each entry of t; works inside ``torch.no_grad`` and ``inference_mode``, and is itself differentiable."""
    follow = torch.is_grad_enabled() and t.requires_grad
    with torch.inference_mode(False), torch.enable_grad():
        t = t if follow else t.detach().clone().requires_grad_()
        value = function(t)
        if not value.requires_grad:  # a constant
            return torch.zeros_like(t)
        (slope,) = torch.autograd.grad(value.sum(), t, create_graph=follow)
    return slope
