"""Words and pictures in one space: a text encoder beside an encoder of pictures, trained to agree."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import image_batch, whole_number
from .classifier import PictureEncoder
from .config import check_channels
from .text import TextConfig, TextEncoder


@dataclass(frozen=True)
class CLIPConfig(TextConfig):
    """A ``TextConfig`` for the words, whose projection leads to the common space; channels: the widths of the pictures' levels,
    the first at half the picture's side, each other at half the side of the one before.
    """

    projection: int = 128
    in_channels: int = 3
    channels: tuple[int, ...] = (32, 64, 128)
    groups: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("projection", self.projection, 1)
        whole_number("in_channels", self.in_channels, 1)
        check_channels(self.channels, 1, self.groups)

    @property
    def text(self) -> TextConfig:
        """What of it is about the words."""
        return TextConfig(**{field.name: getattr(self, field.name) for field in fields(TextConfig)})

    def build(self) -> Any:
        """The module, freshly initialised."""
        return CLIP(self)


class CLIP(nn.Module):
    """Pictures (B, K, H, W), token numbers (B, L) -> two sets of unit vectors (B, projection), near where they belong together.

    ``temperature`` is learned: similarities are divided by it before they are compared, see ``contrastive_loss``.
    Source: Radford et al. (2021), figure 3 and section 2.5.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextEncoder(config.text)
        self.picture = PictureEncoder(config)
        self.log_scale = nn.Parameter(torch.tensor(0.07).log().neg())

    def of_pictures(self, x: Tensor) -> Tensor:
        """Unit vectors of pictures; those of one channel are taken as grey."""
        if x.ndim == 4 and x.shape[1] == 1:
            x = x.expand(-1, self.config.in_channels, -1, -1)
        image_batch("x", x, self.config.in_channels, 2 ** len(self.config.channels))
        return F.normalize(self.picture(x), dim=1)

    def of_texts(self, ids: Tensor) -> Tensor:
        """Unit vectors of texts."""
        return F.normalize(self.text(ids)[1], dim=1)

    @property
    def scale(self) -> Tensor:
        """One over the temperature, () and at most 100, as in OpenAI's training."""
        return self.log_scale.exp().clamp(max=100)

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.of_pictures(x), self.of_texts(ids)
