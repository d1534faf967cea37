"""The networks: small instances of the real architectures, one configuration dataclass each."""

from . import names, presets, tiling, weights
from .autoencoder import AutoencoderConfig, AutoencoderKL
from .controlnet import ControlNet, ControlNetConfig
from .discriminator import DiscriminatorConfig, PatchDiscriminator
from .features import FeatureNet, FeatureNetConfig, VGG16Features
from .mmdit import MMDiT, MMDiTConfig
from .pointcoder import PointCoder, PointCoderConfig
from .points import PointNet, PointNetConfig
from .quantizer import QuantizerConfig, VectorQuantizer
from .tiling import decode_tiled, encode_tiled
from .unet import UNet, UNetConfig

__all__ = [
    "AutoencoderConfig",
    "AutoencoderKL",
    "ControlNet",
    "ControlNetConfig",
    "DiscriminatorConfig",
    "FeatureNet",
    "FeatureNetConfig",
    "MMDiT",
    "MMDiTConfig",
    "PatchDiscriminator",
    "PointCoder",
    "PointCoderConfig",
    "PointNet",
    "PointNetConfig",
    "QuantizerConfig",
    "UNet",
    "UNetConfig",
    "VGG16Features",
    "VectorQuantizer",
    "decode_tiled",
    "encode_tiled",
    "names",
    "presets",
    "tiling",
    "weights",
]
