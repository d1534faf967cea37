"""What is minimised, and at which times. Each loss is a number for each sample, (B,): the mean is the caller's."""

from .adversarial import adaptive_weight, hinge_discriminator, hinge_generator
from .autoencoding import ERRORS, autoencoder_loss, best_variance, free_bits, gaussian_nll, negative_elbo, reconstruction_error
from .beta import EffectiveBeta, beta_loss, effective_beta
from .contrastive import contrastive_loss
from .denoising import WEIGHTINGS, denoising_loss, score_matching_loss
from .perceptual import Features, perceptual_distance
from .pretext import DAMAGES, damaged, pretext_loss, recoloured, turned
from .times import importance_times, logit_normal_times, shift_times, stratified_times

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
    "contrastive_loss",
    "damaged",
    "denoising_loss",
    "effective_beta",
    "free_bits",
    "gaussian_nll",
    "hinge_discriminator",
    "hinge_generator",
    "importance_times",
    "logit_normal_times",
    "negative_elbo",
    "perceptual_distance",
    "pretext_loss",
    "recoloured",
    "reconstruction_error",
    "score_matching_loss",
    "shift_times",
    "stratified_times",
    "turned",
]
