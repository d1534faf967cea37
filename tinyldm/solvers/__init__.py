"""How noise is carried to data: one loop and its steps, the times it visits, and what flow matching adds."""

from .adaptive import Adaptive, rk45
from .ddim import ddim, ddpm
from .exp_abm import exp_abm
from .explicit import euler, heun
from .flow import coupling, on_path, straightness
from .grids import GRIDS, grid, timesteps
from .loop import Callback, Solver, Step, fixed, invert, sample
from .multistep import dpmpp_2m, exp_ab, unipc
from .stochastic import euler_maruyama, langevin, predictor_corrector

STEPS: dict[str, Step] = {
    step.__name__: step for step in (euler, heun, ddim, ddpm, dpmpp_2m, exp_ab, exp_abm, unipc, euler_maruyama)
}

__all__ = [
    "GRIDS",
    "STEPS",
    "Adaptive",
    "Callback",
    "Solver",
    "Step",
    "coupling",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "euler",
    "euler_maruyama",
    "exp_ab",
    "exp_abm",
    "fixed",
    "grid",
    "heun",
    "invert",
    "langevin",
    "on_path",
    "predictor_corrector",
    "rk45",
    "sample",
    "straightness",
    "timesteps",
    "unipc",
]
