"""The bricks that convolutional networks are built from: residual block, down- and upsampling, time embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import in_range
from .sinusoids import sinusoids


class ResBlock(nn.Module):
    """Twice (GroupNorm, SiLU, 3x3 convolution), added to the input; an embedding has its say in between.

    (B, cin, H, W) -> (B, cout, H, W). emb: (B, emb_dim), or None for a block without embedding (emb_dim = 0).
    Implements :eq:`residual-block`, where the embedding is added; with ``scale_shift`` :eq:`film`, where it scales, by
    1 + scale, and shifts what the second GroupNorm gives.
    Source: Ho et al. (2020), appendix B and its code, the same block as in Stable Diffusion; scale and shift: Nichol and
    Dhariwal, Improved DDPM (2021), section 3 and its code.
    """

    def __init__(self, cin: int, cout: int, groups: int, emb_dim: int = 0, eps: float = 1e-5, scale_shift: bool = False) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.norm1 = nn.GroupNorm(groups, cin, eps)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.emb = nn.Linear(emb_dim, 2 * cout if scale_shift else cout) if emb_dim else nn.Identity()
        self.norm2 = nn.GroupNorm(groups, cout, eps)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        """x: (B, cin, H, W), emb: (B, emb_dim) or None -> (B, cout, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        said = None if emb is None else self.emb(F.silu(emb))[:, :, None, None]
        if said is None:
            h = self.norm2(h)
        elif self.scale_shift:
            scale, shift = said.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + said)
        return self.skip(x) + self.conv2(F.silu(h))


def silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, which begins by saying nothing: its weights and biases are zero."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, (B, C, H, W) -> (B, C, H/2, W/2).

    ``both_sides`` pads all four sides by one (U-Net); otherwise only right and bottom (autoencoder), as in LDM's code.
    """

    def __init__(self, channels: int, both_sides: bool) -> None:
        super().__init__()
        self.both_sides = both_sides
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if both_sides else 0)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), with even sides -> (B, C, H/2, W/2)."""
        return self.conv(x if self.both_sides else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Repeat every pixel 2x2, then a 3x3 convolution, (B, C, H, W) -> (B, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Perceptron(nn.Module):
    """Linear, SiLU, linear: (B, cin) -> (B, cout)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(cin, cout)
        self.linear2 = nn.Linear(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, cin) -> (B, cout)."""
        return self.linear2(F.silu(self.linear1(x)))


class TimeEmbedding(Perceptron):
    """The clock as a vector: sinusoids, then a two-layer perceptron. (B,) -> (B, cout), by default 4 * dim.

    The sinusoids are computed in the clock's own type, which should not be a short one: bfloat16 knows no 999.
    freq_shift, cosine_first: see ``sinusoids``. Source: Ho et al. (2020), appendix B and its code.
    """

    def __init__(self, dim: int, cout: int | None = None, freq_shift: float = 0, cosine_first: bool = True) -> None:
        super().__init__(dim, cout or 4 * dim)
        self.dim, self.freq_shift, self.cosine_first = dim, freq_shift, cosine_first

    def forward(self, t: Tensor) -> Tensor:
        """t: (B,) -> (B, cout)."""
        waves = sinusoids(t, self.dim, self.freq_shift, self.cosine_first)
        return super().forward(waves.to(self.linear1.weight))


class LabelEmbedding(nn.Embedding):
    """One of ``classes`` labels as a vector; the last row, number ``classes``, is the vector of "no label"."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__(classes + 1, dim)

    def of(self, label: Tensor | None, batch: int) -> Tensor:
        """(B,) -> (B, dim); None stands for no label in the whole batch. Raises ``ValueError`` for a label out of range."""
        null = self.num_embeddings - 1
        label = torch.full((batch,), null, device=self.weight.device) if label is None else label
        in_range("cond.label", label, 0, null)
        return self(label)
