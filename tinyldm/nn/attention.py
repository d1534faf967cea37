"""Attention: every position asks, every other answers. Over pixels, over the tokens of a text, and the blocks of both.

The blocks of a U-Net come first, then those of a transformer: streams of tokens with weights of their own, and one
attention over all. There one block is three: DiT's with a single stream, SD3's and FLUX's with two. The conditioning acts
through adaLN: a norm without weights, whose shift and scale, and gates on what a block adds, are linear in the embedding
of time and condition.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .positions import Rotation, rotate

EPS = 1e-6
MLP = 4  # how many times wider than a token the feed-forward is
Heads = tuple[Tensor, Tensor, Tensor]  # queries, keys and values, (B, L, heads, D) each


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
        """x: (B, C, H, W), and back."""
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
        """x: (B, N, C), and back. context: (B, M, context). mask: (B, M), see ``attend``."""
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
        """x: (B, N, C), and back."""
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
        """x: (B, N, C), and back. context: (B, M, context). mask: (B, M), see ``attend``."""
        h = self.norm1(x)
        x = x + (self.self_attention(h, context, mask) if self.cross_only else self.self_attention(h, h))
        x = x + self.cross_attention(self.norm2(x), context, mask)
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """``depth`` transformer blocks over the pixels of a picture, added to it: (B, C, H, W), (B, M, context) -> (B, C, H, W).

    Source: Rombach et al. (2022), appendix E.2.1; the 1x1 convolutions of its code are the linear maps here.
    """

    def __init__(self, channels: int, context: int, heads: int, groups: int, depth: int = 1, cross_only: bool = False) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context, heads, cross_only) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W), and back. context: (B, M, context). mask: (B, M), see ``attend``."""
        h = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # (B, H*W, C)
        for block in self.blocks:
            h = block(h, context, mask)
        return x + self.proj_out(h).transpose(1, 2).reshape(x.shape)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float = EPS) -> Tensor:
    """LayerNorm(x) * (1 + scale) + shift, in one pass after the norm. x: (B, L, C). Implements :eq:`adaln`.

    Source: Peebles and Xie (2023), section 3.2.
    """
    return torch.addcmul(shift, F.layer_norm(x, x.shape[2:], eps=eps), 1 + scale)


def _turned(heads: Heads, where: Rotation | None) -> Heads:
    """Queries and keys turned to where their tokens stand, if positions are rotations."""
    q, k, v = heads
    return heads if where is None else (rotate(q, where), rotate(k, where), v)


def modulation(width: int, parts: int) -> nn.Linear:
    """The linear map from the embedding to shifts, scales and gates. Zero at first: adaLN-Zero, a block that does nothing.

    Source: Peebles and Xie (2023), section 3.2; a zero gate is Goyal et al.'s (2017) zero gamma.
    """
    layer = nn.Linear(width, parts * width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Projections(nn.Module):
    """Tokens (B, L, width) -> queries, keys, values, (B, L, heads, D) each; queries and keys of length sqrt(D) on demand."""

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.norm_q = nn.RMSNorm(width // heads, EPS) if qk_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(width // heads, EPS) if qk_norm else nn.Identity()

    def forward(self, x: Tensor) -> Heads:
        """x: (B, L, width) -> queries, keys, values."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        return self.norm_q(q), self.norm_k(k), v


class FeedForward(nn.Module):
    """Linear to four times the width, GELU (by its tanh formula), linear back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Linear(width, MLP * width)
        self.narrow = nn.Linear(MLP * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L, width), and back."""
        return self.narrow(F.gelu(self.wide(x), approximate="tanh"))


class Stream(nn.Module):
    """What one kind of token does in a block before and after the attention: twice norm, layer, gate, sum.

    eps: of the norm before the feed-forward. An ending stream is looked at for the last time: it has no second half.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, eps: float = EPS, ends: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = modulation(width, 2 if ends else 6)
        self.qkv = Projections(width, heads, qk_norm)
        self.out = None if ends else nn.Linear(width, width)
        self.ff = None if ends else FeedForward(width)

    def parts(self, emb: Tensor) -> Sequence[Tensor]:
        """Shift, scale, gate of the attention, then of the feed-forward, (B, 1, width) each; the first two for an ending."""
        if self.out is None:
            scale, shift = self.modulation(emb)[:, None].chunk(2, dim=2)  # SD3's order where no gate follows
            return shift, scale
        return self.modulation(emb)[:, None].chunk(6, dim=2)

    def ask(self, x: Tensor, parts: Sequence[Tensor]) -> Heads:
        """x: (B, L, width) -> its queries, keys and values."""
        return self.qkv(modulate(x, parts[0], parts[1]))

    def take(self, x: Tensor, seen: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Add to x what its attention has brought, ``seen``, and then what the feed-forward makes of it."""
        if self.out is None or self.ff is None:
            return x
        _, _, gate, shift, scale, gate_ff = parts
        x = torch.addcmul(x, gate, self.out(seen))
        return torch.addcmul(x, gate_ff, self.ff(modulate(x, shift, scale, self.eps)))


class JointBlock(nn.Module):
    """One or two streams (text and image, or image alone), and one attention over all their tokens together.

    Source: Esser et al. (2024), figure 2b; with the image alone, Peebles and Xie (2023), figure 3.
    """

    def __init__(self, image: Stream, text: Stream | None = None) -> None:
        super().__init__()
        self.image = image
        self.text = text

    def forward(
        self, xs: Sequence[Tensor], emb: Tensor, where: Rotation | None = None, mask: Tensor | None = None
    ) -> list[Tensor]:
        """xs: [text, image] or [image], (B, L, width) each, and back. emb: (B, width).

        where, mask (B, L): of all tokens in that order. Implements :eq:`joint-attention`.
        """
        streams = [self.image] if self.text is None else [self.text, self.image]
        parts = [stream.parts(emb) for stream in streams]
        asked = [stream.ask(x, part) for stream, x, part in zip(streams, xs, parts, strict=True)]
        q, k, v = asked[0] if len(asked) == 1 else (torch.cat(same, dim=1) for same in zip(*asked, strict=True))
        seen = attend(*_turned((q, k, v), where), mask).split([x.shape[1] for x in xs], dim=1)
        return [stream.take(*given) for stream, *given in zip(streams, xs, seen, parts, strict=True)]


class SingleBlock(nn.Module):
    """FLUX's second kind of block: one stream of all tokens, its attention and its feed-forward side by side.

    Source: FLUX.1's code (Black Forest Labs, 2024); in parallel as in Dehghani et al., ViT-22B (2023), section 2.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.modulation = modulation(width, 3)
        self.qkv = Projections(width, heads, qk_norm)
        self.wide = nn.Linear(width, MLP * width)
        self.out = nn.Linear((1 + MLP) * width, width)

    def forward(self, x: Tensor, emb: Tensor, where: Rotation | None = None, mask: Tensor | None = None) -> Tensor:
        """x: (B, L, width), and back. Implements :eq:`parallel-block`."""
        shift, scale, gate = self.modulation(emb)[:, None].chunk(3, dim=2)
        h = modulate(x, shift, scale)
        seen = attend(*_turned(self.qkv(h), where), mask)
        made = F.gelu(self.wide(h), approximate="tanh")
        return torch.addcmul(x, gate, self.out(torch.cat([seen, made], dim=2)))
