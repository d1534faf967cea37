"""Floor 6. The small trainings that the chapters repeat: a denoiser of points, a denoiser of digits' latents."""

import torch
from torch import Tensor

from . import zoo
from .data import InMemory, load
from .denoiser import Denoiser
from .latent import LatentDiffusion
from .nn import PointNetConfig, UNetConfig
from .path import Path
from .recipes import denoise_loss, latents
from .runtime import device, scale, seeded
from .train import Budget, fit

POINTS = {"ci": 400, "cpu": 2000, "gpu": 10000}  # updates
LATENTS = {"ci": 120, "cpu": 600, "gpu": 5000}


def points_denoiser(
    path: Path, row: str, points: Tensor, *, steps: int | None = None, seed: int = 0, progress: bool = False
) -> tuple[Denoiser, Tensor]:
    """A ``PointNet`` trained on points (N, D), and its loss history. steps: None for what the scale allows."""
    config = PointNetConfig(dims=points.shape[1])
    data = InMemory({"latent": points.float()})
    budget = Budget(POINTS[scale()] if steps is None else steps, 256, 2e-3)
    return _trained(config, path, row, data, budget, seed, progress)


def latents_denoiser(
    path: Path, row: str, data: InMemory, *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> tuple[Denoiser, Tensor]:
    """A U-Net of chapter 00's size trained on latents "latent" (N, c, h, w) and "label" (N,), and its loss history."""
    config = UNetConfig(in_channels=data.tensors["latent"].shape[1], channels=(32, 64))
    budget = Budget(LATENTS[scale()] if steps is None else steps, 64, 2e-3)
    return _trained(config, path, row, data, budget, seed, progress)


def _trained(
    config: PointNetConfig | UNetConfig, path: Path, row: str, data: InMemory, budget: Budget, seed: int, progress: bool
) -> tuple[Denoiser, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = config.build().to(device())
    history = fit(net, denoise_loss(path, row), data, budget, generator=seeded(seed), label=row, progress=progress)
    return Denoiser(net, path, row), history


def digits() -> tuple[LatentDiffusion, InMemory]:
    """The digits model that comes with the library, and the latents of the training digits in its space."""
    model = zoo.load("digits")
    return model, latents(model.space, load("digits"), seeded(0))
