"""The denoising U-Net: down, middle, up, with a skip connection from every block on the way down."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..condition import Condition
from ..errors import expect, image_batch, in_range
from .config import Config, check_channels
from .layers import Downsample, ResBlock, SelfAttention, TimeEmbedding, Upsample


@dataclass(frozen=True)
class UNetConfig(Config):
    """Sizes of a U-Net. Each entry of ``channels`` is a level; between levels the side halves.

    attention: for every level, whether its blocks are followed by self-attention. classes: 0 for a network
    without labels. Raises ``ValueError`` for values that do not fit together.
    """

    in_channels: int = 4
    channels: tuple[int, ...] = (64, 128)
    attention: tuple[bool, ...] = (False, True)
    blocks: int = 1
    heads: int = 4
    groups: int = 8
    classes: int = 10

    def __post_init__(self) -> None:
        check_channels(self.channels, self.blocks, self.groups)
        expect(
            len(self.attention) == len(self.channels),
            "attention",
            self.attention,
            f"one entry for each of the {len(self.channels)} levels",
        )
        expect(self.channels[0] % 2 == 0, "channels", self.channels, "an even first width (half sines, half cosines)")
        expect(self.classes >= 0, "classes", self.classes, "0 (no labels) or more")
        expect(self.in_channels >= 1, "in_channels", self.in_channels, "at least 1")
        for width, attends in zip(self.channels, self.attention, strict=True):
            expect(
                not attends or width % self.heads == 0,
                "heads",
                self.heads,
                f"a divisor of the attention level's {width} channels",
            )
        expect(
            self.channels[-1] % self.heads == 0,
            "heads",
            self.heads,
            f"a divisor of the middle's {self.channels[-1]} channels",
        )

    @property
    def factor(self) -> int:
        """What the side of the input must be divisible by."""
        return 2 ** (len(self.channels) - 1)

    def build(self) -> "UNet":
        """The module, freshly initialised."""
        return UNet(self)


class Stage(nn.Module):
    """A residual block and, where the level attends, self-attention."""

    def __init__(self, cin: int, cout: int, attends: bool, config: UNetConfig, emb_dim: int) -> None:
        super().__init__()
        self.block = ResBlock(cin, cout, config.groups, emb_dim)
        self.attention = SelfAttention(cout, config.groups, config.heads) if attends else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.attention(self.block(x, emb))


class UNet(nn.Module):
    """(x, t, cond) -> an output like x.

    Source: Ronneberger et al., U-Net (2015); Ho et al. (2020), appendix B; class labels added to the time
    embedding as in Nichol and Dhariwal (2021).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, emb_dim = config.channels, 4 * config.channels[0]
        self.time = TimeEmbedding(widths[0])
        self.label = nn.Embedding(config.classes + 1, emb_dim) if config.classes else None  # the last row is "no label"
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)

        skips, width = [widths[0]], widths[0]
        self.down = nn.ModuleList()
        for i, (cout, attends) in enumerate(zip(widths, config.attention, strict=True)):
            if i > 0:
                self.down.append(Downsample(width, both_sides=True))
                skips.append(width)
            for _ in range(config.blocks):
                self.down.append(Stage(width, cout, attends, config, emb_dim))
                width = cout
                skips.append(width)

        self.middle = nn.ModuleList(
            [Stage(width, width, True, config, emb_dim), Stage(width, width, False, config, emb_dim)]
        )

        self.up = nn.ModuleList()
        for i, (cout, attends) in reversed(list(enumerate(zip(widths, config.attention, strict=True)))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(width + skips.pop(), cout, attends, config, emb_dim))
                width = cout
            if i > 0:
                self.up.append(Upsample(width))

        self.norm = nn.GroupNorm(config.groups, width)
        self.conv_out = nn.Conv2d(width, config.in_channels, 3, padding=1)

    def embed(self, t: Tensor, cond: Condition, batch: int) -> Tensor:
        """Time and label as one vector, (B, 4 * channels[0])."""
        emb = self.time(t.expand(batch))
        if self.label is None:
            expect(cond.label is None, "cond.label", "labels", "none: this network has classes=0")
            return emb
        null = self.config.classes
        label = cond.label if cond.label is not None else torch.full((batch,), null, device=t.device)
        expect(len(label) == batch, "cond.label", f"{len(label)} labels", f"one for each of the {batch} samples")
        in_range("cond.label", label, 0, null)
        return emb + self.label(label)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """x: (B, in_channels, H, W). t: the clock the network was trained on, () or (B,). -> (B, in_channels, H, W).

        Raises ``ValueError`` for other channels, a side that the levels cannot halve, or a label out of range.
        """
        image_batch("x", x, self.config.in_channels, self.config.factor)
        emb = self.embed(torch.as_tensor(t, dtype=x.dtype, device=x.device), cond or Condition(), len(x))
        h = self.conv_in(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, Stage) else layer(h)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, emb)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb) if isinstance(layer, Stage) else layer(h)
        return self.conv_out(F.silu(self.norm(h)))
