"""One loop, and steps that are pure functions of (dynamics, x, t, s, memory): from time t to time s.

A step's memory is explicit: None at the start, then whatever the step handed back.
Options of a step (``eta``, ``order``, ``generator``) are fixed with ``functools.partial``; what only the caller knows is
handed to those that want it, see ``wants``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..dynamics import Dynamics
from ..errors import expect, time_grid
from ..path import Path

Step = Callable[..., tuple[Tensor, Any]]
Callback = Callable[[int, Tensor, Tensor], None]


class Solver:
    """Carries x along a grid of times. ``fixed(step)`` makes one."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __call__(self, dynamics: Dynamics, x: Tensor, ts: Tensor, callback: Callback | None = None) -> Tensor:
        """The state at ts[-1], (B, ...), from x at ts[0]. Nothing is checked here, see ``sample``."""
        memory, counts = None, asks(self.step, "left")
        for i in range(len(ts) - 1):
            step = partial(self.step, left=len(ts) - 2 - i) if counts else self.step
            x, memory = step(dynamics, x, ts[i], ts[i + 1], memory)
            if callback is not None:
                callback(i, ts[i + 1], x)
        return x


def fixed(step: Step) -> Solver:
    """The solver that takes one ``step`` for each interval of the grid, and tells it how many are left if it wants to know."""
    return Solver(step)


def wants(*options: str) -> Callable[[Step], Step]:
    """Say of a step what it wants to be told: "generator", its source of chance; "left", how many steps are still to come."""

    def mark(step: Step) -> Step:
        step.wants = options  # type: ignore[attr-defined]
        return step

    return mark


def asks(step: Any, option: str) -> bool:
    """Whether a step wants to be told this, and has not been told yet."""
    while isinstance(step, partial):
        if option in step.keywords:
            return False
        step = step.func
    return option in getattr(step, "wants", ())


def told(step: Step, **known: Any) -> Step:
    """The step with those of the ``known`` options fixed that it asks for."""
    wanted = {option: value for option, value in known.items() if asks(step, option)}
    return partial(step, **wanted) if wanted else step


def sample(
    dynamics: Dynamics, x: Tensor, ts: Tensor, solver: Solver | Step, *, denoise: bool = True, callback: Callback | None = None
) -> Tensor:
    """Carry x from ts[0] to ts[-1], then (``denoise``) return the x0 predicted there: Tweedie's mean.

    x: (B, ...), noise of standard deviation sigma(ts[0]). ts: falling times within the path's usable range; they may
    begin at 1 even where that range ends earlier, with a row and a solver that do not divide by alpha.
    solver: a ``Solver`` or a bare step. callback(i, s, x) sees the state after step i, at time s.
    Raises ``ValueError`` for x that are no floats, a grid that does not fall or leaves the range, or a solver that is none;
    ``FloatingPointError`` when the result is not finite.

    >>> path, data = tl.VP(), tl.GaussianMixture(torch.ones(1), torch.tensor([[3.0]]), torch.tensor([0.1]))
    >>> tl.sample(tl.Dynamics(path, data.predict(path)), torch.randn(500, 1), tl.grid(path, 20), tl.ddim).mean().round()
    tensor(3.)
    """
    x = _run(dynamics, x, _grid(ts, dynamics.path), solver, callback, denoise)
    return _finite(x)


def invert(dynamics: Dynamics, x: Tensor, ts: Tensor, solver: Solver | Step, *, callback: Callback | None = None) -> Tensor:
    """The same grid climbed from ts[-1] to ts[0]: the noise that a deterministic solver would turn into x.

    x: (B, ...), data at time ts[-1]. ts: falling, as for ``sample``. With ``ddim`` this is DDIM inversion; it is exact in the
    limit of many steps. Raises what ``sample`` raises.
    Source: Song et al., Denoising Diffusion Implicit Models (2021), section 4.3.
    """
    return _finite(_run(dynamics, x, _grid(ts, dynamics.path).flip(0), solver, callback, denoise=False))


@torch.no_grad()
def _run(dynamics: Dynamics, x: Tensor, ts: Tensor, solver: Solver | Step, callback: Callback | None, denoise: bool) -> Tensor:
    expect(x.is_floating_point(), "x", x.dtype, "floating-point numbers")
    expect(isinstance(solver, Solver) or callable(solver), "solver", repr(solver), "a Solver or a step")
    x = (solver if isinstance(solver, Solver) else fixed(solver))(dynamics, x, ts, callback)
    return dynamics.predict(x, ts[-1]).x0 if denoise else x


def _finite(x: Tensor) -> Tensor:
    if not torch.isfinite(x).all():
        raise FloatingPointError(
            "the solver diverged: the result is not finite; use more steps, a lower guidance or another solver"
        )
    return x


def _grid(ts: Tensor, path: Path) -> Tensor:
    ts = time_grid("ts", ts)
    low, high = path.t_min * (1 - 1e-6), max(path.t_max, 1.0) * (1 + 1e-6)
    expect(bool(ts[0] <= high and ts[-1] >= low), "ts", f"[{ts[-1]:g}, {ts[0]:g}]", f"times in [{path.t_min:g}, {path.t_max:g}]")
    return ts
