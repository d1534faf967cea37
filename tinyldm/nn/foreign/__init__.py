"""How others keep our kinds of networks: their configurations, and the names of their tensors."""

from collections.abc import Callable, Mapping
from typing import Any

from .autoencoder import AUTOENCODER, read_autoencoder
from .controlnet import CONTROLNET, read_controlnet
from .family import Family, Row
from .mmdit import MMDIT
from .mmdit_options import READERS as TRANSFORMERS
from .unet import UNET
from .unet_options import read_conditional, read_unconditional

FAMILIES: dict[str, Family] = {  # by our class
    "AutoencoderKL": AUTOENCODER,
    "ControlNet": CONTROLNET,
    "MMDiT": MMDIT,
    "UNet": UNET,
}
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {  # by diffusers' class
    "AutoencoderKL": read_autoencoder,
    "UNet2DConditionModel": read_conditional,
    "UNet2DModel": read_unconditional,
    "ControlNetModel": read_controlnet,
    **TRANSFORMERS,
}

__all__ = ["FAMILIES", "READERS", "Family", "Row"]
