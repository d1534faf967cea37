"""The small trainings on points in the plane: denoisers, and autoencoders with every weight of the posterior."""

import torch
from torch import Tensor

from ..data import InMemory
from ..denoiser import Denoiser
from ..losses import beta_loss
from ..nn import MLPConfig, PointCoder, PointCoderConfig
from ..path import Path
from ..runtime import device, scale, seeded
from ..train import Budget, Loss, fit
from .training import train_denoiser

POINTS = {"ci": 400, "cpu": 2000, "gpu": 10000}  # updates


def points_denoiser(
    path: Path, parametrisation: str, points: Tensor, *, steps: int | None = None, seed: int = 0, progress: bool = False
) -> tuple[Denoiser, Tensor]:
    """An ``MLP`` trained on points (N, D), and its loss history. steps: None for what the scale allows."""
    config = MLPConfig(dims=points.shape[1])
    data = InMemory({"latent": points.float()})
    budget = Budget(POINTS[scale()] if steps is None else steps, 256, 2e-3)
    return train_denoiser(config, path, parametrisation, data, budget, seed=seed, progress=progress)


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
    module = config.seeded(seed).to(device())
    data, loss = InMemory({"point": points.float()}), code_loss(beta, stochastic)
    return module, fit(module, loss, data, budget, generator=seeded(seed), label=f"beta {beta:g}", progress=progress)
