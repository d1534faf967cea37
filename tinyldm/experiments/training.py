"""What the experiments share: the losses that ``fit`` minimises, latents as a data set, a denoiser from nothing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
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

MADE = {"scale": "cpu", "seed": 0, "threads": torch.get_num_threads()}  # what the cards of the zoo have in common
SLOTS = tuple(field.name for field in fields(Condition) if field.name != "residuals")  # columns that are a condition
Shares = float | Mapping[str, float]  # how often all slots are hidden at once, or each


def timed(act: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return act(*arguments, **options), time.perf_counter() - start


def reconstruct_loss(kl_weight: float) -> Loss:
    """The autoencoder's training loss for ``fit``: encode, sample, decode, compare."""

    def loss(module: AutoencoderKL, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        posterior = module.encode(batch["image"])
        return autoencoder_loss(batch["image"], module.decode(posterior.sample(generator)), posterior, kl_weight).mean()

    return loss


def denoise_loss(
    path: Path,
    parametrisation: str | Row,
    label_dropout: float = 0.1,
    *,
    null: Condition | None = None,
    dropout: Shares | None = None,
) -> Loss:
    """The denoiser's training loss for ``fit``: noise a latent to a random time and ask for the target back.

    A batch's columns that are named like slots of a ``Condition`` are what the network is told about its "latent". Hiding them
    now and then trains the conditional and the unconditional case at once; without any, only the latter is trained.
    label_dropout: how often a label, if there is one, is hidden behind the label that says nothing. null: of batch 1, what
    else is hidden: every slot that it fills, behind what it says. dropout: how often, where that is not as often as a label:
    one share of all slots at once, or shares by name, {"tokens": 0.1, "label": 0.2}, each with a draw of its own; a slot that
    is not named is never hidden.
    Raises ``ValueError`` for a share outside [0, 1] or of a slot that null leaves empty, a null of another batch or with
    residuals; while training, for a slot of null that is no column, and for labels where neither null fills that slot nor
    the network says, in its ``config.classes``, how many there are (one more is the label that says nothing).
    """
    null = null or Condition()
    expect(not null or len(null) == 1, "null", f"a batch of {len(null) if null else 0}", "a condition of batch 1")
    expect(null.residuals is None, "null.residuals", "a value", "None: no column holds them")
    name, given = ("label_dropout", label_dropout) if dropout is None else ("dropout", dropout)
    shares = given if isinstance(given, Mapping) else {"label": given}
    strange = sorted(shares.keys() - set(_hideable(null)))
    expect(not strange, name, ", ".join(strange), f"slots that something hides: {', '.join(_hideable(null))}")
    expect(all(0 <= share <= 1 for share in shares.values()), name, given, "a share from 0 to 1")

    def loss(module: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x0 = batch["latent"]
        t = stratified_times(path, len(x0), generator).to(x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        told: dict[str, Any] = {slot: batch[slot] for slot in SLOTS if slot in batch}
        cond = _hide(Condition(**told), x0, module, null, label_dropout if dropout is None else dropout, generator)
        return denoising_loss(Denoiser(module, path, parametrisation), x0, eps, t, cond).mean()

    return loss


def _hideable(null: Condition) -> list[str]:
    return [slot for slot in SLOTS if slot == "label" or (slot != "tokens_mask" and getattr(null, slot) is not None)]


def _hide(
    cond: Condition, x0: Tensor, module: nn.Module, null: Condition, share: Shares, generator: torch.Generator
) -> Condition:
    """What is left of the condition of x0: all slots hidden by one draw, or each by its own."""
    slots = [slot for slot in _hideable(null) if slot != "label" or cond.label is not None]
    apart = [([slot], share[slot]) for slot in slots if slot in share] if isinstance(share, Mapping) else [(slots, share)]
    for together, often in apart:
        if together:
            where = torch.rand(len(x0), generator=generator).to(x0.device) < often
            for slot in together:
                cond = cond.drop(where, _nothing(module, null, slot))
    return cond


def _nothing(module: nn.Module, null: Condition, slot: str) -> int | Condition:
    """What hides a slot: what null says in it, or the label after the last."""
    if slot == "label" and null.label is None:
        return _classes(module)
    names = ("tokens", "tokens_mask") if slot == "tokens" else (slot,)
    return Condition(**{name: getattr(null, name) for name in names})


def _classes(module: nn.Module) -> int:
    classes = getattr(getattr(module, "config", None), "classes", None)
    if not isinstance(classes, int) or classes < 1:
        given = f"a {type(module).__name__} whose config.classes is {classes}"
        raise ValueError(f'module: expected config.classes >= 1, or data without "label", got {given}')
    return classes


def latents(space: LatentSpace, images: InMemory, generator: torch.Generator) -> InMemory:
    """The data set that the denoiser learns: one posterior sample an image, "latent", and every column that tells of it.

    Those are the columns named like slots of a ``Condition``, but for "image", which here is the picture itself.
    """
    z = space.encode(images.tensors["image"], generator).cpu()
    told = {name: column for name, column in images.tensors.items() if name in SLOTS and name != "image"}
    return InMemory({"latent": z, **told}, images.classes)


def train_denoiser(
    config: Config, path: Path, parametrisation: str, data: InMemory, budget: Budget, *, seed: int = 0, progress: bool = True
) -> tuple[Denoiser, Tensor]:
    """A fresh network trained on "latent" (N, ...) and what else ``denoise_loss`` reads, and its loss history."""
    net: Any = config.seeded(seed).to(device())
    loss = denoise_loss(path, parametrisation)
    history = fit(net, loss, data, budget, generator=seeded(seed), label=parametrisation, progress=progress)
    return Denoiser(net, path, parametrisation), history
