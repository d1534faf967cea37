"""Real handwritten digits: 1,797 scans of 8x8 pixels that come with scikit-learn, enlarged."""

from functools import cache

import torch
import torch.nn.functional as F

from .memory import InMemory

SIDE = 32


@cache
def _split() -> dict[str, tuple]:
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    raw = bundled()
    pixels = raw.images.astype("float32")
    parts = train_test_split(pixels, raw.target, test_size=0.2, random_state=0, stratify=raw.target)
    return {"train": (parts[0], parts[2]), "test": (parts[1], parts[3])}


def load_digits(split: str, size: int | None = None) -> InMemory:
    """1,437 train or 360 test digits: "image" (N, 1, size, size) in [-1, 1] and "label" (N,).

    The split is stratified and fixed. Enlarging is bicubic, so an image holds no more than its 64 original numbers.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998).
    """
    pixels, labels = _split()[split]
    images = torch.from_numpy(pixels)[:, None] / 8 - 1  # 0 ... 16 ink levels
    images = F.interpolate(images, size=(size or SIDE,) * 2, mode="bicubic", antialias=True, align_corners=False)
    return InMemory({"image": images.clamp(-1, 1), "label": torch.tensor(labels, dtype=torch.long)})
