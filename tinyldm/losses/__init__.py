"""Floor 4. What is minimised. Each loss is a number for each sample, (B,): the mean is the caller's."""

from .autoencoding import autoencoder_loss, best_variance, free_bits, gaussian_nll, negative_elbo, reconstruction_error
from .beta import EffectiveBeta, beta_loss, effective_beta
from .denoising import WEIGHTINGS, denoising_loss, score_matching_loss

__all__ = [
    "WEIGHTINGS",
    "EffectiveBeta",
    "autoencoder_loss",
    "best_variance",
    "beta_loss",
    "denoising_loss",
    "effective_beta",
    "free_bits",
    "gaussian_nll",
    "negative_elbo",
    "reconstruction_error",
    "score_matching_loss",
]
