"""The reader's own pictures: every picture file in a folder and the folders in it."""

import os
import warnings
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ..errors import choose, expect
from .memory import InMemory
from .pictures import FORMATS, read, resize

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def load_folder(
    split: str, size: int | None = None, path: str | os.PathLike | None = None, broken: str = "refuse", test_share: float = 0.1
) -> InMemory:
    """Middle squares of pictures: "image" (N, 3, size, size) float32 in [-1, 1] and "file", their N names below ``path``.

    Pictures in folders inside ``path`` have a "label" (N,) too, the place of their folder in the alphabet, and the data set's
    ``classes`` are the folders' names ("." for ``path`` itself). What begins with a dot is not looked at. size: 64 unless said
    otherwise. broken: "refuse" a file that cannot be read, or "skip" it with a warning. test_share: about this share
    of the pictures is test; a picture's name alone decides, so it stays where it is when others come. Raises ``ValueError``
    naming a folder that does not exist or has no pictures (in this split), or, with "refuse", the broken file.
    """
    side = size or 64
    skip = choose("broken", broken, {"refuse": False, "skip": True})
    expect(0 <= test_share <= 1, "test_share", test_share, "a share from 0 to 1")
    folder = Path(path or "").expanduser()
    expect(path is not None and folder.is_dir(), "path", f"{path!r}, which is none", "a folder")
    files = sorted(f.relative_to(folder) for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    names = [f.as_posix() for f in files if not any(part.startswith(".") for part in f.parts)]
    expect(bool(names), "path", f"{str(folder)!r} with none", f"a folder with pictures ({', '.join(SUFFIXES)})")
    mine = [name for name in names if _is_test(name, test_share) == (split == "test")]
    found = f"{str(folder)!r}, none of whose {len(names)} is"
    expect(bool(mine), "path", found, f"a folder with pictures that are {split} at test_share={test_share:g}")
    images: dict[str, Tensor] = {}
    errors: list[str] = []
    for name in mine:
        try:
            images[name] = resize(read(folder / name, square=side), (side, side))
        except ValueError as error:
            if not skip:
                raise ValueError(f"path: {error}; broken='skip' leaves such files out") from error
            errors.append(name)
    if errors:
        warnings.warn(f"path: {len(errors)} of {len(mine)} pictures cannot be read: {', '.join(errors)}", stacklevel=3)
    expect(bool(images), "path", f"{str(folder)!r} with none", f"a folder with {split} pictures that can be read")
    columns: dict[str, Tensor | list[str]] = {"image": torch.stack(list(images.values())), "file": list(images)}
    inside = {name: Path(name).parts[0] if "/" in name else "." for name in names}
    classes = sorted(set(inside.values())) if set(inside.values()) != {"."} else []
    if classes:
        columns["label"] = torch.tensor([classes.index(inside[name]) for name in images])
    return InMemory(columns, classes)


def _is_test(name: str, share: float) -> bool:
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big") < share * 2**32
