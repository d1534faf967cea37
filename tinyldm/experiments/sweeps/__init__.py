"""One number moved, everything measured: the KL weight on points and on digits, and other middles; doors for a condition.

A row is one training, of an autoencoder and of a denoiser on its latents, or of a denoiser. ``table`` returns the rows that
come with the library; ``python -m tinyldm.experiments.sweeps points``, ``... digits`` and ``... doors`` make them again.
"""

from pathlib import Path as FilePath
from typing import Any

from ...errors import choose
from ...files import read_json
from .digits import digits_row
from .doors import doors_row
from .points import on_data, points_row

Row = dict[str, Any]
HERE = FilePath(__file__).parent
SWEEPS = {"points": points_row, "digits": digits_row, "doors": doors_row}


def card(name: str) -> dict[str, Any]:
    """What came with the library under this name, "points", "digits" or "doors": command, budgets, seconds, and the rows.

    Raises ``ValueError`` for another name.
    """
    choose("name", name, SWEEPS)
    return read_json(HERE / f"{name}.json")


def table(name: str) -> list[Row]:
    """The rows of a sweep, "points", "digits" or "doors". Raises ``ValueError`` for another name."""
    return card(name)["rows"]


def column(rows: list[Row], kind: str, key: str, weights: list[float] | None = None) -> list[list[float]]:
    """The values under ``key`` of the rows of one kind, a list for each weight, in it one number for each seed."""
    chosen = [row for row in rows if row["kind"] == kind]
    found = sorted({row["weight"] for row in chosen}) if weights is None else weights
    return [[row[key] for row in chosen if row["weight"] == weight] for weight in found]


__all__ = ["SWEEPS", "card", "column", "digits_row", "doors_row", "on_data", "points_row", "table"]
