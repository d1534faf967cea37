"""The digits model from nothing to measures: what chapter 00 does slowly, in one call.

A recipe is a table of sizes and budgets, one row a scale; the program is the same for all of them.
"""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import zoo
from ..data import InMemory, load
from ..denoiser import Denoiser
from ..errors import choose
from ..latent import LatentDiffusion
from ..metrics import Judge, frechet_distance, nearest_distance, psnr
from ..nn import AutoencoderConfig, AutoencoderKL, Condition, UNet, UNetConfig
from ..path import VP, Path
from ..runtime import device, reseeded, scale, seeded
from ..space import LatentSpace
from ..train import Budget, fit
from .training import denoise_loss, latents, reconstruct_loss, train_denoiser

LATENTS = {"ci": 120, "cpu": 600, "gpu": 5000}  # updates of a denoiser beside the chapter's own
IMAGES = {"ci": 60, "cpu": 300, "gpu": 4000}  # updates of an autoencoder beside the chapter's own


@dataclass(frozen=True)
class Recipe:
    """Sizes, budgets and the few numbers that training a digits model needs."""

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
DIGITS = {
    "ci": Recipe(SMALL, Budget(160, 32, 3e-3), UNetConfig(channels=(32, 64)), Budget(500, 64, 2e-3)),
    "cpu": Recipe(SMALL, Budget(500, 32, 3e-3), UNetConfig(channels=(32, 64)), Budget(2200, 64, 2e-3)),
    "gpu": Recipe(
        AutoencoderConfig(channels=(64, 128, 128), blocks=2),
        Budget(4000, 128, 1e-3),
        UNetConfig(channels=(128, 256), blocks=2),
        Budget(10000, 256, 1e-3, ema=0.999),
    ),
}


def digits_recipe() -> Recipe:
    """The recipe of the scale that ``runtime.scale`` picks."""
    return choose("TINYLDM_SCALE", scale(), DIGITS)


def train_digits(recipe: Recipe, seed: int = 0, folder: str | None = None, progress: bool = True) -> LatentDiffusion:
    """Train autoencoder, then denoiser. folder: where the two checkpoints go, so that a killed run can go on."""

    def at(name: str) -> str | None:
        return f"{folder}/{name}.safetensors" if folder else None

    images, generator = load("digits"), seeded(seed)
    autoencoder, net = recipe.networks(seed)
    fit(
        autoencoder,
        reconstruct_loss(recipe.kl_weight),
        images,
        recipe.autoencoder_budget,
        generator=generator,
        checkpoint=at("autoencoder"),
        label="autoencoder",
        progress=progress,
    )
    space = LatentSpace.measured(autoencoder, images.tensors["image"])
    known = latents(space, images, generator)
    fit(
        net,
        denoise_loss(recipe.path, recipe.parametrisation),
        known,
        recipe.denoiser_budget,
        generator=generator,
        checkpoint=at("denoiser"),
        label="denoiser",
        progress=progress,
    )
    c, h, w = known[0]["latent"].shape
    return LatentDiffusion(space, Denoiser(net, recipe.path, recipe.parametrisation), (c, h, w))


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


def measure(
    model: LatentDiffusion, judge: Judge, n: int = 1000, guidance: float = 1.0, seed: int = 0
) -> dict[str, float]:
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
