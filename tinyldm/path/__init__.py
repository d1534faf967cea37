"""Paths from data to noise: alpha and sigma as functions of a time in [0, 1]; the forward SDE."""

from .base import Moment, Path
from .check import check_path
from .continuous import VE, VP, CosineVP, RectifiedFlow, SubVP
from .discrete import DiscreteVP
from .forward import diffuse

PATHS: dict[str, type[Path]] = {path.__name__: path for path in (VP, SubVP, VE, CosineVP, RectifiedFlow, DiscreteVP)}

__all__ = ["PATHS", "VE", "VP", "CosineVP", "DiscreteVP", "Moment", "Path", "RectifiedFlow", "SubVP", "check_path", "diffuse"]
