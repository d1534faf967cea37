"""Attention: every position asks, every other answers. Over pixels, over the tokens of a text, and the block of both."""

import torch.nn.functional as F
from torch import Tensor, nn


def split(x: Tensor, heads: int) -> Tensor:
    """Channels as heads, (B, N, C) -> (B, N, heads, C/heads)."""
    return x.unflatten(2, (heads, -1))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Each query's average of the values, weighted by how well their keys answer it. Implements :eq:`attention`.

    q: (B, N, heads, D); k, v: (B, M, heads, D) -> (B, N, heads * D); every head by itself.
    mask: (B, M), false where a key must not be looked at.
    Source: Vaswani et al., Attention Is All You Need (2017), sections 3.2.1 and 3.2.2.
    """
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, heads, N or M, D)
    seen = None if mask is None else mask[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Every pixel looks at every other: GroupNorm, multi-head attention over the H*W pixels, added to the input.

    (B, C, H, W) -> the same. ``heads`` must divide C. groups: 0 for attention without normalisation.
    Source: Ho et al. (2020), appendix B and its code.
    """

    def __init__(self, channels: int, groups: int, heads: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps) if groups else nn.Identity()
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        h = self.out(attend(*(split(layer(tokens), self.heads) for layer in (self.q, self.k, self.v))))
        # h first: a sum takes its first term's order in memory, and with the channels last, as h has them, what follows
        # is faster on a CPU (a training step of an autoencoder takes a tenth less)
        return h.transpose(1, 2).reshape(x.shape) + x


class Attention(nn.Module):
    """Tokens that look at a context: (B, N, C), (B, M, context) -> (B, N, C). Implements :eq:`cross-attention`.

    With the tokens themselves as context this is self-attention. Source: Rombach et al. (2022), section 3.3.
    """

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels, bias=False)
        self.k = nn.Linear(context, channels, bias=False)
        self.v = nn.Linear(context, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split(t, self.heads) for t in (self.q(x), self.k(context), self.v(context)))
        return self.out(attend(q, k, v, mask))


class GEGLU(nn.Module):
    """A feed-forward layer with a gate: half of the hidden channels, through GELU, multiply the other half.

    (B, N, C) -> the same, by way of 4 C channels. Implements :eq:`geglu`. Source: Shazeer, GLU Variants (2020), section 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 8 * channels)
        self.out = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Look at each other, look at the context, think: three layers, each normalised before and added after.

    (B, N, C), (B, M, context) -> (B, N, C). cross_only: the first attention looks at the context as well.
    Source: Rombach et al. (2022), appendix E.2.1 and its code.
    """

    def __init__(self, channels: int, context: int, heads: int, cross_only: bool = False) -> None:
        super().__init__()
        self.cross_only = cross_only
        self.norm1 = nn.LayerNorm(channels)
        self.self_attention = Attention(channels, context if cross_only else channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.cross_attention = Attention(channels, context, heads)
        self.norm3 = nn.LayerNorm(channels)
        self.feed_forward = GEGLU(channels)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        x = x + (self.self_attention(h, context, mask) if self.cross_only else self.self_attention(h, h))
        x = x + self.cross_attention(self.norm2(x), context, mask)
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """``depth`` transformer blocks over the pixels of a picture, added to it: (B, C, H, W), (B, M, context) -> (B, C, H, W).

    Source: Rombach et al. (2022), appendix E.2.1; the 1x1 convolutions of its code are the linear maps here.
    """

    def __init__(
        self, channels: int, context: int, heads: int, groups: int, depth: int = 1, cross_only: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context, heads, cross_only) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # (B, H*W, C)
        for block in self.blocks:
            h = block(h, context, mask)
        return x + self.proj_out(h).transpose(1, 2).reshape(x.shape)
