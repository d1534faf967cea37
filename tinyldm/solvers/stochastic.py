"""Steps with fresh noise: ancestral sampling, the reverse SDE, Langevin's correction at a fixed time."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..dynamics import Dynamics
from ..errors import expect, whole_number
from ..path import Moment
from ..runtime import normal
from ..shapes import mix
from .loop import Step


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

    eta 0 is deterministic, 1 has the variance of ``ddpm``.
    Source: Song et al., Denoising Diffusion Implicit Models (2021), equations 12 and 16.
    """
    expect(eta >= 0, "eta", eta, "a number >= 0 (0 = deterministic, 1 = ddpm's variance)")
    p, there = dynamics.predict(x, t), dynamics.path.at(s)
    if eta == 0:
        return mix(there.alpha, p.x0, there.sigma, p.eps), None
    _towards_data(t, s)
    fresh = eta * _posterior_std(dynamics.path.at(t), there)
    expect(fresh <= there.sigma * (1 + 1e-9), "eta", eta, "less fresh noise than there is noise at s")
    kept = math.sqrt(max(there.sigma**2 - fresh**2, 0.0))
    return mix(there.alpha, p.x0, kept, p.eps).add(normal(x.shape, generator, x), alpha=fresh), None


def ddpm(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: None = None,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, None]:
    """Ancestral sampling: draw x_s from the exact Gaussian q(x_s | x_t, x0) at the predicted x0. Implements :eq:`posterior`.

    Source: Ho et al., Denoising Diffusion Probabilistic Models (2020), equations 6 and 7, for any pair of times.
    """
    _towards_data(t, s)
    x0, here, there = dynamics.predict(x, t).x0, dynamics.path.at(t), dynamics.path.at(s)
    keep = here.alpha * there.sigma**2 / (there.alpha * here.sigma**2)
    mean = mix(keep, x, there.alpha - keep * here.alpha, x0)
    return mean.add(normal(x.shape, generator, x), alpha=_posterior_std(here, there)), None


def _towards_data(t: Tensor, s: Tensor) -> None:
    expect(
        bool(s < t),
        "s",
        f"{float(s):g} after t={float(t):g}",
        "an earlier time: a step with noise goes towards data only",
    )


def _posterior_std(here: Moment, there: Moment) -> float:
    """The standard deviation of q(x_s | x_t, x0): sigma_s sqrt(1 - (alpha_t sigma_s / alpha_s sigma_t)^2)."""
    ratio = here.alpha * there.sigma / (there.alpha * here.sigma)
    return there.sigma * math.sqrt(max(1 - ratio**2, 0.0))


def euler_maruyama(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: None = None,
    *,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, None]:
    """One step of the reverse SDE: drift times s - t, which is negative, noise times sqrt(t - s).

    Implements :eq:`euler-maruyama`. eta: noise level of ``Dynamics.reverse``; 1 is Anderson's SDE, 0 is ``euler``.
    Source: Song et al. (2021), appendix E, in its simplest form.
    """
    h = (s - t).item()
    drift, diffusion = dynamics.reverse(x, t, eta)
    moved = x.add(drift, alpha=h)
    if eta == 0:
        return moved, None
    _towards_data(t, s)
    return moved.addcmul(diffusion, normal(x.shape, generator, x), value=math.sqrt(abs(h))), None


def langevin(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: None = None,
    *,
    snr: float = 0.16,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, None]:
    """One step of Langevin dynamics at time s: uphill along the score, and noise. It leaves p_s where it is.

    Implements :eq:`langevin`.
    snr: step = 2 (snr sigma_s)^2, the ratio that Song et al. (2021, algorithms 4 and 5) measure on each sample taken at its
    expectation, |eps| / |score| = sigma, so that a sample near a mode, where the score vanishes, is not thrown away.
    On a falling grid this is annealed Langevin dynamics (Song and Ermon 2019, algorithm 1).
    """
    expect(snr > 0, "snr", snr, "a number > 0")
    step = 2 * (snr * dynamics.path.at(s).sigma) ** 2
    return x.add(dynamics.score(x, s), alpha=step).add(normal(x.shape, generator, x), alpha=math.sqrt(2 * step)), None


def predictor_corrector(predictor: Step, corrector: Step, n: int = 1) -> Step:
    """A step that moves from t to s with ``predictor`` and then takes n steps of ``corrector`` at s.

    Source: Song et al. (2021), section 4.2, algorithm 1. Raises ``ValueError`` for n < 0.
    """
    return partial(_predict_correct, predictor=predictor, corrector=corrector, n=whole_number("n", n, 0))


def _predict_correct(
    dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: Any = None, *, predictor: Step, corrector: Step, n: int
) -> tuple[Tensor, Any]:
    x, memory = predictor(dynamics, x, t, s, memory)
    for _ in range(n):
        x, _ = corrector(dynamics, x, s, s, None)
    return x, memory
