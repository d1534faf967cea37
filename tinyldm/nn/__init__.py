"""The networks: small instances of the real architectures, one configuration dataclass each."""

from . import attention, layers, names, presets, tiling, weights
from .adapter import Adapter, AdapterConfig, sum_residuals
from .attention_maps import attention_maps, attention_weights, word_maps
from .autoencoder import AutoencoderConfig, AutoencoderKL
from .classifier import Classifier, ClassifierConfig
from .clip import CLIP, CLIPConfig
from .condition import Condition, sdxl_vector
from .controlnet import Controlled, ControlNet, ControlNetConfig
from .discriminator import DiscriminatorConfig, PatchDiscriminator
from .features import FeatureNet, FeatureNetConfig, VGG16Features
from .mmdit import MMDiT, MMDiTConfig
from .packing import pack, unpack
from .points import MLP, MLPConfig, PointCoder, PointCoderConfig
from .quantizer import QuantizerConfig, VectorQuantizer
from .sinusoids import sinusoids
from .text import TextConfig, TextEncoder
from .tiling import decode_tiled, encode_tiled
from .tokenizer import Tokenizer
from .unet import UNet, UNetConfig

__all__ = [
    "CLIP",
    "MLP",
    "Adapter",
    "AdapterConfig",
    "AutoencoderConfig",
    "AutoencoderKL",
    "CLIPConfig",
    "Classifier",
    "ClassifierConfig",
    "Condition",
    "ControlNet",
    "ControlNetConfig",
    "Controlled",
    "DiscriminatorConfig",
    "FeatureNet",
    "FeatureNetConfig",
    "MLPConfig",
    "MMDiT",
    "MMDiTConfig",
    "PatchDiscriminator",
    "PointCoder",
    "PointCoderConfig",
    "QuantizerConfig",
    "TextConfig",
    "TextEncoder",
    "Tokenizer",
    "UNet",
    "UNetConfig",
    "VGG16Features",
    "VectorQuantizer",
    "attention",
    "attention_maps",
    "attention_weights",
    "decode_tiled",
    "encode_tiled",
    "layers",
    "names",
    "pack",
    "presets",
    "sdxl_vector",
    "sinusoids",
    "sum_residuals",
    "tiling",
    "unpack",
    "weights",
    "word_maps",
]
