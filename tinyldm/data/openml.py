"""The usual small pictures, from OpenML by scikit-learn: fetched only when a reader asks for them, and then kept."""

import os
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import expect, whole_number
from ..files import atomic_file, read_safetensors
from .memory import InMemory
from .pictures import resize


class Source(NamedTuple):
    """An OpenML data set: its number, the shape of a picture, how many of the rows are train (they come first) and test."""

    number: int
    shape: tuple[int, int, int]
    train: int
    test: int


SOURCES = {
    "mnist": Source(554, (1, 28, 28), 60_000, 10_000),
    "fashion_mnist": Source(40996, (1, 28, 28), 60_000, 10_000),
    "cifar10": Source(40927, (3, 32, 32), 50_000, 10_000),
}


def load_openml(
    name: str, split: str, size: int | None = None, n: int | None = None, data_home: str | os.PathLike | None = None
) -> InMemory:
    """Pictures of ``SOURCES[name]`` in its usual split: "image" (N, C, size, size) float32 in [-1, 1] and "label" (N,).

    The first call downloads and reads OpenML's text (minutes, and for cifar10 several GB of memory), checks it and
    keeps the pixels as ``tinyldm/<name>.safetensors`` in scikit-learn's data folder, or in ``data_home``; later calls need
    no network. size: None for the original one, else resized (bicubic). n: only the first n. Raises ``ConnectionError``
    when OpenML cannot be reached, ``ValueError`` when what it sends is not the data set.
    """
    from sklearn.datasets import get_data_home

    source, kept = SOURCES[name], Path(get_data_home(data_home)) / "tinyldm" / f"{name}.safetensors"
    if not kept.exists():
        image, label = _fetch(name, kept.parents[1])
        with atomic_file(kept) as fresh:
            save_file({"image": image, "label": label}, fresh)
    columns, _ = read_safetensors(kept)
    image, label = columns["image"], columns["label"]
    first, rows = (0, source.train) if split == "train" else (source.train, source.test)
    rows = rows if n is None else whole_number("n", n, 1, rows)
    image, label = image[first : first + rows].float() / 127.5 - 1, label[first : first + rows].long()
    return InMemory({"image": image if size is None else resize(image, (size, size)), "label": label})


def _fetch(name: str, home: Path) -> tuple[Tensor, Tensor]:
    """All pictures (N, C, H, W) and labels (N,) as bytes, from OpenML, checked."""
    from sklearn.datasets import fetch_openml

    source = SOURCES[name]
    try:
        reply = fetch_openml(data_id=source.number, data_home=home, as_frame=False, parser="liac-arff")
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        raise ConnectionError(
            f"{name}: OpenML could not be reached ({error}). Call load({name!r}) once with a network; it is then kept in "
            f"{home} (data_home=... chooses another folder, and that folder can be copied here from elsewhere). "
            'Without one there are "digits", "photos" and "shapes".'
        ) from error
    pixels, classes = torch.from_numpy(reply.data), torch.tensor([int(k) for k in reply.target])
    rows = source.train + source.test
    shape = (rows, source.shape[0] * source.shape[1] * source.shape[2])
    found = f"a table of shape {tuple(pixels.shape)} from OpenML"
    expect(tuple(pixels.shape) == shape, name, found, f"one of shape {shape}")
    image = pixels.to(torch.uint8)
    expect(torch.equal(image.double(), pixels), name, "others from OpenML", "pixels that are whole numbers from 0 to 255")
    known = sorted(set(classes.tolist()))
    expect(known == list(range(10)), name, f"{known} from OpenML", "the labels 0 to 9")
    return image.reshape(rows, *source.shape).contiguous(), classes.to(torch.uint8)
