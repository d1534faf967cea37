"""Vector quantisation: each latent vector is replaced by the nearest of a few learned ones, so that pictures become words."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import expect, in_range, whole_number
from .config import Config


@dataclass(frozen=True)
class QuantizerConfig(Config):
    """``codes`` vectors of ``dim`` numbers; ``commitment``: how hard the encoder is drawn to its codes (beta).

    Raises ``ValueError`` for codes or dim < 1, or a negative commitment.
    """

    codes: int = 512
    dim: int = 4
    commitment: float = 0.25

    def __post_init__(self) -> None:
        whole_number("codes", self.codes, 1)
        whole_number("dim", self.dim, 1)
        expect(self.commitment >= 0, "commitment", self.commitment, "a number >= 0")

    def build(self) -> "VectorQuantizer":
        """The module, freshly initialised."""
        return VectorQuantizer(self.codes, self.dim, self.commitment)


class VectorQuantizer(nn.Module):
    """The nearest code, with the encoder's gradient passed straight through.

    Source: van den Oord et al., Neural Discrete Representation Learning (2017), section 3.
    """

    def __init__(self, codes: int, dim: int, commitment: float = 0.25) -> None:
        super().__init__()
        self.config = QuantizerConfig(codes, dim, commitment)
        self.codebook = nn.Parameter(torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes for z, (B, dim) or (B, dim, H, W): (z_q like z, indices (B,) or (B, H, W), loss (B,)). Implements :eq:`vq`.

        z_q is the code, but its gradient goes to z as if nothing had happened in between; the codebook learns from the
        loss alone: |sg(z) - code|^2 + commitment |z - sg(code)|^2, summed over dim, a mean over places.
        Raises ``ValueError`` for other shapes.
        Source: van den Oord et al. (2017), equations 1 to 3.
        """
        dim, given = self.config.dim, tuple(z.shape)
        expect(z.ndim >= 2 and z.shape[1] == dim, "z", f"shape {given}", f"(B, {dim}, ...), codes of {dim} numbers")
        indices = self.nearest(z)
        code = self.lookup(indices)
        codebook = (z.detach() - code).square()
        commitment = self.config.commitment * (z - code.detach()).square()
        loss = (codebook + commitment).sum(1).reshape(len(z), -1).mean(1)
        return z + (code - z).detach(), indices, loss

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """The index of the nearest code at each place, (B, dim, ...) -> (B, ...)."""
        vectors = z.movedim(1, -1)
        scores = vectors @ self.codebook.T - self.codebook.square().sum(1) / 2  # (|z|^2 - |z - code|^2) / 2
        return scores.argmax(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of these indices, (B, ...) -> (B, dim, ...). Raises ``ValueError`` for an index out of range."""
        in_range("indices", indices, 0, self.config.codes - 1)
        return self.codebook[indices].movedim(-1, 1)

    def usage(self, indices: Tensor) -> tuple[float, float]:
        """(share of the codes that occur, perplexity: as many codes in equal use would carry the same information).

        indices: any shape. log2 of the perplexity is the entropy in bits a place; at most log2(codes).
        """
        counts = torch.bincount(indices.flatten(), minlength=self.config.codes).double()
        p = counts / counts.sum()
        return float((counts > 0).double().mean()), math.exp(float(torch.special.entr(p).sum()))

    @torch.no_grad()
    def start_from(self, z: Tensor, generator: torch.Generator) -> None:
        """Put the codes on random vectors of z (B, dim, ...), so that every code begins in use.

        Far from the data a code is never the nearest, gets no gradient and stays unused: the collapse of a codebook.
        """
        vectors = z.movedim(1, -1).reshape(-1, self.config.dim)
        enough = math.ceil(self.config.codes / len(vectors))
        order = torch.cat([torch.randperm(len(vectors), generator=generator) for _ in range(enough)])
        self.codebook.copy_(vectors[order[: self.config.codes].to(z.device)])
