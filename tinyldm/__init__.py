"""Latent diffusion as a textbook that runs: every formula of the book is a function here."""

import importlib
from typing import Any

from .broadcast import expand
from .denoiser import Denoiser
from .dynamics import Dynamics
from .gaussian import (
    DiagonalGaussian,
    GaussianMixture,
    aggregate_log_prob,
    kl_diagonal_gaussians,
    kl_split,
    lerp,
    reparameterize,
    slerp,
)
from .guidance import Guidance, guided
from .latent import LatentDiffusion
from .likelihood import log_likelihood
from .nn import Condition, pack, sdxl_vector, unpack
from .path import VE, VP, CosineVP, DiscreteVP, Path, RectifiedFlow, SubVP, diffuse
from .prediction import PARAMETRISATIONS, Predict, Prediction, resolve, target
from .runtime import device, scale, seeded
from .solvers import (
    Solver,
    ddim,
    ddpm,
    dpmpp_2m,
    euler,
    euler_maruyama,
    exp_ab,
    exp_abm,
    fixed,
    grid,
    heun,
    invert,
    langevin,
    predictor_corrector,
    rk45,
    sample,
    timesteps,
    unipc,
)
from .space import LatentSpace
from .text import Text

__version__ = "0.1.0"

SUBMODULES = ("data", "exercises", "experiments", "losses", "metrics", "train", "viz", "zoo")


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first asked for, so that ``import tinyldm`` stays about as quick as torch."""
    if name in SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'tinyldm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *SUBMODULES])


__all__ = [
    "PARAMETRISATIONS",
    "VE",
    "VP",
    "Condition",
    "CosineVP",
    "Denoiser",
    "DiagonalGaussian",
    "DiscreteVP",
    "Dynamics",
    "GaussianMixture",
    "Guidance",
    "LatentDiffusion",
    "LatentSpace",
    "Path",
    "Predict",
    "Prediction",
    "RectifiedFlow",
    "Solver",
    "SubVP",
    "Text",
    "aggregate_log_prob",
    "ddim",
    "ddpm",
    "device",
    "diffuse",
    "dpmpp_2m",
    "euler",
    "euler_maruyama",
    "exp_ab",
    "exp_abm",
    "expand",
    "fixed",
    "grid",
    "guided",
    "heun",
    "invert",
    "kl_diagonal_gaussians",
    "kl_split",
    "langevin",
    "lerp",
    "log_likelihood",
    "pack",
    "predictor_corrector",
    "reparameterize",
    "resolve",
    "rk45",
    "sample",
    "scale",
    "sdxl_vector",
    "seeded",
    "slerp",
    "target",
    "timesteps",
    "unipc",
    "unpack",
]
