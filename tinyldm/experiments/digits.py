"""The digits model from nothing to measures: what chapter 00 does slowly, in one call."""

import os
import time

import torch
from torch import Tensor

from .. import zoo
from ..data import InMemory, load
from ..denoiser import Denoiser
from ..errors import choose
from ..latent import LatentDiffusion
from ..metrics import Judge, frechet_distance, nearest_distance, psnr
from ..nn import AutoencoderKL, Condition, UNetConfig
from ..path import Path
from ..runtime import device, scale, seeded
from ..train import Budget, fit
from .pictures import RECIPES, SMALL, Recipe, train_pictures
from .training import latents, reconstruct_loss, train_denoiser

LATENTS = {"ci": 120, "cpu": 600, "gpu": 5000}  # updates of a denoiser beside the chapter's own
IMAGES = {"ci": 60, "cpu": 300, "gpu": 4000}  # updates of an autoencoder beside the chapter's own


DIGITS = RECIPES  # the numbers of pictures.py: one channel and ten classes are what its networks have if nothing else is said


def digits_recipe() -> Recipe:
    """The recipe of the scale that ``runtime.scale`` picks.

    Raises what ``runtime.scale`` raises.
    """
    return choose("TINYLDM_SCALE", scale(), DIGITS)


def train_digits(
    recipe: Recipe, seed: int = 0, folder: str | os.PathLike | None = None, progress: bool = True
) -> LatentDiffusion:
    """Train autoencoder, then denoiser, on the digits. folder: where the two checkpoints go, as in ``train_pictures``."""
    return train_pictures(load("digits"), seed, folder=folder, recipe=recipe, progress=progress)


def digits_judge() -> Judge:
    """The classifier and the feature space, made from real digits."""
    train, test = load("digits").tensors, load("digits", "test").tensors
    return Judge(train["image"], train["label"], test["image"])


def gaussian_baseline(z: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n samples of the Gaussian with the mean and full covariance of latents z (N, c, h, w): diffusion's simplest rival."""
    flat = z.flatten(1).double().cpu()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    noise = torch.randn(n, flat.shape[1], generator=generator, dtype=torch.float64)
    return ((noise * values.clamp(min=0).sqrt()) @ vectors.T + flat.mean(0)).float().unflatten(1, z.shape[1:])


def measure(model: LatentDiffusion, judge: Judge, n: int = 1000, guidance: float = 1.0, seed: int = 0) -> dict[str, float]:
    """What a reader wants to know of a digits model, each number beside the one to compare it with.

    n class-conditional samples at this guidance, equally many of each digit. Keys ending in "_real" or "_gaussian" are
    the same measure on held-out digits and on ``gaussian_baseline``.
    """
    train, test = load("digits").tensors, load("digits", "test").tensors
    space = model.space
    labels = torch.arange(n) % 10
    start = time.perf_counter()
    samples = model.sample(n, Condition(labels), guidance=guidance, generator=seeded(seed)).cpu()
    seconds = time.perf_counter() - start
    known = space.encode(train["image"], seeded(seed))
    rival = space.decode(gaussian_baseline(known, n, seeded(seed))).cpu()
    chosen = torch.randperm(len(train["image"]), generator=seeded(seed))[:n]  # as many real digits as samples
    held_out = judge.features(test["image"])
    rebuilt = space.decode(space.encode(test["image"])).cpu()
    return {
        "psnr": psnr(test["image"], rebuilt).mean().item(),
        "guidance": guidance,
        "accuracy": judge.accuracy(samples, labels),
        "accuracy_real": judge.accuracy(test["image"], test["label"]),
        "frechet": frechet_distance(judge.features(samples), held_out),
        "frechet_real": frechet_distance(judge.features(train["image"][chosen]), held_out),
        "frechet_gaussian": frechet_distance(judge.features(rival), held_out),
        "nearest": nearest_distance(samples, train["image"]).median().item(),
        "nearest_real": nearest_distance(test["image"], train["image"]).median().item(),
        "sampling_seconds": seconds,
    }


def latents_denoiser(
    path: Path,
    parametrisation: str,
    data: InMemory,
    *,
    channels: tuple[int, ...] = (32, 64),
    steps: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Denoiser, Tensor]:
    """A U-Net trained on latents "latent" (N, c, h, w), if there are any with "label" (N,), and its loss history.

    channels: its widths, two levels of chapter 00's size if nothing is said. steps: None for what the scale allows.
    """
    config = UNetConfig(in_channels=data.tensors["latent"].shape[1], channels=channels)
    budget = Budget(LATENTS[scale()] if steps is None else steps, 64, 2e-3)
    return train_denoiser(config, path, parametrisation, data, budget, seed=seed, progress=progress)


def digits_autoencoder(
    kl_weight: float, *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> tuple[AutoencoderKL, Tensor]:
    """An autoencoder of chapter 00's small size trained on digits with this KL weight (mean/mean), and its loss history."""
    budget = Budget(IMAGES[scale()] if steps is None else steps, 32, 3e-3)
    module, label = SMALL.seeded(seed).to(device()), f"KL weight {kl_weight:g}"
    loss = reconstruct_loss(kl_weight)
    return module, fit(module, loss, load("digits"), budget, generator=seeded(seed), label=label, progress=progress)


def shipped_digits() -> tuple[LatentDiffusion, InMemory]:
    """The digits model that comes with the library, and the latents of the training digits in its space."""
    model = zoo.load("digits")
    return model, latents(model.space, load("digits"), seeded(0))
