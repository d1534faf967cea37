"""What the chapters train: digits, photographs, points, their rivals, and the models of the zoo."""

from . import sweeps
from .digits import (
    DIGITS,
    IMAGES,
    LATENTS,
    digits_autoencoder,
    digits_judge,
    digits_recipe,
    gaussian_baseline,
    latents_denoiser,
    measure,
    shipped_digits,
    train_digits,
)
from .photos import Objective, patch_components, photos_config, train_autoencoder, train_features
from .pictures import SMALL, Recipe, pictures_recipe, train_pictures
from .points import POINTS, code_loss, points_autoencoder, points_denoiser
from .rivals import Codebook, codebook, codebook_loss, invert_generator, points_codebook, points_gan
from .training import denoise_loss, latents, reconstruct_loss, train_denoiser

__all__ = [
    "DIGITS",
    "IMAGES",
    "LATENTS",
    "POINTS",
    "SMALL",
    "Codebook",
    "Objective",
    "Recipe",
    "code_loss",
    "codebook",
    "codebook_loss",
    "denoise_loss",
    "digits_autoencoder",
    "digits_judge",
    "digits_recipe",
    "gaussian_baseline",
    "invert_generator",
    "latents",
    "latents_denoiser",
    "measure",
    "patch_components",
    "photos_config",
    "pictures_recipe",
    "points_autoencoder",
    "points_codebook",
    "points_denoiser",
    "points_gan",
    "reconstruct_loss",
    "shipped_digits",
    "sweeps",
    "train_autoencoder",
    "train_denoiser",
    "train_digits",
    "train_features",
    "train_pictures",
]
