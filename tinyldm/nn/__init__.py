"""The networks: small instances of the real architectures, one configuration dataclass each."""

from . import presets, weights
from .autoencoder import AutoencoderConfig, AutoencoderKL
from .pointcoder import PointCoder, PointCoderConfig
from .points import PointNet, PointNetConfig
from .unet import UNet, UNetConfig

__all__ = [
    "AutoencoderConfig",
    "AutoencoderKL",
    "PointCoder",
    "PointCoderConfig",
    "PointNet",
    "PointNetConfig",
    "UNet",
    "UNetConfig",
    "presets",
    "weights",
]
