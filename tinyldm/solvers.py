"""Floor 4. One loop, and steps that are pure functions of (dynamics, x, t, s, memory): from time t down to s.

A step's memory is explicit: None at the start, then whatever the step handed back.
Options of a step (``eta``, ``generator``) are fixed with ``functools.partial``.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .dynamics import Dynamics
from .errors import expect
from .path import Path
from .runtime import normal

Step = Callable[..., tuple[Tensor, Any]]
Callback = Callable[[int, Tensor, Tensor], None]


class Solver:
    """Carries x along a grid of times. ``fixed(step)`` makes one."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __call__(self, dynamics: Dynamics, x: Tensor, ts: Tensor, callback: Callback | None = None) -> Tensor:
        memory = None
        for i, (t, s) in enumerate(pairwise(ts)):
            x, memory = self.step(dynamics, x, t, s, memory)
            if callback is not None:
                callback(i, s, x)
        return x


def fixed(step: Step) -> Solver:
    """The solver that takes one ``step`` for each interval of the grid."""
    return Solver(step)


def sample(
    dynamics: Dynamics,
    x: Tensor,
    ts: Tensor,
    solver: Solver | Step,
    *,
    denoise: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Carry x from ts[0] to ts[-1], then (``denoise``) return the x0 predicted there: Tweedie's mean.

    x: (B, ...), noise of standard deviation sigma(ts[0]). ts: falling times within the path's usable range.
    solver: a ``Solver`` or a bare step. callback(i, s, x) sees the state after step i, at time s.
    Raises ``ValueError`` for a grid that does not fall or leaves the range, ``FloatingPointError`` when the result is not finite.
    """
    ts = torch.as_tensor(ts).detach().to("cpu", torch.float64)
    _check_grid(ts, dynamics.path)
    if not isinstance(solver, Solver):
        solver = fixed(solver)
    with torch.no_grad():
        x = solver(dynamics, x, ts, callback)
        if denoise:
            x = dynamics.predict(x, ts[-1]).x0
    if not torch.isfinite(x).all():
        raise FloatingPointError(
            "the solver diverged: the result is not finite; use more steps, a lower guidance or another solver"
        )
    return x


def _check_grid(ts: Tensor, path: Path) -> None:
    low, high = path.t_min * (1 - 1e-6), path.t_max * (1 + 1e-6)
    expect(ts.ndim == 1 and len(ts) >= 2, "ts", f"shape {tuple(ts.shape)}", "a vector of at least two times")
    expect(bool((ts[1:] < ts[:-1]).all()), "ts", ts.tolist(), "strictly decreasing times")
    expect(
        bool(ts[0] <= high and ts[-1] >= low),
        "ts",
        f"[{ts[-1]:g}, {ts[0]:g}]",
        f"times in [{path.t_min:g}, {path.t_max:g}]",
    )


def euler(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Follow the velocity at t as far as s. Order 1. Implements :eq:`euler`."""
    return x + (s - t) * dynamics.velocity(x, t), None


def heun(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Average the velocities at both ends: two evaluations, order 2 (Karras et al. 2022, algorithm 1)."""
    here = dynamics.velocity(x, t)
    there = dynamics.velocity(x + (s - t) * here, s)
    return x + (s - t) / 2 * (here + there), None


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
    path, p = dynamics.path, dynamics.predict(x, t)
    alpha, sigma = path.alpha(s), path.sigma(s)
    if eta == 0:
        return alpha * p.x0 + sigma * p.eps, None
    fresh = eta * _posterior_std(path, t, s)
    kept = torch.sqrt((sigma**2 - fresh**2).clamp(min=0))
    return alpha * p.x0 + kept * p.eps + fresh * normal(x.shape, generator, x), None


def ddpm(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: None = None,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, None]:
    """Ancestral sampling: draw x_s from the exact Gaussian q(x_s | x_t, x0) at the predicted x0.

    Source: Ho et al., Denoising Diffusion Probabilistic Models (2020), equations 6 and 7, for any pair of times.
    """
    path, x0 = dynamics.path, dynamics.predict(x, t).x0
    ratio = path.alpha(t) / path.alpha(s)
    keep = ratio * path.sigma(s) ** 2 / path.sigma(t) ** 2
    mean = keep * x + (path.alpha(s) - keep * path.alpha(t)) * x0
    return mean + _posterior_std(path, t, s) * normal(x.shape, generator, x), None


def _posterior_std(path: Path, t: Tensor, s: Tensor) -> Tensor:
    """The standard deviation of q(x_s | x_t, x0): sigma_s sqrt(1 - (alpha_t sigma_s / alpha_s sigma_t)^2)."""
    ratio = path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))
    return path.sigma(s) * torch.sqrt(1 - ratio**2)


def dpmpp_2m(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: tuple | None = None) -> tuple[Tensor, tuple]:
    """DPM-Solver++(2M): an exponential step in lam with x0 extrapolated from the last two predictions. Order 2.

    Source: Lu et al., DPM-Solver++ (2022), algorithm 2.
    """
    path, x0 = dynamics.path, dynamics.predict(x, t).x0
    h = path.lam(s) - path.lam(t)
    slope = x0
    if memory is not None:
        last_x0, last_h = memory
        slope = x0 + h / (2 * last_h) * (x0 - last_x0)
    return path.sigma(s) / path.sigma(t) * x - path.alpha(s) * torch.expm1(-h) * slope, (x0, h)


STEPS: dict[str, Step] = {step.__name__: step for step in (euler, heun, ddim, ddpm, dpmpp_2m)}
