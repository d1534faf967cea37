"""The autoencoder of latent diffusion: a convolutional encoder to a small diagonal Gaussian, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch
from ..gaussian import DiagonalGaussian
from .attention import SelfAttention
from .config import Config, check_channels
from .layers import Downsample, ResBlock, Upsample

EPS = 1e-6  # GroupNorm's epsilon in LDM's autoencoder (the U-Net's is 1e-5)
LOGVAR = (-30.0, 20.0)  # where LDM holds the log-variance
Between = Callable[[int], nn.Module]  # what stands between two levels, by the width it works on


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """Sizes of an AutoencoderKL. Each entry of ``channels`` is a level; between levels the side halves.

    attention: for every level, whether its blocks are followed by self-attention; () for none (the middle always
    attends). quant: whether a 1x1 convolution stands on either side of the latent (Stable Diffusion 3 and FLUX have
    none). The real ones are in ``presets``; the default is for 32x32 digits.
    Raises ``ValueError`` for widths that are no multiple of ``groups``, or another number of levels in ``attention``.
    """

    in_channels: int = 1
    latent_channels: int = 4
    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1
    groups: int = 8
    attention: tuple[bool, ...] = ()
    quant: bool = True

    def __post_init__(self) -> None:
        check_channels(self.channels, self.blocks, self.groups)
        expect(self.in_channels >= 1, "in_channels", self.in_channels, "at least 1")
        expect(self.latent_channels >= 1, "latent_channels", self.latent_channels, "at least 1")
        levels = len(self.channels)
        expect(len(self.attention) in (0, levels), "attention", self.attention, f"() or {levels} entries, one a level")

    @property
    def attends(self) -> tuple[bool, ...]:
        """For every level, whether it attends."""
        return self.attention or (False,) * len(self.channels)

    @property
    def factor(self) -> int:
        """How many times smaller the latent's side is than the image's."""
        return 2 ** (len(self.channels) - 1)

    def build(self) -> "AutoencoderKL":
        """The module, freshly initialised."""
        return AutoencoderKL(self)


class Middle(nn.Module):
    """The narrowest part: residual block, attention, residual block."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block1 = ResBlock(width, width, groups, eps=EPS)
        self.attention = SelfAttention(width, groups, eps=EPS)
        self.block2 = ResBlock(width, width, groups, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.block2(self.attention(self.block1(x)))


def _levels(channels: Sequence[int], attends: Sequence[bool], blocks: int, groups: int, between: Between) -> nn.Sequential:
    """Levels of ``blocks`` residual blocks, each followed by self-attention where the level attends, and what is between them."""
    levels, before = [], channels[0]
    for i, (width, attention) in enumerate(zip(channels, attends, strict=True)):
        layers: list[nn.Module] = []
        for _ in range(blocks):
            layers.append(ResBlock(before, width, groups, eps=EPS))
            layers += [SelfAttention(width, groups, eps=EPS)] if attention else []
            before = width
        levels.append(nn.Sequential(*layers, *([between(width)] if i < len(channels) - 1 else [])))
    return nn.Sequential(*levels)


class Encoder(nn.Module):
    """(B, in_channels, H, W) -> (B, 2 * latent_channels, H/factor, W/factor): means and log-variances."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.channels, config.groups
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.levels = _levels(widths, config.attends, config.blocks, groups, partial(Downsample, both_sides=False))
        self.middle = Middle(widths[-1], groups)
        self.norm = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.levels(self.conv_in(x))))

    def head(self, h: Tensor) -> Tensor:
        """The last layer, from the middle's width to means and log-variances."""
        return self.conv_out(F.silu(self.norm(h)))


class Decoder(nn.Module):
    """(B, latent_channels, h, w) -> (B, in_channels, factor*h, factor*w). One block more a level than the encoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.channels[::-1], config.groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.middle = Middle(widths[0], groups)
        self.levels = _levels(widths, config.attends[::-1], config.blocks + 1, groups, Upsample)
        self.norm = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.in_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.levels(self.middle(self.conv_in(z)))
        return self.conv_out(F.silu(self.norm(h)))


class AutoencoderKL(nn.Module):
    """Encoder to a diagonal Gaussian over latents, decoder back to images.

    Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022), section 3.1.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        latent = config.latent_channels
        self.quant = nn.Conv2d(2 * latent, 2 * latent, 1) if config.quant else nn.Identity()
        self.post_quant = nn.Conv2d(latent, latent, 1) if config.quant else nn.Identity()

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """The posterior over latents. x: (B, in_channels, H, W) in [-1, 1] -> mean and logvar (B, latent_channels, h, w).

        Raises ``ValueError`` for other channels, a side that the down-sampling factor does not divide, or (looked for
        on the CPU only) NaN and infinity.
        """
        image_batch("x", x, self.config.in_channels, self.config.factor)
        expect(x.device.type != "cpu" or bool(x.isfinite().all()), "x", "NaN or infinity", "finite numbers")
        return self.posterior(self.encoder(x))

    def posterior(self, moments: Tensor) -> DiagonalGaussian:
        """The encoder's output (B, 2 * latent_channels, h, w) as a distribution, log-variances held in [-30, 20]."""
        mean, logvar = self.quant(moments).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR))

    def decode(self, z: Tensor) -> Tensor:
        """The image of a latent, (B, latent_channels, h, w) -> (B, in_channels, H, W), about [-1, 1].

        Raises ``ValueError`` for other channels.
        """
        image_batch("z", z, self.config.latent_channels, 1)
        return self.decoder(self.post_quant(z))
