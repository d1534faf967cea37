"""Small trained models that come with the package, each in a folder with its card."""

from pathlib import Path as FilePath
from typing import Any

from ..errors import choose
from ..files import read_json
from ..latent import LatentDiffusion
from ..nn.weights import from_pretrained
from ..text import Matcher

HERE = FilePath(__file__).parent


def _folders() -> dict[str, FilePath]:
    return {folder.name: folder for folder in sorted(HERE.iterdir()) if (folder / "card.json").is_file()}


def names() -> list[str]:
    """The models there are."""
    return list(_folders())


def load(name: str) -> Any:
    """A trained model by name, in float32 on the CPU: a latent diffusion model, a CLIP as a ``Matcher``, or a single network.

    Raises ``ValueError`` for an unknown name, with the nearest one.
    """
    folder = choose("name", name, _folders())
    kind = read_json(folder / "config.json").get("_class_name")
    if kind == "CLIP":
        return Matcher.load(folder)
    return from_pretrained(folder) if kind else LatentDiffusion.load(folder)


def card(name: str) -> dict[str, Any]:
    """A model's card: data, command that made it, seed, time, measured quality.

    Raises ``ValueError`` for an unknown name, with the nearest one.
    """
    return read_json(choose("name", name, _folders()) / "card.json")
