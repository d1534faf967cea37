"""Where and how big: the device, the scale, and generators that are handed around, never global."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from .errors import choose

SCALES = ("ci", "cpu", "gpu")


def device() -> torch.device:
    """The device to work on: ``TINYLDM_DEVICE`` if set, else CUDA, else Apple's MPS, else the CPU.

    Raises ``ValueError`` for a device that this machine does not have.
    """
    wanted = os.environ.get("TINYLDM_DEVICE")
    if wanted:
        try:
            return torch.empty(0, device=wanted).device
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"TINYLDM_DEVICE={wanted!r}: expected a device of this machine ({error})") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def scale() -> str:
    """The training budget: ``TINYLDM_SCALE`` if set (ci, cpu or gpu), else gpu where CUDA is, else cpu.

    Raises ``ValueError`` for another word.
    """
    wanted = os.environ.get("TINYLDM_SCALE") or ("gpu" if torch.cuda.is_available() else "cpu")
    return choose("TINYLDM_SCALE", wanted, {name: name for name in SCALES})


def seeded(seed: int) -> torch.Generator:
    """A fresh CPU generator. Noise is drawn on the CPU everywhere, so that a seed means one picture on any device."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def reseeded(seed: int) -> Iterator[None]:
    """Fresh modules inside take their initial weights from this seed; torch's own generator is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def normal(shape: Sequence[int], generator: torch.Generator | None, like: torch.Tensor) -> torch.Tensor:
    """Standard normal noise from ``generator``, in the type and place of ``like``."""
    where = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=where).to(like.device)
