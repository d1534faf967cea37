"""SciPy's adaptive integrators: they choose their own times between those of the grid."""

import numpy as np
import torch
from torch import Tensor

from ..dynamics import Dynamics
from ..errors import choose, expect
from .loop import Callback, Solver

METHODS = ("RK45", "DOP853", "RK23", "LSODA", "Radau", "BDF")


class Adaptive(Solver):
    """The whole batch as one system of equations, in float64, by ``scipy.integrate.solve_ivp``.

    ``evaluations`` counts the calls of the velocity in the last run. rtol, atol, method, and what it raises: see ``rk45``.
    """

    def __init__(self, rtol: float, atol: float, method: str) -> None:
        expect(rtol > 0 and atol > 0, "rtol, atol", (rtol, atol), "numbers > 0")
        self.rtol, self.atol = rtol, atol
        self.method = choose("method", method, {name: name for name in METHODS})
        self.evaluations = 0

    def __call__(self, dynamics: Dynamics, x: Tensor, ts: Tensor, callback: Callback | None = None) -> Tensor:
        """The state at ts[-1], (B, ...), from x at ts[0]; the callback sees the times of the grid in between, and the last.

        Raises ``ValueError`` for x that is not finite, ``FloatingPointError`` when a velocity is not or SciPy gives up.
        """
        from scipy.integrate import solve_ivp  # here, so that the library's import does not wait for it

        expect(bool(torch.isfinite(x).all()), "x", "NaN or infinity", "finite numbers")

        def velocity(t: float, y: np.ndarray) -> np.ndarray:
            state = torch.from_numpy(y).to(x).reshape(x.shape)
            slope = dynamics.velocity(state, torch.tensor(t, dtype=torch.float64)).double().cpu().numpy().ravel()
            if not np.isfinite(slope).all():
                raise FloatingPointError(f"the solver diverged: the velocity is not finite at t={t:g}")
            return slope

        found = solve_ivp(
            velocity,
            (ts[0].item(), ts[-1].item()),
            x.double().cpu().numpy().ravel(),
            method=self.method,
            t_eval=ts.tolist(),
            rtol=self.rtol,
            atol=self.atol,
        )
        self.evaluations = found.nfev
        if not found.success:
            raise FloatingPointError(f"the solver diverged: {found.message}")
        states = torch.from_numpy(np.ascontiguousarray(found.y.T)).to(x).reshape(-1, *x.shape)
        if callback is not None:
            for i, (s, state) in enumerate(zip(ts[1:], states[1:], strict=True)):
                callback(i, s, state)
        return states[-1]


def rk45(rtol: float = 1e-6, atol: float = 1e-6, method: str = "RK45") -> Solver:
    """An adaptive Runge-Kutta solver of order 5 with an error estimate of order 4; method "DOP853" is of order 8.

    rtol, atol: the error allowed in one step, relative and absolute. Source: Dormand and Prince (1980), through SciPy.
    Raises ``ValueError`` for tolerances <= 0 or a method that SciPy does not have.
    """
    return Adaptive(rtol, atol, method)
