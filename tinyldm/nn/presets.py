"""The sizes of real autoencoders, as data: ``PRESETS["sdxl-vae"]().build()`` has the 248 tensors of SDXL's."""

from collections.abc import Callable
from functools import partial

from .autoencoder import AutoencoderConfig

LDM = partial(AutoencoderConfig, in_channels=3, blocks=2, groups=32)
F8 = partial(LDM, channels=(128, 256, 512, 512))  # Stable Diffusion's first stage, and all that came after it

PRESETS: dict[str, Callable[[], AutoencoderConfig]] = {
    "tiny": partial(AutoencoderConfig, 1, 4, (16, 32, 32)),  # 32x32 digits
    # Rombach et al. (2022), table 8, and the configuration files of its code: attention at 16x16 and below, of 256x256
    "ldm-f4": partial(LDM, latent_channels=3, channels=(128, 256, 512)),
    "ldm-f8": partial(F8, latent_channels=4),
    "ldm-f16": partial(
        LDM, latent_channels=16, channels=(128, 128, 256, 256, 512), attention=(False, False, False, False, True)
    ),
    "ldm-f32": partial(
        LDM,
        latent_channels=64,
        channels=(128, 128, 256, 256, 512, 512),
        attention=(False, False, False, False, True, True),
    ),
    "sd15-vae": partial(F8, latent_channels=4),
    "sd21-vae": partial(F8, latent_channels=4),
    "sdxl-vae": partial(F8, latent_channels=4),  # the same network, trained anew with larger batches and an EMA
    "sd3-vae": partial(F8, latent_channels=16, quant=False),
    "flux-vae": partial(F8, latent_channels=16, quant=False),
}

# z = (z_raw - shift) * scale, from the published configurations; (1, 0) where none is published: measure it.
SCALES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(PRESETS, (1.0, 0.0)),
    **dict.fromkeys(["ldm-f8", "sd15-vae", "sd21-vae"], (0.18215, 0.0)),  # ldm-f8: as used by LDM's text-to-image model
    "sdxl-vae": (0.13025, 0.0),
    "sd3-vae": (1.5305, 0.0609),
    "flux-vae": (0.3611, 0.1159),
}
