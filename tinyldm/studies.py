"""Floor 6. The small trainings that the chapters repeat: denoisers and autoencoders of points and of digits."""

from typing import Any

import torch
from torch import Tensor

from . import zoo
from .data import InMemory, load
from .denoiser import Denoiser
from .latent import LatentDiffusion
from .losses import beta_loss
from .nn import AutoencoderKL, PointCoder, PointCoderConfig, PointNetConfig, UNetConfig
from .path import Path
from .recipes import SMALL, denoise_loss, latents, reconstruct_loss
from .runtime import device, scale, seeded
from .train import Budget, Loss, fit

POINTS = {"ci": 400, "cpu": 2000, "gpu": 10000}  # updates
LATENTS = {"ci": 120, "cpu": 600, "gpu": 5000}
IMAGES = {"ci": 60, "cpu": 300, "gpu": 4000}


def points_denoiser(
    path: Path, row: str, points: Tensor, *, steps: int | None = None, seed: int = 0, progress: bool = False
) -> tuple[Denoiser, Tensor]:
    """A ``PointNet`` trained on points (N, D), and its loss history. steps: None for what the scale allows."""
    config = PointNetConfig(dims=points.shape[1])
    data = InMemory({"latent": points.float()})
    budget = Budget(POINTS[scale()] if steps is None else steps, 256, 2e-3)
    return _trained(config, path, row, data, budget, seed, progress)


def latents_denoiser(
    path: Path,
    row: str,
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
    return _trained(config, path, row, data, budget, seed, progress)


def _fresh(config: Any, seed: int) -> Any:
    """The network of a configuration, initialised from this seed, on the device of ``runtime.device``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build().to(device())


def _trained(
    config: PointNetConfig | UNetConfig, path: Path, row: str, data: InMemory, budget: Budget, seed: int, progress: bool
) -> tuple[Denoiser, Tensor]:
    net = _fresh(config, seed)
    history = fit(net, denoise_loss(path, row), data, budget, generator=seeded(seed), label=row, progress=progress)
    return Denoiser(net, path, row), history


def code_loss(beta: float, stochastic: bool = True) -> Loss:
    """The loss of a ``PointCoder`` for ``fit``: summed squared error plus ``beta`` times the summed KL, a mean over points.

    stochastic: decode a sample of the posterior; if not, its mean, which with beta = 0 is the plain autoencoder.
    """

    def loss(module: PointCoder, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        posterior = module.encode(batch["point"])
        z = posterior.sample(generator) if stochastic else posterior.mode()
        return beta_loss(batch["point"], module.decode(z), posterior, beta).mean()

    return loss


def points_autoencoder(
    points: Tensor,
    beta: float,
    *,
    stochastic: bool = True,
    config: PointCoderConfig | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[PointCoder, Tensor]:
    """A ``PointCoder`` trained on points (N, D) with ``code_loss``, and its loss history.

    config: None for two latents and the default sizes. steps: None for what the scale allows.
    """
    config = config or PointCoderConfig(dims=points.shape[1])
    budget = Budget(POINTS[scale()] if steps is None else steps, 256, 2e-3)
    module = _fresh(config, seed)
    data, loss = InMemory({"point": points.float()}), code_loss(beta, stochastic)
    return module, fit(module, loss, data, budget, generator=seeded(seed), label=f"beta {beta:g}", progress=progress)


def digits_autoencoder(
    kl_weight: float, *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> tuple[AutoencoderKL, Tensor]:
    """An autoencoder of chapter 00's small size trained on digits with this KL weight (mean/mean), and its loss history."""
    budget = Budget(IMAGES[scale()] if steps is None else steps, 32, 3e-3)
    module, label = _fresh(SMALL, seed), f"KL weight {kl_weight:g}"
    loss = reconstruct_loss(kl_weight)
    return module, fit(module, loss, load("digits"), budget, generator=seeded(seed), label=label, progress=progress)


def digits() -> tuple[LatentDiffusion, InMemory]:
    """The digits model that comes with the library, and the latents of the training digits in its space."""
    model = zoo.load("digits")
    return model, latents(model.space, load("digits"), seeded(0))
