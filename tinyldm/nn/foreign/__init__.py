"""How others keep our kinds of networks: their configurations, and the names of their tensors."""

from .autoencoder import AUTOENCODER
from .controlnet import CONTROLNET
from .family import Family, Row
from .mmdit import MMDIT
from .text import TEXT
from .unet import UNET

# by our class, and by diffusers' (the text encoder's by transformers')
FAMILIES = {"AutoencoderKL": AUTOENCODER, "ControlNet": CONTROLNET, "MMDiT": MMDIT, "TextEncoder": TEXT, "UNet": UNET}
READERS = {kind: read for family in FAMILIES.values() for kind, read in family.readers.items()}

__all__ = ["FAMILIES", "READERS", "Family", "Row"]
