"""Pictograms that people drew and named, from a font: black on white, "rocket launch outline". Some compositions are held out."""

from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from ..errors import whole_number
from .memory import InMemory

HELD_OUT = "icons-test.txt"  # the names that only the test has, one a line; made by ``experiments.icons.held_out``


@cache
def icon_names() -> dict[str, str]:
    """Every icon's name, in alphabetical order -> its character in the font."""
    from fonticon_mdi7 import MDI7  # a table of names beside the font; nothing else of that package is used

    table = {name: glyph for name, glyph in vars(MDI7).items() if not name.startswith("__")}
    return {name.replace("_", " ").strip(): table[name].partition(".")[2] for name in sorted(table)}


@cache
def held_out_names() -> frozenset[str]:
    """The names that the test has: compositions of words of which each also occurs in a name that the training has."""
    return frozenset(files(__package__).joinpath(HELD_OUT).read_text(encoding="utf-8").splitlines())


def draw_icons(names: list[str], size: int) -> Tensor:
    """Pictures of named icons, (N, 1, size, size) in [-1, 1], black on white; drawn at twice the size and reduced."""
    from fonticon_mdi7 import MDI7
    from PIL import Image, ImageDraw, ImageFont

    font, table = ImageFont.truetype(MDI7.__font_file__, 2 * size), icon_names()
    drawn = []
    for name in names:
        large = Image.new("L", (2 * size, 2 * size), 255)
        ImageDraw.Draw(large).text((0, 0), table[name], font=font, fill=0)
        drawn.append(np.asarray(large.resize((size, size), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(drawn))[:, None].float() / 127.5 - 1


def load_icons(split: str, size: int | None = None) -> InMemory:
    """Named pictograms, 7,296 in all: "image" (N, 1, size, size) float32 in [-1, 1], 32 pixels unless said otherwise, and
    "caption", N names such as "rocket launch outline", in alphabetical order.

    The test has a tenth of the names: compositions of which every word occurs in a name of the training data, but not this
    composition; pictures that look alike, also mirrored or shifted, are on one side. Raises ``ValueError`` for a size below 8.
    Source: Material Design Icons 7.2.96 by Pictogrammers, Apache License 2.0, in the package fonticon-materialdesignicons7.
    """
    size = whole_number("size", 32 if size is None else size, 8)
    names = [name for name in icon_names() if (name in held_out_names()) == (split == "test")]
    return InMemory({"image": draw_icons(names, size), "caption": names})
