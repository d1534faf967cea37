"""Real photographs without a download: crops of the pictures that scikit-image, scikit-learn and Matplotlib bring along."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import choose, expect, whole_number
from ..runtime import seeded
from .memory import InMemory
from .pictures import read, resize


class Photo(NamedTuple):
    """A bundled file: ``shrink`` divides both sides of pictures that are much larger than what is sharp in them."""

    split: str
    package: str
    file: str
    shrink: int = 1


PHOTOS = {
    "astronaut": Photo("test", "skimage", "data/astronaut.png"),  # a face, cloth, a badge with small letters
    "chelsea": Photo("test", "skimage", "data/chelsea.png"),  # a cat
    "page": Photo("test", "skimage", "data/page.png"),  # a printed page
    "brick": Photo("train", "skimage", "data/brick.png"),
    "camera": Photo("train", "skimage", "data/camera.png"),
    "china": Photo("train", "sklearn", "datasets/images/china.jpg"),
    "coffee": Photo("train", "skimage", "data/coffee.png"),
    "coins": Photo("train", "skimage", "data/coins.png"),
    "flower": Photo("train", "sklearn", "datasets/images/flower.jpg"),
    "grass": Photo("train", "skimage", "data/grass.png"),
    "gravel": Photo("train", "skimage", "data/gravel.png"),
    "hopper": Photo("train", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "hubble": Photo("train", "skimage", "data/hubble_deep_field.jpg", 2),
    "ihc": Photo("train", "skimage", "data/ihc.png"),
    "motorcycle": Photo("train", "skimage", "data/motorcycle_left.png"),
    "retina": Photo("train", "skimage", "data/retina.jpg", 3),
    "rocket": Photo("train", "skimage", "data/rocket.jpg"),
    "text": Photo("train", "skimage", "data/text.png"),  # letters written by hand
}


class Crop(NamedTuple):
    """A square of a photograph, in its pixels."""

    photo: str
    top: int
    left: int
    side: int


CROPS = {  # the eyes and the letters that the chapters look at: all from the test split
    "astronaut-eyes": Crop("astronaut", 74, 193, 64),
    "astronaut-face": Crop("astronaut", 14, 155, 144),
    "astronaut-badge": Crop("astronaut", 345, 131, 80),
    "astronaut-name": Crop("astronaut", 326, 272, 64),
    "chelsea-eye": Crop("chelsea", 76, 131, 80),
    "chelsea-face": Crop("chelsea", 30, 125, 224),
    "page-title": Crop("page", 2, 84, 64),
    "page-text": Crop("page", 48, 4, 64),
}
SCALES = (1.0, 0.7, 0.5)  # a crop is taken from the photograph at one of these sizes


def photo_names(split: str) -> list[str]:
    """The names of the photographs of a split, "train" or "test"; a crop's label is an index into this list.

    Raises ``ValueError`` for another split.
    """
    choose("split", split, {"train": 0, "test": 1})
    return [name for name, photo in PHOTOS.items() if photo.split == split]


@cache
def _levels(name: str) -> tuple[Tensor, ...]:
    """A photograph at each of ``SCALES``, (3, H, W) in [-1, 1]; shared, so not to be written to."""
    bundled = choose("name", name, PHOTOS)
    package = find_spec(bundled.package)
    file = Path((package and package.origin) or "").parent / bundled.file
    found = f"{name!r}, but {bundled.package} brings no {bundled.file} here"
    expect(file.is_file(), "name", found, "a photograph that is installed")
    whole = read(file)
    height, width = (side // bundled.shrink for side in whole.shape[1:])
    return tuple(resize(whole, (round(height * s), round(width * s))) for s in SCALES)


def photo(name: str) -> Tensor:
    """A whole photograph, (3, H, W) float32 in [-1, 1]. Raises ``ValueError`` for an unknown name."""
    return _levels(name)[0].clone()


def photo_crop(name: str, size: int = 64) -> Tensor:
    """One of the named squares of ``CROPS``, eyes or letters of the test split, as (3, size, size) in [-1, 1].

    Raises ``ValueError`` for an unknown name or size < 1.
    """
    crop = choose("name", name, CROPS)
    size = whole_number("size", size, 1, what="a whole number of pixels")
    whole = photo(crop.photo)
    return resize(whole[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side], (size, size)).clone()


def load_photos(split: str, size: int | None = None, n: int = 2000, seed: int = 0) -> InMemory:
    """n random crops: "image" (n, 3, size, size) float32 in [-1, 1] and "label" (n,), the photograph's place in ``photo_names``.

    Train and test crops come from different photographs. A crop's place is uniform over all places in all photographs of the
    split at all ``SCALES``; those smaller than the crop are left out. Train crops are mirrored half of the time. size: 64
    unless said otherwise. Raises ``ValueError`` for n < 1 or a size that no photograph has.
    """
    size = size or 64
    n = whole_number("n", n, 1)
    sources = [(k, level) for k, name in enumerate(photo_names(split)) for level in _levels(name)]
    sources = [(k, level) for k, level in sources if min(level.shape[1:]) >= size]
    largest = max(min(_levels(name)[0].shape[1:]) for name in photo_names(split))
    expect(bool(sources), "size", size, f"at most {largest}, the largest square in a {split} photograph")
    generator = seeded(seed)
    places = [level[0].unfold(0, size, 1).unfold(1, size, 1).shape[:2].numel() for _, level in sources]
    chosen = torch.multinomial(torch.tensor(places, dtype=torch.float64), n, replacement=True, generator=generator)
    where = torch.rand(n, generator=generator, dtype=torch.float64)
    mirrored = torch.rand(n, generator=generator) < (0.5 if split == "train" else 0.0)
    image, label = torch.empty(n, 3, size, size), torch.empty(n, dtype=torch.long)
    for i, (k, level) in enumerate(sources):
        mine = (chosen == i).nonzero()[:, 0]
        windows = level.unfold(1, size, 1).unfold(2, size, 1)  # a view: (3, rows, columns, size, size)
        place = (where[mine] * places[i]).long()
        image[mine] = windows[:, place // windows.shape[2], place % windows.shape[2]].transpose(0, 1)
        label[mine] = k
    image[mirrored] = image[mirrored].flip(-1)
    return InMemory({"image": image, "label": label})
