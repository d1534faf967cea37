"""Data sets by name."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import choose, whole_number
from .digits import load_digits
from .folder import load_folder
from .icons import load_icons
from .memory import InMemory
from .openml import SOURCES, load_openml
from .photos import load_photos, photo, photo_crop, photo_names
from .points import load_points, six_gaussians, three_arms
from .shapes import load_shapes

LOADERS: dict[str, Callable[..., InMemory]] = {
    "digits": load_digits,
    "photos": load_photos,
    "shapes": load_shapes,
    "icons": load_icons,
    "points": load_points,
    "folder": load_folder,
    **{name: partial(load_openml, name) for name in SOURCES},
}


def load(name: str, split: str = "train", size: int | None = None, **options: Any) -> InMemory:
    """A data set by name: images in [-1, 1] with labels, captions or masks, or points in the plane.

    "digits" (handwritten), "photos" (crops of real photographs), "shapes" (rendered scenes), "icons" (named pictograms), "points"
    (2-D toy data): with the library. "mnist", "fashion_mnist", "cifar10": downloaded when first asked for. "folder": your own
    pictures, path=...
    split: "train" or "test", which never share an example. size: the side of the images in pixels. The other options are
    those of ``LOADERS[name]``. Raises ``ValueError`` for an unknown name, split, size or option.
    """
    loader = choose("name", name, LOADERS)
    choose("split", split, {"train": 0, "test": 1})
    size = None if size is None else whole_number("size", size, 1, what="a whole number of pixels")
    known = {p: p for p in inspect.signature(loader).parameters if p not in ("split", "size")}
    for option in options:
        choose(f"option of {name!r}", option, known)
    return loader(split, size, **options)


__all__ = ["LOADERS", "InMemory", "load", "photo", "photo_crop", "photo_names", "six_gaussians", "three_arms"]
