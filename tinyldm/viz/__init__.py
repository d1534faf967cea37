"""Pictures and sliders; only notebooks and the book import these."""

from .architecture import Part, architecture, parts
from .blocks import blocks, pieces
from .plots import COLORS, board, color, contact_sheet, curves, figure, gray, noising, pipeline, save_png
from .points import cloud, convergence, density, trajectories
from .widgets import flipbook, live

__all__ = [
    "COLORS",
    "Part",
    "architecture",
    "blocks",
    "board",
    "cloud",
    "color",
    "contact_sheet",
    "convergence",
    "curves",
    "density",
    "figure",
    "flipbook",
    "gray",
    "live",
    "noising",
    "parts",
    "pieces",
    "pipeline",
    "save_png",
    "trajectories",
]
