"""Where a token stands in the picture: sines and cosines added to it, or a rotation of its queries and keys.

Both are computed in double precision where there is one, and rounded afterwards.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import expect
from .sinusoids import sinusoids

THETA = 10000.0  # the slowest rotation turns about this many times slower than the fastest
Rotation = tuple[Tensor, Tensor]  # cosines and sines of a token's angles, (tokens, D/2) each


def grid_table(rows: Tensor, columns: Tensor, dim: int) -> Tensor:
    """Positions of a grid of tokens as vectors, (h,), (w,) -> (h * w, dim): half of them say the column, half the row.

    Each half is sines, then cosines, of one coordinate. dim: a multiple of 4. Implements :eq:`grid-table`.
    Source: Vaswani et al. (2017), section 3.5, for each coordinate, as in the code of MAE (He et al., 2022) and of DiT.
    """
    across, down = (sinusoids(axis.to(_wide(axis.device)), dim // 2, cosine_first=False) for axis in (columns, rows))
    shape = (len(rows), len(columns), dim // 2)
    return torch.cat([across[None].expand(shape), down[:, None].expand(shape)], dim=2).flatten(0, 1).float()


class CroppedTable(nn.Module):
    """SD3's positions: a table of ``size`` x ``size`` tokens, of which an input uses the middle.

    side: how many tokens a side the positions 0 ... side span, whatever the size, so that a larger table is a finer one.
    The table is fixed, but a tensor of the published files, hence a persistent buffer under their name.
    Source: Esser et al., Scaling Rectified Flow Transformers (2024), section 5.3.2.
    """

    pos_embed: Tensor

    def __init__(self, side: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        axis = torch.arange(size) / (size / side)
        self.register_buffer("pos_embed", grid_table(axis, axis, width)[None])

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Add its position to each of height x width tokens, (B, height * width, C).

        Raises ``ValueError`` for a side above ``size``.
        """
        size = self.size
        expect(max(height, width) <= size, "x", f"{height}x{width} tokens", f"at most the table's {size}x{size}")
        top, left = (size - height) // 2, (size - width) // 2
        whole = self.pos_embed.unflatten(1, (size, size))
        return x + whole[:, top : top + height, left : left + width].flatten(1, 2).to(x)


class StretchedTable(nn.Module):
    """DiT's positions: 0 ... side, spread over however many tokens a side has. No tensor of any file.

    Source: Peebles and Xie, Scalable Diffusion Models with Transformers (2023), section 3.2; the spreading is diffusers'.
    """

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side, self.width = side, width

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Add its position to each of height x width tokens, (B, height * width, C)."""
        down, across = (torch.arange(n, device=x.device) / (n / self.side) for n in (height, width))
        return x + grid_table(down, across, self.width).to(x)


def rotation(text: int, height: int, width: int, axes: Sequence[int], like: Tensor) -> Rotation:
    """FLUX's angles of ``text`` tokens, all at (0, 0, 0), and of a grid of tokens at (0, row, column) after them.

    axes: how many numbers of a head each coordinate turns, even. Cosines and sines, (text + height * width, sum(axes) / 2)
    each, in the place of ``like`` and its precision, single at least.
    Source: Su et al., RoFormer (2021), section 3.2; the axes are of FLUX.1's code (Black Forest Labs, 2024).
    """
    wide = _wide(like.device)
    grid = torch.zeros(height, width, 3, dtype=wide, device=like.device)
    grid[:, :, 1] = torch.arange(height, device=like.device)[:, None]
    grid[:, :, 2] = torch.arange(width, device=like.device)
    angles = [
        grid.flatten(0, 1)[:, i, None] * THETA ** (-torch.arange(0, dim, 2, dtype=wide, device=like.device) / dim)
        for i, dim in enumerate(axes)
    ]
    turns = nn.functional.pad(torch.cat(angles, dim=1), (0, 0, text, 0))  # the text's angles are zero
    kept = torch.promote_types(like.dtype, torch.float32)
    return turns.cos().to(kept), turns.sin().to(kept)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn neighbouring pairs of numbers of every head by their token's angles, (B, L, heads, D) -> the same.

    A scalar product of two such vectors then depends on where they stand relative to each other only.
    Implements :eq:`rope`. Source: Su et al. (2021), equation 34.
    """
    cos, sin = (t[:, None] for t in by)  # the same for all heads
    a, b = x.to(torch.promote_types(x.dtype, cos.dtype)).unflatten(3, (-1, 2)).unbind(4)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=4).flatten(3).to(x.dtype)


def _wide(device: torch.device) -> torch.dtype:
    """The widest type of a device: Apple's has no double precision."""
    return torch.float32 if device.type == "mps" else torch.float64
