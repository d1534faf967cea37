"""The sizes of real networks, as data: ``PRESETS["sdxl-unet"]().build()`` has the 1,680 tensors of SDXL's."""

from collections.abc import Callable
from functools import partial
from typing import Any

from .autoencoder import AutoencoderConfig
from .controlnet import ControlNetConfig
from .mmdit import MMDiTConfig
from .text import TextConfig
from .unet import UNetConfig

LDM = partial(AutoencoderConfig, in_channels=3, blocks=2, groups=32)
F8 = partial(LDM, channels=(128, 256, 512, 512))  # Stable Diffusion's first stage, and all that came after it

AUTOENCODERS: dict[str, Callable[[], AutoencoderConfig]] = {
    "tiny": partial(AutoencoderConfig, 1, 4, (16, 32, 32)),  # 32x32 digits
    # Rombach et al. (2022), table 8, and the configuration files of its code: attention at 16x16 and below, of 256x256
    "ldm-f4": partial(LDM, latent_channels=3, channels=(128, 256, 512)),
    "ldm-f8": partial(F8, latent_channels=4),
    "ldm-f16": partial(LDM, latent_channels=16, channels=(128, 128, 256, 256, 512), attention=(False, False, False, False, True)),
    "ldm-f32": partial(
        LDM, latent_channels=64, channels=(128, 128, 256, 256, 512, 512), attention=(False, False, False, False, True, True)
    ),
    "sd15-vae": partial(F8, latent_channels=4),
    "sd21-vae": partial(F8, latent_channels=4),
    "sdxl-vae": partial(F8, latent_channels=4),  # the same network, trained anew with larger batches and an EMA
    "sd3-vae": partial(F8, latent_channels=16, quant=False),
    "flux-vae": partial(F8, latent_channels=16, quant=False),
}

# Stable Diffusion 1: four levels, tokens of CLIP ViT-L at all but the deepest. Rombach et al. (2022) and its v1-inference.yaml
SD15 = partial(
    UNetConfig, channels=(320, 640, 1280, 1280), attention=(1, 1, 1, 0), blocks=2, heads=8, groups=32, classes=0, tokens=768
)
# Podell et al., SDXL (2023), table 1: three levels, the first without attention, ten transformer blocks in the deepest
SDXL = partial(
    UNetConfig,
    channels=(320, 640, 1280),
    attention=(0, 2, 10),
    middle=10,
    blocks=2,
    heads=(5, 10, 20),
    groups=32,
    classes=0,
    tokens=2048,
    vector=2816,
)
UNETS: dict[str, Callable[[], UNetConfig]] = {
    "sd15-unet": SD15,
    "sd15-inpainting-unet": partial(SD15, in_channels=9, out_channels=4),  # with a mask and the picture under it
    "sd21-unet": partial(SD15, heads=(5, 10, 20, 20), tokens=1024),  # OpenCLIP; heads 64 wide
    "sdxl-unet": SDXL,
    "sdxl-refiner-unet": partial(
        UNetConfig,
        channels=(384, 768, 1536, 1536),
        attention=(0, 4, 4, 0),
        middle=4,
        blocks=2,
        heads=(6, 12, 24, 24),
        groups=32,
        classes=0,
        tokens=1280,
        vector=2560,
    ),
}
CONTROLNETS: dict[str, Callable[[], ControlNetConfig]] = {  # Zhang et al. (2023): the copy of its U-Net's first half
    "sd15-controlnet": partial(ControlNetConfig, **SD15.keywords),
    "sdxl-controlnet": partial(ControlNetConfig, **SDXL.keywords),
}
TRANSFORMERS: dict[str, Callable[[], MMDiTConfig]] = {
    # Stable Diffusion 3 medium: Esser et al. (2024), section 5.3 and its published configuration
    "sd3-mmdit": partial(MMDiTConfig, 16, width=1536, heads=24, blocks=24, tokens=4096, vector=2048, side=64, table=192),
    "flux-mmdit": partial(  # FLUX.1 dev; schnell is without guidance
        MMDiTConfig,
        16,
        width=3072,
        heads=24,
        blocks=19,
        singles=38,
        qk_norm=True,
        tokens=4096,
        vector=768,
        guidance=True,
        side=0,
        rope=(16, 56, 56),
        time_factor=1000,
        channels_first=True,
    ),
}
# Radford et al., CLIP (2021), table 20, the text side of ViT-L/14; what Stable Diffusion 1 reads with
TEXTS: dict[str, Callable[[], TextConfig]] = {
    "clip-l": partial(TextConfig, vocabulary=49408, width=768, heads=12, layers=12, length=77)
}
PRESETS: dict[str, Callable[[], Any]] = {**AUTOENCODERS, **UNETS, **CONTROLNETS, **TRANSFORMERS, **TEXTS}

# z = (z_raw - shift) * scale, from the published configurations; (1, 0) where none is published: measure it.
SCALES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(AUTOENCODERS, (1.0, 0.0)),
    **dict.fromkeys(["ldm-f8", "sd15-vae", "sd21-vae"], (0.18215, 0.0)),  # ldm-f8: as used by LDM's text-to-image model
    "sdxl-vae": (0.13025, 0.0),
    "sd3-vae": (1.5305, 0.0609),
    "flux-vae": (0.3611, 0.1159),
}
