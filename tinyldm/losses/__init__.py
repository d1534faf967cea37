"""Floor 4. What is minimised. Each loss is a number for each sample, (B,): the mean is the caller's."""

from .adversarial import adaptive_weight, hinge_discriminator, hinge_generator
from .autoencoding import (
    ERRORS,
    autoencoder_loss,
    best_variance,
    free_bits,
    gaussian_nll,
    negative_elbo,
    reconstruction_error,
)
from .beta import EffectiveBeta, beta_loss, effective_beta
from .denoising import WEIGHTINGS, denoising_loss, score_matching_loss
from .perceptual import Features, perceptual_distance
from .questions import DAMAGES, damaged, question_loss, recoloured, turned

__all__ = [
    "DAMAGES",
    "ERRORS",
    "WEIGHTINGS",
    "EffectiveBeta",
    "Features",
    "adaptive_weight",
    "autoencoder_loss",
    "best_variance",
    "beta_loss",
    "damaged",
    "denoising_loss",
    "effective_beta",
    "free_bits",
    "gaussian_nll",
    "hinge_discriminator",
    "hinge_generator",
    "negative_elbo",
    "perceptual_distance",
    "question_loss",
    "recoloured",
    "reconstruction_error",
    "score_matching_loss",
    "turned",
]
