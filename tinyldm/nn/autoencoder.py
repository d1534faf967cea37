"""The autoencoder of latent diffusion: a convolutional encoder to a small diagonal Gaussian, and the way back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch
from ..gaussian import DiagonalGaussian
from .config import Config, check_channels
from .layers import Downsample, ResBlock, SelfAttention, Upsample

EPS = 1e-6  # GroupNorm's epsilon in LDM's autoencoder (the U-Net's is 1e-5)


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """Sizes of an AutoencoderKL. Each entry of ``channels`` is a level; between levels the side halves.

    Stable Diffusion's is ``AutoencoderConfig(3, 4, (128, 256, 512, 512), blocks=2, groups=32)``; the default is for
    32x32 digits. Raises ``ValueError`` for widths that are no multiple of ``groups``.
    """

    in_channels: int = 1
    latent_channels: int = 4
    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1
    groups: int = 8

    def __post_init__(self) -> None:
        check_channels(self.channels, self.blocks, self.groups)
        expect(self.in_channels >= 1, "in_channels", self.in_channels, "at least 1")
        expect(self.latent_channels >= 1, "latent_channels", self.latent_channels, "at least 1")

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


def _blocks(cin: int, cout: int, count: int, groups: int) -> list[nn.Module]:
    return [ResBlock(cin if i == 0 else cout, cout, groups, eps=EPS) for i in range(count)]


class Encoder(nn.Module):
    """(B, in_channels, H, W) -> (B, 2 * latent_channels, H/factor, W/factor): means and log-variances."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.channels, config.groups
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        levels = []
        for i, width in enumerate(widths):
            blocks = _blocks(widths[max(i - 1, 0)], width, config.blocks, groups)
            last = i == len(widths) - 1
            levels.append(nn.Sequential(*blocks, *([] if last else [Downsample(width, both_sides=False)])))
        self.levels = nn.Sequential(*levels)
        self.middle = Middle(widths[-1], groups)
        self.norm = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.middle(self.levels(self.conv_in(x)))
        return self.conv_out(F.silu(self.norm(h)))


class Decoder(nn.Module):
    """(B, latent_channels, h, w) -> (B, in_channels, factor*h, factor*w). One block more a level than the encoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.channels[::-1], config.groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.middle = Middle(widths[0], groups)
        levels = []
        for i, width in enumerate(widths):
            blocks = _blocks(widths[max(i - 1, 0)], width, config.blocks + 1, groups)
            last = i == len(widths) - 1
            levels.append(nn.Sequential(*blocks, *([] if last else [Upsample(width)])))
        self.levels = nn.Sequential(*levels)
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
        self.quant = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant = nn.Conv2d(latent, latent, 1)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """The posterior over latents. x: (B, in_channels, H, W) in [-1, 1] -> mean and logvar (B, latent_channels, h, w).

        Raises ``ValueError`` for other channels or a side that the down-sampling factor does not divide.
        """
        image_batch("x", x, self.config.in_channels, self.config.factor)
        mean, logvar = self.quant(self.encoder(x)).chunk(2, dim=1)
        return DiagonalGaussian(mean, torch.clamp(logvar, -30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """The image of a latent, (B, latent_channels, h, w) -> (B, in_channels, H, W), about [-1, 1].

        Raises ``ValueError`` for other channels.
        """
        image_batch("z", z, self.config.latent_channels, 1)
        return self.decoder(self.post_quant(z))
