"""Networks for points instead of pictures: a denoiser and an autoencoder, each as small as it can be."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect
from ..gaussian import DiagonalGaussian
from .condition import Condition
from .config import Config
from .layers import LabelEmbedding, TimeEmbedding


@dataclass(frozen=True)
class MLPConfig(Config):
    """Sizes of an ``MLP``: ``dims`` numbers a point, ``blocks`` residual layers of ``width``; classes: 0 for none.

    Raises ``ValueError`` for dims or blocks < 1, a width that is odd or < 4, and classes < 0.
    """

    dims: int = 2
    width: int = 64
    blocks: int = 3
    classes: int = 0

    def __post_init__(self) -> None:
        expect(self.dims >= 1, "dims", self.dims, "at least 1")
        expect(self.width >= 4 and self.width % 2 == 0, "width", self.width, "an even number >= 4")
        expect(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        expect(self.classes >= 0, "classes", self.classes, "0 (no labels) or more")

    def build(self) -> "MLP":
        """A freshly initialised network of these sizes."""
        return MLP(self)


class MLP(nn.Module):
    """(x (B, D), t (B,), cond) -> (B, D): every layer adds what it makes of the point, the time and the label."""

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.first = nn.Linear(config.dims, width)
        self.time = TimeEmbedding(width // 4 * 2)
        self.label = LabelEmbedding(config.classes, width) if config.classes else None
        self.emb = nn.Linear(4 * (width // 4 * 2), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.blocks)
        )
        self.last = nn.Linear(width, config.dims)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """x: (B, D), and back. t: the clock, () or (B,). Of the condition only the label is looked at, and only with classes.

        Raises ``ValueError`` for points of another shape or a label out of range.
        """
        given = tuple(x.shape)
        expect(x.ndim == 2 and x.shape[1] == self.config.dims, "x", f"shape {given}", f"(B, {self.config.dims})")
        emb = self.emb(F.silu(self.time(t.to(x).expand(len(x)))))
        if self.label is not None:
            emb = emb + self.label.of(cond.label if cond is not None else None, len(x))
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h + emb)
        return self.last(F.silu(h))


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
        """The posterior over codes. x: (B, dims) -> mean and logvar (B, latents), the logvar kept in [-30, 20].

        Raises ``ValueError`` for another shape.
        """
        _check("x", x, self.config.dims)
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return DiagonalGaussian(mean, torch.clamp(logvar, -30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """The point of a code, (B, latents) -> (B, dims).

        Raises ``ValueError`` for another shape.
        """
        _check("z", z, self.config.latents)
        return self.decoder(z)


def _perceptron(inputs: int, outputs: int, config: PointCoderConfig) -> nn.Sequential:
    widths = [inputs, *[config.width] * config.layers]
    hidden = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


def _check(name: str, x: Tensor, dims: int) -> None:
    expect(x.ndim == 2 and x.shape[1] == dims, name, f"shape {tuple(x.shape)}", f"(B, {dims})")
