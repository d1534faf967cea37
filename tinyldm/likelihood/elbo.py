"""Diffusion as a latent-variable model: its bound on -log p, term by term, for finitely and infinitely many steps."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..broadcast import rows
from ..dynamics import Dynamics
from ..errors import expect, time_grid, whole_number
from ..losses.times import importance_times
from ..path import Path
from ..runtime import normal


@dataclass(frozen=True)
class Bound:
    """-log p(x0) <= total, in nats. prior: KL(q(x_T | x0) || p(x_T)), (B,). diffusion: one KL a step, (steps, B), noisiest first
    (for the continuous bound one row, the integral). reconstruction: -log p(x0 | x_1), (B,)."""

    prior: Tensor
    diffusion: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of all terms, (B,). Implements :eq:`elbo`.

        Source: Sohl-Dickstein et al. (2015); Ho et al. (2020), equation 5.
        """
        return self.prior + self.diffusion.sum(0) + self.reconstruction


def elbo_weights(path: Path, ts: Tensor) -> Tensor:
    """The factor of |eps - eps_hat|^2 in each KL, (n - 1,): half of (SNR(s) / SNR(t) - 1). Implements :eq:`elbo-weights`.

    ts: (n,) falling times. It holds for a reverse step with the variance of q(x_s | x_t, x0).
    Raises ``ValueError`` for times that do not fall, or for fewer than two.
    Source: Ho et al. (2020), equation 12; Kingma et al. (2021), equation 15.
    """
    ts = time_grid("ts", ts)
    return torch.expm1(path.log_snr(ts[1:]) - path.log_snr(ts[:-1])) / 2


def discrete_bound(dynamics: Dynamics, x0: Tensor, ts: Tensor, generator: torch.Generator | None = None) -> Bound:
    """The bound of the chain that jumps from each of the times ts to the next with ``ddpm``'s Gaussians; one noise a term.

    x0: (B, ...). ts: (n,) falling times. p(x_T) = N(0, sigma_T^2), p(x0 | x_1) = N(x0_hat, (sigma_1 / alpha_1)^2).
    Raises ``ValueError`` for times that do not fall or begin where no data is left. Implements :eq:`discrete-elbo`.
    Source: Ho et al. (2020), equation 5; Kingma et al. (2021), appendix E.
    """
    path = dynamics.path
    ts = time_grid("ts", ts)
    weights = elbo_weights(path, ts)
    expect(bool(weights.isfinite().all()), "ts", f"{ts[0]:g}", "a first time at which some data is left")
    terms = [weight * _noise_error(dynamics, x0, t, generator) for t, weight in zip(ts[:-1], weights.tolist(), strict=True)]
    return Bound(_prior(path, x0, ts[0]), torch.stack(terms), _reconstruction(dynamics, x0, ts[-1], generator))


def continuous_bound(dynamics: Dynamics, x0: Tensor, draws: int = 1, generator: torch.Generator | None = None) -> Bound:
    """The limit of infinitely many steps: the integral over lam of |eps - eps_hat|^2, estimated at ``draws`` times for each x0.

    x0: (B, ...). It depends on the path only through lam at its two ends. Implements :eq:`continuous-elbo`.
    Raises ``ValueError`` for draws < 1 or a path without a finite lam at both ends.
    Source: Kingma et al. (2021), section 5.1; Song, Durkan et al. (2021), theorem 1.
    """
    draws = whole_number("draws", draws, 1)
    path, total = dynamics.path, torch.zeros(len(x0), device=x0.device, dtype=x0.dtype)
    width = float(path.lam(torch.tensor(path.t_min).double()) - path.lam(torch.tensor(path.t_max).double()))
    for _ in range(draws):
        t, _weight = importance_times(path, len(x0), generator)
        total += _noise_error(dynamics, x0, t.to(x0), generator) * (width / draws)
    first, last = (torch.tensor(t, dtype=torch.float64) for t in (path.t_max, path.t_min))
    return Bound(_prior(path, x0, first), total[None], _reconstruction(dynamics, x0, last, generator))


@torch.no_grad()
def _noise_error(dynamics: Dynamics, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Tensor:
    """|eps - eps_hat|^2 for one noise, (B,)."""
    eps = normal(x0.shape, generator, x0)
    return _square(eps - dynamics.predict(dynamics.path.marginal(x0, eps, t), t).eps)


def _prior(path: Path, x0: Tensor, t: Tensor) -> Tensor:
    """KL(N(alpha x0, sigma^2) || N(0, sigma^2)), (B,)."""
    return path.log_snr(t).exp().item() / 2 * _square(x0)


@torch.no_grad()
def _reconstruction(dynamics: Dynamics, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Tensor:
    """-log N(x0; x0_hat(x_t), (sigma / alpha)^2), (B,)."""
    x = dynamics.path.marginal(x0, normal(x0.shape, generator, x0), t)
    variance = math.exp(-dynamics.path.log_snr(t).item())
    error = _square(x0 - dynamics.predict(x, t).x0)
    return error / (2 * variance) + x0[0].numel() / 2 * math.log(2 * math.pi * variance)


def _square(x: Tensor) -> Tensor:
    return rows(x**2).sum(1)
