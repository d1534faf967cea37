"""From the predicted data and noise at t to the state at s: DDIM, and DDPM's ancestral sampling."""

import math
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..broadcast import mix
from ..dynamics import Dynamics
from ..errors import expect
from ..path import Moment
from ..runtime import normal
from .loop import Step, wants


@wants("generator")
def ddim(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: None = None,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, None]:
    """Predict x0 and eps, put them together again at s; eta swaps a part of eps for fresh noise. Implements :eq:`ddim`.

    eta 0 is deterministic, 1 has the variance of ``ddpm``. Raises ``ValueError`` for a negative eta, one that asks for more
    noise than there is at s, and, unless eta is 0, for a step away from data.
    Source: Song et al., Denoising Diffusion Implicit Models (2021), equations 12 and 16.
    """
    expect(eta >= 0, "eta", eta, "a number >= 0 (0 = deterministic, 1 = ddpm's variance)")
    p, there = dynamics.predict(x, t), dynamics.path.at(s)
    if eta == 0:
        return mix(there.alpha, p.x0, there.sigma, p.eps), None
    towards_data(t, s)
    fresh = eta * _posterior_std(dynamics.path.at(t), there)
    expect(fresh <= there.sigma * (1 + 1e-9), "eta", eta, "less fresh noise than there is noise at s")
    kept = math.sqrt(max(there.sigma**2 - fresh**2, 0.0))
    return mix(there.alpha, p.x0, kept, p.eps).add(normal(x.shape, generator, x), alpha=fresh), None


@wants("generator")
def ddpm(
    dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None, *, generator: torch.Generator | None = None
) -> tuple[Tensor, None]:
    """Ancestral sampling: draw x_s from the exact Gaussian q(x_s | x_t, x0) at the predicted x0. Implements :eq:`posterior`.

    Source: Ho et al., Denoising Diffusion Probabilistic Models (2020), equations 6 and 7, for any pair of times.
    Raises ``ValueError`` unless s < t.
    """
    towards_data(t, s)
    x0, here, there = dynamics.predict(x, t).x0, dynamics.path.at(t), dynamics.path.at(s)
    keep = here.alpha * there.sigma**2 / (there.alpha * here.sigma**2)
    mean = mix(keep, x, there.alpha - keep * here.alpha, x0)
    return mean.add(normal(x.shape, generator, x), alpha=_posterior_std(here, there)), None


def towards_data(t: Tensor, s: Tensor) -> None:
    expect(bool(s < t), "s", f"{float(s):g} after t={float(t):g}", "an earlier time: a step with noise goes towards data only")


def _posterior_std(here: Moment, there: Moment) -> float:
    """The standard deviation of q(x_s | x_t, x0): sigma_s sqrt(1 - (alpha_t sigma_s / alpha_s sigma_t)^2)."""
    ratio = here.alpha * there.sigma / (there.alpha * here.sigma)
    return there.sigma * math.sqrt(max(1 - ratio**2, 0.0))


def or_ddim(step: Step) -> Step:
    """The step, but ``ddim``'s where no data is left (alpha = 0, lam infinite) at one of its ends; then it starts anew."""

    @wraps(step)
    def guarded(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: Any = None, **options: Any) -> tuple[Tensor, Any]:
        if dynamics.path.at(t).alpha == 0 or dynamics.path.at(s).alpha == 0:
            return ddim(dynamics, x, t, s)
        return step(dynamics, x, t, s, memory, **options)

    return guarded
