"""Floor 4. One loop and its steps: along the ODE, with fresh noise, multistep, adaptive."""

from .adaptive import Adaptive, rk45
from .circle import ending, exp_abm
from .explicit import euler, heun
from .loop import Callback, Solver, Step, fixed, invert, sample
from .multistep import dpmpp_2m, exp_ab, unipc
from .stochastic import ddim, ddpm, euler_maruyama, langevin, predictor_corrector

STEPS: dict[str, Step] = {
    step.__name__: step for step in (euler, heun, ddim, ddpm, dpmpp_2m, exp_ab, exp_abm, unipc, euler_maruyama)
}

__all__ = [
    "STEPS",
    "Adaptive",
    "Callback",
    "Solver",
    "Step",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "ending",
    "euler",
    "euler_maruyama",
    "exp_ab",
    "exp_abm",
    "fixed",
    "heun",
    "invert",
    "langevin",
    "predictor_corrector",
    "rk45",
    "sample",
    "unipc",
]
