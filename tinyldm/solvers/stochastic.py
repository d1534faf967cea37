"""Steps of stochastic differential equations: the reverse SDE, and Langevin's correction at a fixed time."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..dynamics import Dynamics
from ..errors import expect, whole_number
from ..runtime import normal
from .ddim import towards_data
from .loop import Step, told, wants


@wants("generator")
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
    Raises what ``Dynamics.reverse`` raises, and ``ValueError`` for a step away from data unless eta is 0.
    Source: Song et al. (2021), appendix E, in its simplest form.
    """
    h = (s - t).item()
    drift, diffusion = dynamics.reverse(x, t, eta)
    moved = x.add(drift, alpha=h)
    if eta == 0:
        return moved, None
    towards_data(t, s)
    return moved.addcmul(diffusion, normal(x.shape, generator, x), value=math.sqrt(abs(h))), None


@wants("generator")
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
    snr: step = 2 (snr sigma_s)^2, the ratio that Song et al. measure on each sample taken at its expectation,
    |eps| / |score| = sigma, so that a sample near a mode, where the score vanishes, is not thrown away.
    On a falling grid this is annealed Langevin dynamics. Raises ``ValueError`` for snr <= 0 or s without noise.
    Source: Song et al. (2021), algorithms 4 and 5; Song and Ermon (2019), algorithm 1.
    """
    expect(snr > 0, "snr", snr, "a number > 0")
    step = 2 * (snr * dynamics.path.at(s).sigma) ** 2
    return x.add(dynamics.score(x, s), alpha=step).add(normal(x.shape, generator, x), alpha=math.sqrt(2 * step)), None


def predictor_corrector(predictor: Step, corrector: Step, n: int = 1) -> Step:
    """A step that moves from t to s with ``predictor`` and then takes n steps of ``corrector`` at s.

    Source: Song et al. (2021), section 4.2, algorithm 1. Raises ``ValueError`` for n < 0.
    """
    return partial(_predict_correct, predictor=predictor, corrector=corrector, n=whole_number("n", n, 0))


@wants("generator", "left")
def _predict_correct(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: Any = None,
    *,
    predictor: Step,
    corrector: Step,
    n: int,
    **known: Any,
) -> tuple[Tensor, Any]:
    x, memory = told(predictor, **known)(dynamics, x, t, s, memory)
    correct = told(corrector, **known)
    for _ in range(n):
        x, _ = correct(dynamics, x, s, s, None)
    return x, memory
