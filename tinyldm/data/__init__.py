"""Floor 5. Data sets by name."""

from typing import Any

from ..errors import choose, whole_number
from .digits import load_digits
from .memory import InMemory
from .photos import load_photos, photo, photo_crop, photo_names
from .points import load_points, six_gaussians
from .shapes import load_shapes

LOADERS = {"digits": load_digits, "photos": load_photos, "points": load_points, "shapes": load_shapes}


def load(name: str, split: str = "train", size: int | None = None, **options: Any) -> InMemory:
    """A data set by name: images in [-1, 1] with labels, captions or masks, or points in the plane.

    "digits" (handwritten), "photos" (crops of real photographs), "shapes" (rendered scenes), "points" (2-D toy data).

    split: "train" or "test", which never share an example. size: the side of the images in pixels.
    Raises ``ValueError`` for an unknown name, split or size.
    """
    loader = choose("name", name, LOADERS)
    choose("split", split, {"train": 0, "test": 1})
    size = None if size is None else whole_number("size", size, 1, what="a whole number of pixels")
    return loader(split, size, **options)


__all__ = ["LOADERS", "InMemory", "load", "photo", "photo_crop", "photo_names", "six_gaussians"]
