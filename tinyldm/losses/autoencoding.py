"""What an autoencoder minimises: the reconstruction as a likelihood, and the price of the posterior in nats."""

import math

import torch
from torch import Tensor

from ..broadcast import expand, rows
from ..errors import choose, expect
from ..gaussian import DiagonalGaussian


def alike(x: Tensor, x_hat: Tensor, posterior: DiagonalGaussian | None = None) -> None:
    """Refuse a reconstruction of another shape, a posterior of another batch, and data with NaN or infinities.

    Data on an accelerator are not looked at: reading them back would stall it.
    """
    expect(x_hat.shape == x.shape, "x_hat", f"shape {tuple(x_hat.shape)}", f"the shape of x, {tuple(x.shape)}")
    if posterior is not None:
        expect(len(posterior.mean) == len(x), "posterior", f"{len(posterior.mean)} samples", f"{len(x)}, as many as x")
    if x.device.type == "cpu" and x.numel():
        least, most = (float(v) for v in torch.aminmax(x.detach()))
        expect(math.isfinite(least) and math.isfinite(most), "x", f"values in [{least:g}, {most:g}]", "finite values")


def autoencoder_loss(x: Tensor, x_hat: Tensor, posterior: DiagonalGaussian, kl_weight: float) -> Tensor:
    """Mean squared error a pixel, plus ``kl_weight`` times the KL to N(0, I) a latent entry, (B,). Implements :eq:`ae-loss`.

    x, x_hat: (B, C, H, W). Both terms are means over their own entries, so the weight does not depend on the sizes.
    Raises ``ValueError`` for shapes that differ, a negative weight, or data that are not finite.
    Source: Rombach et al. (2022), section 3.1 and appendix G, without the perceptual and adversarial terms.
    """
    alike(x, x_hat, posterior)
    expect(kl_weight >= 0, "kl_weight", kl_weight, "a number >= 0")
    entries = posterior.mean[0].numel()
    return rows((x - x_hat) ** 2).mean(1) + kl_weight * posterior.kl() / entries


ERRORS = {"l1": torch.abs, "l2": torch.square}


def reconstruction_error(x: Tensor, x_hat: Tensor, kind: str = "l2") -> Tensor:
    """How far a reconstruction is from its picture, a mean over entries, (B,).

    x, x_hat: (B, ...), alike. kind: "l1", |x - x_hat|, up to constants the nll of a Laplace decoder, whose best guess is
    the median; "l2", its square, a Gaussian decoder's, whose best guess is the mean.
    Raises ``ValueError`` for shapes that differ, another kind, or data that are not finite.
    """
    alike(x, x_hat)
    return rows(choose("kind", kind, ERRORS)(x - x_hat)).mean(1)


def gaussian_nll(x: Tensor, x_hat: Tensor, variance: float | Tensor) -> Tensor:
    """-log N(x; x_hat, variance) in nats, constant included, summed over entries, (B,). Implements :eq:`gaussian-decoder`.

    x, x_hat: (B, ...), alike. variance: a number or () for all, (B,), one a sample, or of the rank of x, one an entry.
    The density of continuous x can exceed 1, so the result may be negative.
    Raises ``ValueError`` for shapes that differ, a variance that is not positive, or data that are not finite.
    Source: Kingma and Welling (2014), appendix C.2.
    """
    alike(x, x_hat)
    v = torch.as_tensor(variance, dtype=x.dtype, device=x.device)
    if v.device.type == "cpu":
        expect(bool((v > 0).all()), "variance", float(v.detach().min()), "a number > 0")
    v = torch.as_tensor(expand(v, x) if v.ndim < x.ndim else v)
    return rows((x - x_hat) ** 2 / v + torch.log(2 * math.pi * v)).sum(1) / 2


def best_variance(x: Tensor, x_hat: Tensor) -> Tensor:
    """The one variance under which the data are most probable, (): the mean squared error. Implements :eq:`best-variance`.

    x, x_hat: (B, ...), alike. With it, the mean of ``gaussian_nll`` is D/2 (log(2 pi e) + log of the mean squared error).
    Raises ``ValueError`` for shapes that differ or data that are not finite.
    Source: Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders (2021), section 3.
    """
    alike(x, x_hat)
    return ((x - x_hat) ** 2).mean()


def negative_elbo(x: Tensor, x_hat: Tensor, posterior: DiagonalGaussian, variance: float | Tensor = 1.0) -> Tensor:
    """Nats to send z and then x given z: ``gaussian_nll`` plus KL(posterior || N(0, I)), (B,). Implements :eq:`vae-elbo`.

    x_hat: the decoder's output at a *sample* of the posterior; the mean over samples is no less than -log p(x), and equal
    to it only if the posterior is exact. Shapes, variance and errors as in ``gaussian_nll``.
    Source: Kingma and Welling (2014), equations 3 and 10.
    """
    alike(x, x_hat, posterior)
    return gaussian_nll(x, x_hat, variance) + posterior.kl()


def free_bits(posterior: DiagonalGaussian, floor: float, group: str = "entry") -> Tensor:
    """KL(posterior || N(0, I)) in nats of which each group pays at least ``floor``, (B,). Implements :eq:`free-bits`.

    A group whose KL is below the floor has no gradient, so nothing presses it further towards the prior. group: "entry",
    every latent entry of every sample by itself; "channel", as in the paper: a channel's KL summed over space and
    averaged over the batch, so that single pictures may pay less (then all B numbers are the same).
    Raises ``ValueError`` for a negative floor or another group.
    Source: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow (2016), equation 15.
    """
    expect(floor >= 0, "floor", floor, "a number of nats >= 0")
    by_channel = choose("group", group, {"entry": False, "channel": True})
    kl = posterior.kl_of_entries()
    if by_channel:
        kl = kl.flatten(2).sum(2) if kl.ndim > 2 else kl
        return kl.mean(0).clamp(min=floor).sum().expand(len(posterior.mean))
    return rows(kl.clamp(min=floor)).sum(1)
