"""An autoencoder for points instead of pictures: two perceptrons with a diagonal Gaussian between them."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import expect
from ..gaussian import DiagonalGaussian
from .config import Config


@dataclass(frozen=True)
class PointCoderConfig(Config):
    """Sizes of a ``PointCoder``: ``dims`` numbers a point, ``latents`` numbers a code, ``layers`` hidden layers of ``width``.

    Without hidden layers both halves are linear: the autoencoder of principal component analysis.
    Raises ``ValueError`` for sizes below 1 or a negative number of layers.
    """

    dims: int = 2
    latents: int = 2
    width: int = 64
    layers: int = 2

    def __post_init__(self) -> None:
        for name in ("dims", "latents", "width"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        expect(self.layers >= 0, "layers", self.layers, "0 (linear) or more")

    def build(self) -> "PointCoder":
        """A freshly initialised network of these sizes."""
        return PointCoder(self)


class PointCoder(nn.Module):
    """Encoder to a diagonal Gaussian over codes, decoder back to points: ``AutoencoderKL`` without pictures."""

    def __init__(self, config: PointCoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _perceptron(config.dims, 2 * config.latents, config)
        self.decoder = _perceptron(config.latents, config.dims, config)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """The posterior over codes. x: (B, dims) -> mean and logvar (B, latents), the logvar kept in [-30, 20]."""
        _check("x", x, self.config.dims)
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return DiagonalGaussian(mean, torch.clamp(logvar, -30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """The point of a code, (B, latents) -> (B, dims)."""
        _check("z", z, self.config.latents)
        return self.decoder(z)


def _perceptron(inputs: int, outputs: int, config: PointCoderConfig) -> nn.Sequential:
    widths = [inputs, *[config.width] * config.layers]
    hidden = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


def _check(name: str, x: Tensor, dims: int) -> None:
    expect(x.ndim == 2 and x.shape[1] == dims, name, f"shape {tuple(x.shape)}", f"(B, {dims})")
