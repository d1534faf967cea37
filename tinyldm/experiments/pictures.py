"""A latent diffusion model of pictures from nothing, in one call: the digits, or the reader's own.

A recipe is a table of sizes and budgets, one row a scale; the program is the same for all of them.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from torch import Tensor, nn

from ..data import InMemory
from ..denoiser import Denoiser
from ..errors import choose, expect, in_range
from ..latent import LatentDiffusion
from ..nn import AutoencoderConfig, AutoencoderKL, UNet, UNetConfig
from ..path import VP, Path
from ..runtime import device, reseeded, scale, seeded
from ..space import LatentSpace
from ..train import Budget, Loss, fit
from .training import denoise_loss, latents, reconstruct_loss


@dataclass(frozen=True)
class Recipe:
    """Sizes, budgets and the few numbers that training a model of pictures needs."""

    autoencoder: AutoencoderConfig
    autoencoder_budget: Budget
    denoiser: UNetConfig
    denoiser_budget: Budget
    kl_weight: float = 1e-4
    path: Path = field(default_factory=VP)
    parametrisation: str = "v"

    def networks(self, seed: int = 0) -> tuple[AutoencoderKL, UNet]:
        """Both networks, freshly initialised from this seed, on the device of ``runtime.device``."""
        with reseeded(seed):
            return self.autoencoder.build().to(device()), self.denoiser.build().to(device())


SMALL = AutoencoderConfig(channels=(16, 32, 32))
RECIPES = {
    "ci": Recipe(SMALL, Budget(160, 32, 3e-3), UNetConfig(channels=(32, 64)), Budget(500, 64, 2e-3)),
    "cpu": Recipe(SMALL, Budget(500, 32, 3e-3), UNetConfig(channels=(32, 64)), Budget(2200, 64, 2e-3)),
    "gpu": Recipe(
        AutoencoderConfig(channels=(64, 128, 128), blocks=2),
        Budget(4000, 128, 1e-3),
        UNetConfig(channels=(128, 256), blocks=2),
        Budget(10000, 256, 1e-3, ema=0.999),
    ),
}


def pictures_recipe(images: InMemory) -> Recipe:
    """The recipe of the scale that ``runtime.scale`` picks, with the channels and the classes of these pictures.

    Raises what ``runtime.scale`` raises, and ``ValueError`` for data without a column "image".
    """
    recipe = choose("TINYLDM_SCALE", scale(), RECIPES)
    label = images.tensors.get("label")
    classes = 0 if label is None else max(len(images.classes), int(label.max()) + 1)
    return replace(
        recipe,
        autoencoder=replace(recipe.autoencoder, in_channels=_pixels(images).shape[1]),
        denoiser=replace(recipe.denoiser, in_channels=recipe.autoencoder.latent_channels, classes=classes),
    )


def train_pictures(
    images: InMemory,
    seed: int = 0,
    *,
    folder: str | os.PathLike | None = None,
    recipe: Recipe | None = None,
    progress: bool = True,
) -> LatentDiffusion:
    """Train autoencoder, then denoiser, on "image" (N, C, H, W) in [-1, 1]; with "label" (N,), class-conditionally.

    folder: where the two checkpoints go, so that a killed run can go on. recipe: ``pictures_recipe(images)`` if none is given.
    Raises ``ValueError`` before anything is trained for pictures outside [-1, 1], of another number of channels, or whose
    sides the networks cannot halve often enough; and for checkpoints of another run.
    """
    recipe = recipe or pictures_recipe(images)
    pixels = _pixels(images)
    in_range("image", pixels, -1.0 - 1e-4, 1.0 + 1e-4)
    halved = 2 ** (len(recipe.autoencoder.channels) + len(recipe.denoiser.channels) - 2)
    height, width = pixels.shape[2:]
    fits = height % halved == 0 and width % halved == 0
    expect(fits, "images", f"{height}x{width} pixels", f"sides divisible by {halved}")

    generator = seeded(seed)
    autoencoder, net = recipe.networks(seed)

    def train(name: str, module: nn.Module, loss: Loss, data: InMemory, budget: Budget) -> None:
        file = None if folder is None else FilePath(folder) / f"{name}.safetensors"
        fit(module, loss, data, budget, generator=generator, checkpoint=file, label=name, progress=progress)

    train("autoencoder", autoencoder, reconstruct_loss(recipe.kl_weight), images, recipe.autoencoder_budget)
    space = LatentSpace.measured(autoencoder, pixels)
    known = latents(space, images, generator)
    train("denoiser", net, denoise_loss(recipe.path, recipe.parametrisation), known, recipe.denoiser_budget)
    c, h, w = known[0]["latent"].shape
    return LatentDiffusion(space, Denoiser(net, recipe.path, recipe.parametrisation), (c, h, w))


def _pixels(images: InMemory) -> Tensor:
    expect("image" in images.tensors, "images", sorted(images.tensors), 'a data set with a column "image"')
    return images.tensors["image"]
