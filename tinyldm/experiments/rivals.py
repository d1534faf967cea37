"""The other ways to a latent space: a codebook in the middle, and a generator that has no encoder."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..data import InMemory
from ..errors import expect
from ..gaussian import DiagonalGaussian
from ..losses import hinge_discriminator, hinge_generator
from ..nn import AutoencoderKL, PointCoder, PointCoderConfig, VectorQuantizer
from ..runtime import device, normal, reseeded, scale, seeded
from ..train import Budget, Loss, fit
from .points import POINTS, points_autoencoder

KINDS = {"ae": "plain autoencoder", "vae": "posterior with a KL weight", "vq": "codebook"}  # of autoencoder
CERTAIN = -30.0  # log-variance of a posterior that is a point


class Codebook(nn.Module):
    """An autoencoder whose decoder first replaces every latent vector by the nearest code.

    coder: an ``AutoencoderKL`` or a ``PointCoder``, whose log-variances are not used. The quantiser belongs to the decoder,
    so what is encoded, and what a denoiser may learn, is the vector before it. Source: Rombach et al. (2022), section 3.1.
    """

    def __init__(self, coder: AutoencoderKL | PointCoder, quantizer: VectorQuantizer) -> None:
        super().__init__()
        self.coder, self.quantizer = coder, quantizer
        self.config: Any = coder.config

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """The latent before the quantiser, as a Gaussian of no width."""
        mean = self.coder.encode(x).mean
        return DiagonalGaussian(mean, torch.full_like(mean, CERTAIN))

    def decode(self, z: Tensor) -> Tensor:
        """Snap every vector of z to its code, then decode."""
        return self.coder.decode(self.quantizer(z)[0])


def codebook_loss(name: str) -> Loss:
    """A ``Codebook``'s loss for ``fit``: squared error, a mean over entries, plus the quantiser's. name: "image" or "point"."""

    def loss(module: Codebook, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x = batch[name]
        z, _, quantization = module.quantizer(module.coder.encode(x).mean)
        return (F.mse_loss(module.coder.decode(z), x, reduction="none").flatten(1).mean(1) + quantization).mean()

    return loss


def codebook(coder: AutoencoderKL | PointCoder, x: Tensor, codes: int, seed: int = 0) -> Codebook:
    """A ``Codebook`` around a coder; its codes begin on latents of x (N, ...), so that each of them begins in use."""
    with torch.no_grad():
        z = coder.encode(x).mean
    quantizer = VectorQuantizer(codes, z.shape[1]).to(z.device)
    quantizer.start_from(z, seeded(seed))
    return Codebook(coder, quantizer)


def points_codebook(
    points: Tensor, codes: int = 64, *, steps: int | None = None, seed: int = 0, progress: bool = False
) -> tuple[Codebook, Tensor]:
    """A ``Codebook`` trained on points (N, D), and its loss history. steps: None for what the scale allows.

    The first quarter of the steps trains a plain autoencoder, without a codebook: codes that start on the latents of an
    untrained encoder start in one spot, and most are never used again.
    """
    steps = POINTS[scale()] if steps is None else steps
    coder, _ = points_autoencoder(points, 0.0, stochastic=False, steps=max(steps // 4, 1), seed=seed, progress=progress)
    module = codebook(coder, points.float().to(device()), codes, seed)
    budget = Budget(max(steps - steps // 4, 1), 256, 2e-3)
    data, loss = InMemory({"point": points.float()}), codebook_loss("point")
    return module, fit(module, loss, data, budget, generator=seeded(seed), label="codebook", progress=progress)


def points_gan(points: Tensor, latents: int = 2, *, steps: int | None = None, seed: int = 0, progress: bool = False) -> nn.Module:
    """A generator (B, latents) -> (B, D) trained on points (N, D) against a discriminator, with the hinge losses.

    An update of the discriminator, then one of the generator; what is returned is the moving average of the latter's
    weights. steps: None for what the scale allows. Source: Goodfellow et al., Generative Adversarial Nets (2014).
    """
    steps = POINTS[scale()] if steps is None else steps
    with reseeded(seed):
        maker = PointCoderConfig(points.shape[1], latents, width=128).build().decoder.to(device())
        critic = PointCoderConfig(points.shape[1], 1, width=128).build().encoder.to(device())
        average = PointCoderConfig(points.shape[1], latents, width=128).build().decoder.to(device())
    budget = Budget(steps, 256, 1e-3)
    steppers = [torch.optim.Adam(net.parameters(), lr=budget.lr, betas=(0.0, 0.9)) for net in (maker, critic)]
    generator, like = seeded(seed), next(maker.parameters())
    for step in tqdm(range(steps), desc="GAN", disable=not progress, mininterval=0.5):
        real = points[torch.randint(len(points), (256,), generator=generator)].to(like)
        fake = maker(normal((256, latents), generator, like))
        critic_loss = hinge_discriminator(critic(real)[:, 0], critic(fake.detach())[:, 0])
        _update(steppers[1], critic_loss)
        _update(steppers[0], hinge_generator(critic(maker(normal((256, latents), generator, like)))[:, 0]))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(maker.parameters()), 1 - budget.decay(step))
    return average.eval()


def _update(stepper: torch.optim.Optimizer, loss: Tensor) -> None:
    stepper.zero_grad()
    loss.backward()
    stepper.step()


def invert_generator(
    make: nn.Module, x: Tensor, latents: int, *, tries: int = 8, steps: int = 200, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Search the latent that a generator turns into x (N, ...): (z (N, latents), distance (N,)), the best of ``tries`` starts.

    Adam on |make(z) - x|^2, from standard normal starts. It costs tries * steps passes through the generator and back,
    which an encoder saves; and it may end in a local minimum. Raises ``ValueError`` for tries or steps < 1.
    """
    expect(tries >= 1 and steps >= 1, "tries, steps", (tries, steps), "whole numbers >= 1")
    like = next(make.parameters())
    target = x.to(like).repeat(tries, *(1,) * (x.ndim - 1))
    z = normal((len(target), latents), seeded(seed), like).requires_grad_()
    stepper = torch.optim.Adam([z], lr=0.1)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, steps)
    for _ in range(steps):
        _update(stepper, (make(z) - target).square().sum())
        rates.step()
    with torch.no_grad():
        miss = (make(z) - target).flatten(1).norm(dim=1).reshape(tries, len(x))
    best = miss.argmin(0)
    rows = torch.arange(len(x), device=best.device)
    return z.detach().reshape(tries, len(x), latents)[best, rows], miss[best, rows]
