"""The bricks that both networks are built from: residual block, attention, down- and upsampling, time embedding."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..sinusoids import sinusoids


class ResBlock(nn.Module):
    """Twice (GroupNorm, SiLU, 3x3 convolution), added to the input; an embedding is added in between.

    (B, cin, H, W) -> (B, cout, H, W). emb: (B, emb_dim), or None for a block without embedding (emb_dim = 0).
    Source: Ho et al. (2020), appendix B and its code; the same block as in Stable Diffusion.
    """

    def __init__(self, cin: int, cout: int, groups: int, emb_dim: int = 0, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, cin, eps)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.emb = nn.Linear(emb_dim, cout) if emb_dim else nn.Identity()
        self.norm2 = nn.GroupNorm(groups, cout, eps)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if emb is not None:
            h = h + self.emb(F.silu(emb))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class SelfAttention(nn.Module):
    """Every pixel looks at every other: GroupNorm, multi-head attention over the H*W pixels, added to the input.

    (B, C, H, W) -> the same. ``heads`` must divide C.
    """

    def __init__(self, channels: int, groups: int, heads: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        q, k, v = (layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)  # (B, heads, H*W, C/heads)
        h = self.out(h.transpose(1, 2).flatten(2))
        # h first: a sum takes its first term's order in memory, and with the channels last, as h has them, what follows
        # is faster on a CPU (a training step of an autoencoder takes a tenth less)
        return h.transpose(1, 2).reshape(x.shape) + x


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, (B, C, H, W) -> (B, C, H/2, W/2).

    ``both_sides`` pads all four sides by one (U-Net); otherwise only right and bottom (autoencoder), as in LDM's code.
    """

    def __init__(self, channels: int, both_sides: bool) -> None:
        super().__init__()
        self.pad = (1, 1, 1, 1) if both_sides else (0, 1, 0, 1)
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad))


class Upsample(nn.Module):
    """Repeat every pixel 2x2, then a 3x3 convolution, (B, C, H, W) -> (B, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class TimeEmbedding(nn.Module):
    """The clock as a vector: sinusoids, then a two-layer perceptron. (B,) -> (B, 4*dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear1 = nn.Linear(dim, 4 * dim)
        self.linear2 = nn.Linear(4 * dim, 4 * dim)

    def forward(self, t: Tensor) -> Tensor:
        return self.linear2(F.silu(self.linear1(sinusoids(t, self.dim).to(self.linear1.weight))))
