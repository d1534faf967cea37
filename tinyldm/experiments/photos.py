"""Training an autoencoder on pictures: pixels, features and an adversary in one loss, through the one loop."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..data import InMemory
from ..errors import choose, expect, in_range
from ..losses import (
    ERRORS,
    Features,
    adaptive_weight,
    hinge_discriminator,
    hinge_generator,
    perceptual_distance,
    reconstruction_error,
)
from ..losses.pretext import pretext_loss
from ..nn import AutoencoderConfig, AutoencoderKL, DiscriminatorConfig, FeatureNet, FeatureNetConfig
from ..runtime import device, reseeded, seeded
from ..train import Budget, Loss, fit


@dataclass(frozen=True)
class Objective:
    """What an autoencoder of pictures minimises: a mean over pixels, plus weights times the rest.

    pixel: "l1" or "l2". kl_weight: on the KL per latent entry. perceptual: on the distance of features. adversarial: on the
    hinge loss, times LDM's adaptive weight; the adversary takes part from update ``start`` on.
    Raises ``ValueError`` for a negative weight or start. Source: Rombach et al. (2022), appendix G, and LDM's code.
    """

    pixel: str = "l2"
    kl_weight: float = 1e-6
    perceptual: float = 0.0
    adversarial: float = 0.0
    start: int = 0

    def __post_init__(self) -> None:
        choose("pixel", self.pixel, ERRORS)
        for name in ("kl_weight", "perceptual", "adversarial", "start"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "a number >= 0")


@dataclass(frozen=True)
class Photos:
    """How an autoencoder of photographs is trained: the side of the crops, how many there are, and the budget."""

    size: int
    crops: int
    budget: Budget


SHIPPED = tuple(Photos(32, 12000, Budget(6000, 8, lr, ema=0.998)) for lr in (2e-3, 1e-3, 1e-3))  # the zoo's, in rounds
ROUNDS = {4: 2, 8: 2, 16: 3}  # for each number of channels: 16 have more to learn
OBJECTIVE = Objective("l2", kl_weight=1e-6)  # the zoo's
SEED = 0  # of the zoo's
FEATURES = Photos(48, 6000, Budget(600, 48, 2e-3))


def photos_config(channels: int) -> AutoencoderConfig:
    """A small f4 autoencoder of photographs with this many latent channels: 0.7 million parameters."""
    return AutoencoderConfig(in_channels=3, latent_channels=channels, channels=(24, 32, 64))


def initialise_weights(module: AutoencoderKL) -> AutoencoderKL:
    """Start every convolution at unit gain, and the posterior narrow (standard deviation about e^-3).

    PyTorch's own start shrinks what passes by the root of 3 a layer; with this one the first thousand updates bring
    about 2 dB more.
    """
    convolutions: list[Any] = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)
    last: Any = module.quant if module.config.quant else module.encoder.conv_out
    with torch.no_grad():
        last.weight[module.config.latent_channels :] *= 0.1
        last.bias[module.config.latent_channels :] = -6.0
    return module


class AutoencoderGAN(nn.Module):
    """An autoencoder and the discriminator that looks at its pictures, trained by one optimiser; counts its updates."""

    step: Tensor

    def __init__(self, autoencoder: AutoencoderKL, discriminator: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.discriminator = discriminator
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def losses(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """The hinge losses of the generator and of the discriminator, both ().

        The generator's sees the discriminator's weights as constants, the discriminator's sees the picture as one, so
        that a single backward pass gives each network the gradient of its own loss.
        """
        weights = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        generator = hinge_generator(functional_call(self.discriminator, weights, x_hat))
        discriminator = hinge_discriminator(self.discriminator(x), self.discriminator(x_hat.detach()))
        return generator, discriminator


def compression_loss(objective: Objective, features: Features | None = None) -> Loss:
    """The loss for ``fit``, of an ``AutoencoderKL``, or of a ``AutoencoderGAN`` if the objective has an adversary."""
    needed = objective.perceptual > 0
    expect(not needed or features is not None, "features", features, "a feature network for the perceptual term")

    def loss(module: Any, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x = batch["image"]
        autoencoder = module.autoencoder if isinstance(module, AutoencoderGAN) else module
        posterior = autoencoder.encode(x)
        x_hat = autoencoder.decode(posterior.sample(generator))
        error = reconstruction_error(x, x_hat, objective.pixel).mean()
        if needed and features is not None:
            error = error + objective.perceptual * perceptual_distance(features, x, x_hat).mean()
        total = error + objective.kl_weight * posterior.kl().mean() / posterior.mean[0].numel()
        return total + adversarial_loss(module, x, x_hat, error, objective) if isinstance(module, AutoencoderGAN) else total

    return loss


def adversarial_loss(module: AutoencoderGAN, x: Tensor, x_hat: Tensor, error: Tensor, objective: Objective) -> Tensor:
    """What the adversary adds to the loss, (): the weighted generator's term and the discriminator's own; 0 before the start."""
    generator_term, discriminator_term = module.losses(x, x_hat)
    last = module.autoencoder.decoder.conv_out.weight
    weight = objective.adversarial * adaptive_weight(error, generator_term, last)
    begun = module.step >= objective.start
    module.step += 1
    return begun * (weight * generator_term + discriminator_term)


def train_autoencoder(
    config: AutoencoderConfig,
    objective: Objective,
    data: InMemory,
    budget: Budget,
    *,
    seed: int = 0,
    features: Features | None = None,
    start_from: nn.Module | None = None,
    freeze_encoder: bool = False,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> tuple[AutoencoderKL, Tensor]:
    """Train an autoencoder on "image" (N, C, H, W) in [-1, 1]; returns it and its loss history (steps,).

    start_from: a trained autoencoder of this configuration whose weights are copied; None for fresh ones.
    freeze_encoder: train the decoder only, so that the latents stay what they were, to the bit.
    Raises ``ValueError`` for images outside [-1, 1], or an objective that needs features without any.
    """
    expect("image" in data.tensors, "data", f"{sorted(data.tensors)}", 'a column "image"')
    in_range("image", data.tensors["image"], -1.0 - 1e-4, 1.0 + 1e-4)
    with reseeded(seed):
        module = initialise_weights(config.build())
        rival = DiscriminatorConfig(config.in_channels).build() if objective.adversarial else None
    if start_from is not None:
        module.load_state_dict(start_from.state_dict())
    if freeze_encoder:
        for name, p in module.named_parameters():
            p.requires_grad_(not name.startswith(("encoder.", "quant.")))
    whole = (AutoencoderGAN(module, rival) if rival is not None else module).to(device())
    loss = compression_loss(objective, features)
    history = fit(
        whole, loss, data, budget, generator=seeded(seed), checkpoint=checkpoint, label="autoencoder", progress=progress
    )
    return module.requires_grad_(True), history


def train_features(data: InMemory, budget: Budget, *, seed: int = 0, progress: bool = True) -> FeatureNet:
    """Train the feature network of the perceptual distance on "image" (N, 3, S, S) and "label" (N,), the photograph of each."""

    def loss(net: FeatureNet, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        return pretext_loss(net, batch["image"], batch["label"], generator).mean()

    net: FeatureNet = FeatureNetConfig().seeded(seed).to(device())
    fit(net, loss, data, budget, generator=seeded(seed), label="features", progress=progress)
    return net


def patch_components(train: Tensor, test: Tensor, numbers: int, side: int = 4) -> Tensor:
    """``test`` rebuilt from this many principal components of its side x side patches: the linear rival, (N, C, H, W)."""

    def patches(x: Tensor) -> Tensor:
        return F.unfold(x, side, stride=side).transpose(1, 2).flatten(0, 1)  # (N * squares, C * side * side)

    mean = patches(train).mean(0)
    directions = torch.linalg.eigh(torch.cov((patches(train) - mean).T))[1][:, -numbers:]
    rebuilt = (patches(test) - mean) @ directions @ directions.T + mean
    squares = rebuilt.unflatten(0, (len(test), -1)).transpose(1, 2)
    return F.fold(squares, test.shape[2:], side, stride=side)
