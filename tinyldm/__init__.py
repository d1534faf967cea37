"""Latent diffusion as a textbook that runs: every formula of the book is a function here."""

import importlib
from typing import Any

from .condition import Condition
from .denoiser import Denoiser, guided
from .dynamics import Dynamics
from .gaussian import DiagonalGaussian, reparameterize
from .grids import grid
from .latent import LatentDiffusion, LatentSpace
from .path import VP, Path, RectifiedFlow
from .prediction import PARAMETRIZATIONS, Predict, Prediction, resolve, target
from .runtime import device, scale, seeded
from .shapes import expand
from .solvers import Solver, ddim, ddpm, dpmpp_2m, euler, fixed, heun, sample

__version__ = "0.1.0"

SUBMODULES = ("data", "exercises", "losses", "metrics", "nn", "recipes", "train", "viz", "zoo")


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first asked for, so that ``import tinyldm`` stays about as quick as torch."""
    if name in SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'tinyldm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *SUBMODULES])


__all__ = [
    "PARAMETRIZATIONS",
    "VP",
    "Condition",
    "Denoiser",
    "DiagonalGaussian",
    "Dynamics",
    "LatentDiffusion",
    "LatentSpace",
    "Path",
    "Predict",
    "Prediction",
    "RectifiedFlow",
    "Solver",
    "ddim",
    "ddpm",
    "device",
    "dpmpp_2m",
    "euler",
    "expand",
    "fixed",
    "grid",
    "guided",
    "heun",
    "reparameterize",
    "resolve",
    "sample",
    "scale",
    "seeded",
    "target",
]
