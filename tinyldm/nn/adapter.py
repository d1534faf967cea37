"""An adapter: a small network that looks at a hint alone, once a picture, and adds a feature map to every level of a U-Net."""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from .config import Config
from .layers import silent
from .unet import UNet


@dataclass(frozen=True)
class AdapterConfig(Config):
    """Sizes of an adapter: the levels of its U-Net, and the hint.

    channels, blocks: its U-Net's, see ``UNetSizes``. hint_channels: of the hint, 3 for a picture. hint_factor: how many times
    larger than x a hint is. Raises ``ValueError`` for no level, and for a number < 1.
    """

    channels: tuple[int, ...] = (64, 128)
    blocks: int = 1
    hint_channels: int = 3
    hint_factor: int = 8

    def __post_init__(self) -> None:
        expect(len(self.channels) > 0, "channels", self.channels, "at least one level")
        for width in self.channels:
            whole_number("channels", width, 1)
        for name in ("blocks", "hint_channels", "hint_factor"):
            whole_number(name, getattr(self, name), 1)

    def build(self) -> "Adapter":
        """The module, freshly initialised."""
        return Adapter(self)


class Residual(nn.Module):
    """A 3x3 convolution, ReLU, a 1x1 convolution, added to the input: (B, C, H, W) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), and back."""
        return x + self.conv2(F.relu(self.conv1(x)))


class Adapter(nn.Module):
    """hint -> what to add to a U-Net's skips, for ``Condition(residuals=...)``. It sees neither x nor t.

    So one call serves all steps of a sampler, where a ControlNet is asked at each.
    Source: Mou et al., T2I-Adapter (2023), section 3.2. There a level's feature is added inside the encoder, after the last
    block of the level, and flows on into deeper levels and the middle; here it is added to what that block hands over, and
    the decoder alone hears it. Ours as well: the last convolution of each level, zero at first as in a ControlNet.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.conv_in = nn.Conv2d(config.hint_channels * config.hint_factor**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList()
        for cin, cout in pairwise((widths[0], *widths)):
            fit = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()
            self.levels.append(nn.Sequential(fit, Residual(cout), Residual(cout)))
        self.zeros = nn.ModuleList(silent(nn.Conv2d(width, width, 1)) for width in widths)

    @classmethod
    def suiting(cls, unet: UNet, hint_channels: int = 3, hint_factor: int = 8) -> Self:
        """An adapter with the levels of ``unet``, in its type and place, that says nothing yet."""
        config = AdapterConfig(unet.config.channels, unet.config.blocks, hint_channels, hint_factor)
        return cls(config).to(next(unet.parameters()))

    def features(self, hint: Tensor) -> list[Tensor]:
        """What is seen in the hint, (B, hint_channels, f*H, f*W): a feature map a level, (B, width, H, W), then half the side.

        Raises ``ValueError`` for other channels, and for a side that the levels cannot halve.
        """
        factor, deepest = self.config.hint_factor, len(self.levels) - 1
        image_batch("hint", hint, self.config.hint_channels, factor * 2**deepest)
        h, seen = self.conv_in(F.pixel_unshuffle(hint, factor)), []
        for level, look in enumerate(self.levels):
            h = look(F.avg_pool2d(h, 2) if level > 0 else h)
            seen.append(h)
        return seen

    def forward(self, hint: Tensor, scale: float = 1.0) -> tuple[Tensor, ...]:
        """hint: (B, hint_channels, f*H, f*W), f = hint_factor. scale: multiplies what is said.

        -> a tensor for every skip and one for the middle, zero but for the last block of each level. Raises ``ValueError``
        as ``features`` does; whether the hint suits x, the U-Net checks.
        """
        said: list[Tensor] = []
        width = self.config.channels[0]
        for zero, seen in zip(self.zeros, self.features(hint), strict=True):
            feature = scale * zero(seen)
            start = feature.new_zeros(len(feature), width, *feature.shape[2:])  # of conv_in, or of the halving
            said += [start, *[torch.zeros_like(feature)] * (self.config.blocks - 1), feature]
            width = feature.shape[1]
        return (*said, torch.zeros_like(said[-1]))


def sum_residuals(*sources: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What several ControlNets and adapters say to one U-Net, as one: their sum, tensor by tensor.

    Each weighs as much as the ``scale`` it was called with. Raises ``ValueError`` for none, and for shapes that differ.
    Source: Mou et al. (2023), section 3.2, of several adapters.
    """
    expect(len(sources) > 0, "sources", "none", "at least one tuple of residuals")
    shapes = [[tuple(t.shape) for t in source] for source in sources]
    for i, given in enumerate(shapes):
        expect(given == shapes[0], f"sources[{i}]", given, f"the shapes of the first, {shapes[0]}")
    return tuple(reduce(torch.add, same) for same in zip(*sources, strict=True))
