"""The discriminator of patches: many small opinions about a picture instead of one."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import choose, expect, whole_number
from .config import Config

KERNEL = 4


@dataclass(frozen=True)
class DiscriminatorConfig(Config):
    """``layers`` convolutions of stride 2, the first with ``width`` channels, each next one doubling them up to 8 times.

    LDM's and pix2pix's is ``DiscriminatorConfig(3, 64, 3, norm="batch")``; the default is for 64x64 pictures.
    norm: "group", so that what is said of a picture does not depend on which others are in its batch (data and fakes come
    in separate batches, whose statistics alone would tell them apart); "batch", as published.
    Raises ``ValueError`` for sizes < 1, a width that is no multiple of ``groups``, or another norm.
    """

    in_channels: int = 3
    width: int = 32
    layers: int = 2
    norm: str = "group"
    groups: int = 8

    def __post_init__(self) -> None:
        whole_number("in_channels", self.in_channels, 1)
        whole_number("layers", self.layers, 1)
        whole_number("groups", self.groups, 1)
        expect(self.width >= 1 and self.width % self.groups == 0, "width", self.width, f"a multiple of {self.groups}")
        choose("norm", self.norm, {"group": 0, "batch": 1})

    @property
    def receptive_field(self) -> int:
        """The side of the square of pixels that one logit sees (GroupNorm's mean and variance apart): 70 for 3 layers."""
        side = 1
        for stride in reversed(self.strides):
            side = (side - 1) * stride + KERNEL
        return side

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the convolutions, from the picture to the logits."""
        return (2,) * self.layers + (1, 1)

    @property
    def smallest(self) -> int:
        """The smallest side of a picture that leaves at least one logit."""
        return 3 * 2**self.layers

    def build(self) -> "PatchDiscriminator":
        """The module, freshly initialised."""
        return PatchDiscriminator(self)


class PatchDiscriminator(nn.Module):
    """(B, in_channels, H, W) in [-1, 1] -> logits (B, 1, h, w), h = floor(H / 2^layers) - 2: high where a patch looks real.

    Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks (2017), section 3.2.2 and
    appendix 6.1.2; LDM's code, ``NLayerDiscriminator``.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(*_layers(config))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)  # first logits inside the hinge's margin

    def forward(self, x: Tensor) -> Tensor:
        """Raises ``ValueError`` for other channels or a side below ``config.smallest``."""
        channels, least = self.config.in_channels, self.config.smallest
        good = x.ndim == 4 and x.shape[1] == channels and min(x.shape[2:]) >= least
        expect(good, "x", f"shape {tuple(x.shape)}", f"(B, {channels}, H, W) with sides of at least {least}")
        return self.net(x)


def _layers(config: DiscriminatorConfig) -> Iterator[nn.Module]:
    """Convolution, norm, LeakyReLU; no norm after the first convolution, and the last one gives the logits."""
    cin = config.in_channels
    for i, stride in enumerate(config.strides[:-1]):
        cout = config.width * min(2**i, 8)
        normed = i > 0
        yield nn.Conv2d(cin, cout, KERNEL, stride, padding=1, bias=not (normed and config.norm == "batch"))
        if normed:
            yield nn.BatchNorm2d(cout) if config.norm == "batch" else nn.GroupNorm(config.groups, cout)
        yield nn.LeakyReLU(0.2)
        cin = cout
    yield nn.Conv2d(cin, 1, KERNEL, config.strides[-1], padding=1)
