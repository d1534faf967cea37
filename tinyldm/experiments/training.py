"""What the experiments share: the losses that ``fit`` minimises, latents as a data set, a denoiser from nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from ..data import InMemory
from ..denoiser import Denoiser
from ..errors import expect
from ..losses import autoencoder_loss, denoising_loss, stratified_times
from ..nn import AutoencoderKL, Condition
from ..nn.config import Config
from ..path import Path
from ..prediction import Row
from ..runtime import device, seeded
from ..space import LatentSpace
from ..train import Budget, Loss, fit


def reconstruct_loss(kl_weight: float) -> Loss:
    """The autoencoder's training loss for ``fit``: encode, sample, decode, compare."""

    def loss(module: AutoencoderKL, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        posterior = module.encode(batch["image"])
        return autoencoder_loss(batch["image"], module.decode(posterior.sample(generator)), posterior, kl_weight).mean()

    return loss


def denoise_loss(path: Path, parametrisation: str | Row, label_dropout: float = 0.1) -> Loss:
    """The denoiser's training loss for ``fit``: noise a latent to a random time and ask for the target back.

    A batch with "label" trains the conditional and the unconditional case at once; one without, the unconditional one.
    label_dropout: how often a label is hidden, so that the network also learns the unconditional case.
    Raises ``ValueError`` for a dropout outside [0, 1], and for labels where the network does not say, in its
    ``config.classes``, how many there are (one more is the label that says nothing).
    """
    expect(0 <= label_dropout <= 1, "label_dropout", label_dropout, "a share from 0 to 1")

    def loss(module: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x0 = batch["latent"]
        t = stratified_times(path, len(x0), generator).to(x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        cond = Condition(batch.get("label"))
        if cond.label is not None:
            hidden = torch.rand(len(x0), generator=generator).to(x0.device) < label_dropout
            cond = cond.drop(hidden, _classes(module))
        return denoising_loss(Denoiser(module, path, parametrisation), x0, eps, t, cond).mean()

    return loss


def _classes(module: nn.Module) -> int:
    classes = getattr(getattr(module, "config", None), "classes", None)
    if not isinstance(classes, int) or classes < 1:
        given = f"a {type(module).__name__} whose config.classes is {classes}"
        raise ValueError(f'module: expected config.classes >= 1, or data without "label", got {given}')
    return classes


def latents(space: LatentSpace, images: InMemory, generator: torch.Generator) -> InMemory:
    """The data set that the denoiser learns: one posterior sample an image, "latent", and "label" if there are any."""
    z = space.encode(images.tensors["image"], generator).cpu()
    labels = {name: column for name, column in images.tensors.items() if name == "label"}
    return InMemory({"latent": z, **labels}, images.classes)


def train_denoiser(
    config: Config, path: Path, parametrisation: str, data: InMemory, budget: Budget, *, seed: int = 0, progress: bool = True
) -> tuple[Denoiser, Tensor]:
    """A fresh network trained on "latent" (N, ...), if there are any with "label" (N,), and its loss history."""
    net: Any = config.seeded(seed).to(device())
    loss = denoise_loss(path, parametrisation)
    history = fit(net, loss, data, budget, generator=seeded(seed), label=parametrisation, progress=progress)
    return Denoiser(net, path, parametrisation), history
