"""Looking at a picture: residual blocks down to one vector, and a classifier that answers several questions from it."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from .config import Config, check_channels
from .layers import Downsample, ResBlock


class PictureSizes(Protocol):
    """The part of a configuration that ``PictureEncoder`` reads; projection: how many numbers come out."""

    @property
    def in_channels(self) -> int: ...
    @property
    def channels(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> int: ...
    @property
    def projection(self) -> int: ...


class PictureEncoder(nn.Module):
    """Residual blocks at ever smaller sides, then mean and maximum over what is left: (B, K, H, W) -> (B, projection).

    The first of ``channels`` is at half the picture's side, each other at half the side of the one before.
    """

    def __init__(self, config: PictureSizes) -> None:
        super().__init__()
        first, *others = config.channels
        self.conv_in = nn.Conv2d(config.in_channels, first, 4, stride=2, padding=1)
        levels: list[nn.Module] = [ResBlock(first, first, config.groups)]
        for cin, cout in zip(config.channels, others):
            levels += [Downsample(cin, both_sides=True), ResBlock(cin, cout, config.groups)]
        self.levels = nn.Sequential(*levels)
        self.norm = nn.GroupNorm(config.groups, config.channels[-1])
        self.out = nn.Linear(2 * config.channels[-1], config.projection, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm(self.levels(self.conv_in(x))))
        return self.out(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1))  # how much there is, and whether there is any


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """answers: for each question, among how many answers to choose. channels: see ``PictureEncoder``.

    Raises ``ValueError`` for no question, fewer than two answers to one, and channels that ``groups`` does not divide.
    """

    answers: tuple[int, ...] = (10,)
    in_channels: int = 3
    channels: tuple[int, ...] = (32, 64)
    groups: int = 8

    def __post_init__(self) -> None:
        expect(len(self.answers) > 0, "answers", self.answers, "at least one question")
        for number in self.answers:
            whole_number("answers", number, 2)
        whole_number("in_channels", self.in_channels, 1)
        check_channels(self.channels, 1, self.groups)

    @property
    def projection(self) -> int:
        """All answers to all questions."""
        return sum(self.answers)

    def build(self) -> Any:
        """The module, freshly initialised."""
        return Classifier(self)


class Classifier(nn.Module):
    """Pictures of any size (B, K, H, W) -> for each question the logits of its answers, (B, answers) each.

    Raises ``ValueError`` for other channels and for sides that 2^levels does not divide.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.picture = PictureEncoder(config)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        image_batch("x", x, self.config.in_channels, 2 ** len(self.config.channels))
        return self.picture(x).split(self.config.answers, dim=1)
