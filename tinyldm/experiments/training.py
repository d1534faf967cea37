"""What the experiments share: the losses that ``fit`` minimises, latents as a data set, a denoiser from nothing."""

from typing import Any

import torch
from torch import Tensor

from ..data import InMemory
from ..denoiser import Denoiser
from ..losses import autoencoder_loss, denoising_loss, stratified_times
from ..nn import MLP, AutoencoderKL, Condition, UNet
from ..nn.config import Config
from ..path import Path
from ..runtime import device, seeded
from ..space import LatentSpace
from ..train import Budget, Loss, fit

LABEL_DROPOUT = 0.1  # how often a label is hidden, so that the network also learns the unconditional case


def reconstruct_loss(kl_weight: float) -> Loss:
    """The autoencoder's training loss for ``fit``: encode, sample, decode, compare."""

    def loss(module: AutoencoderKL, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        posterior = module.encode(batch["image"])
        return autoencoder_loss(batch["image"], module.decode(posterior.sample(generator)), posterior, kl_weight).mean()

    return loss


def denoise_loss(path: Path, parametrisation: str) -> Loss:
    """The denoiser's training loss for ``fit``: noise a latent to a random time and ask for the target back.

    A batch with "label" trains the conditional and the unconditional case at once; one without, the unconditional one.
    """

    def loss(module: UNet | MLP, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x0 = batch["latent"]
        t = stratified_times(path, len(x0), generator).to(x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        cond = Condition(batch.get("label"))
        if cond.label is not None:
            hidden = torch.rand(len(x0), generator=generator).to(x0.device) < LABEL_DROPOUT
            cond = cond.drop(hidden, module.config.classes)
        return denoising_loss(Denoiser(module, path, parametrisation), x0, eps, t, cond).mean()

    return loss


def latents(space: LatentSpace, images: InMemory, generator: torch.Generator) -> InMemory:
    """The data set that the denoiser learns: one posterior sample an image, "latent" and "label"."""
    z = space.encode(images.tensors["image"], generator).cpu()
    return InMemory({"latent": z, "label": images.tensors["label"]})


def train_denoiser(
    config: Config,
    path: Path,
    parametrisation: str,
    data: InMemory,
    budget: Budget,
    *,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Denoiser, Tensor]:
    """A fresh network trained on "latent" (N, ...), if there are any with "label" (N,), and its loss history."""
    net: Any = config.seeded(seed).to(device())
    loss = denoise_loss(path, parametrisation)
    history = fit(net, loss, data, budget, generator=seeded(seed), label=parametrisation, progress=progress)
    return Denoiser(net, path, parametrisation), history
