"""Top floor. Pictures and sliders; only notebooks and the book import these."""

from .plots import COLORS, board, contact_sheet, curves, figure, gray, noising, pipeline
from .widgets import flipbook, live

__all__ = ["COLORS", "board", "contact_sheet", "curves", "figure", "flipbook", "gray", "live", "noising", "pipeline"]
