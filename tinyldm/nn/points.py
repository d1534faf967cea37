"""A network for points instead of pictures: a residual perceptron, as small as a denoiser can be."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..condition import Condition
from ..errors import expect
from .config import Config
from .layers import TimeEmbedding


@dataclass(frozen=True)
class PointNetConfig(Config):
    """Sizes of a ``PointNet``: ``dims`` numbers a point, ``blocks`` residual layers of ``width``; classes: 0 for none."""

    dims: int = 2
    width: int = 64
    blocks: int = 3
    classes: int = 0

    def __post_init__(self) -> None:
        expect(self.dims >= 1, "dims", self.dims, "at least 1")
        expect(self.width >= 4 and self.width % 2 == 0, "width", self.width, "an even number >= 4")
        expect(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        expect(self.classes >= 0, "classes", self.classes, "0 (no labels) or more")

    def build(self) -> "PointNet":
        """A freshly initialised network of these sizes."""
        return PointNet(self)


class PointNet(nn.Module):
    """(x (B, D), t (B,), cond) -> (B, D): every layer adds what it makes of the point, the time and the label."""

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.first = nn.Linear(config.dims, width)
        self.time = TimeEmbedding(width // 4 * 2)
        self.label = nn.Embedding(config.classes + 1, width) if config.classes else None
        self.emb = nn.Linear(4 * (width // 4 * 2), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.blocks)
        )
        self.last = nn.Linear(width, config.dims)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        given = tuple(x.shape)
        expect(x.ndim == 2 and x.shape[1] == self.config.dims, "x", f"shape {given}", f"(B, {self.config.dims})")
        emb = self.emb(F.silu(self.time(t.to(x).expand(len(x)))))
        if self.label is not None:
            label = cond.label if cond is not None else None
            null = torch.full((len(x),), self.config.classes, device=x.device)
            emb = emb + self.label(null if label is None else label)
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h + emb)
        return self.last(F.silu(h))
