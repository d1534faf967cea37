"""All posteriors of a data set poured together, and what their divergence from the prior consists of."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..broadcast import rows
from ..errors import expect
from .diagonal import DiagonalGaussian

ENTRIES = 2**23  # how many differences are held in memory at once


def aggregate_log_prob(posterior: DiagonalGaussian, z: Tensor) -> Tensor:
    """log q(z) in nats, (M,): the density of the equal mixture of all N posteriors at the latents z (M, ...).

    posterior: (N, ...). Computed in float64. Raises ``ValueError`` when a latent has another number of entries.
    """
    mean, logvar, points = (rows(v).detach().double() for v in (posterior.mean, posterior.logvar, z))
    n, d = mean.shape
    expect(points.shape[1] == d, "z", f"{points.shape[1]} entries a latent", f"{d}, as in the posterior")
    precision, constant = torch.exp(-logvar), logvar.sum(1) + d * math.log(2 * math.pi)
    parts = []
    for part in points.split(max(1, ENTRIES // (n * d))):
        squares = ((part[:, None] - mean) ** 2 * precision).sum(2)
        parts.append(torch.logsumexp(-(squares + constant) / 2, dim=1))
    return torch.cat(parts) - math.log(n)


@dataclass(frozen=True)
class KLSplit:
    """The two parts of the KL penalty, one number a sample, (N,), in nats; their means are what the formula names."""

    information: Tensor
    marginal: Tensor


def kl_split(posterior: DiagonalGaussian, generator: torch.Generator) -> KLSplit:
    """Split the KL penalty into I(x; z) and KL(q(z) || N(0, I)) by one sample of every posterior. Implements :eq:`kl-split`.

    posterior: (N, ...), of the whole data set: "x" is one of these N examples, so I(x; z) cannot exceed log N nats.
    Source: Hoffman and Johnson, ELBO surgery (2016), section 2.
    """
    z = posterior.sample(generator)
    conditional = -DiagonalGaussian(posterior.mean.double(), posterior.logvar.double()).nll(z.double())
    prior = -(rows(z).double() ** 2 + math.log(2 * math.pi)).sum(1) / 2
    together = aggregate_log_prob(posterior, z)
    return KLSplit(conditional - together, together - prior)
