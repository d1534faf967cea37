"""The denoising U-Net: down, middle, up, with a skip connection from every block on the way down.

Its sizes, and its first half, are those of a ControlNet too.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from .attention import SelfAttention, SpatialTransformer
from .condition import Condition
from .config import Config, check_channels
from .layers import Downsample, LabelEmbedding, Perceptron, ResBlock, TimeEmbedding, Upsample

Context = tuple[Tensor | None, ...]  # what an attention block gets besides the pixels: () or (tokens, mask)
DEEPEST = -1  # the level that the middle belongs to


@dataclass(frozen=True)
class UNetSizes(Config):
    """What a U-Net and a ControlNet have in common. Each entry of ``channels`` is a level; between levels the side halves.

    in_channels: of x and, if there is one, of ``cond.image`` together.
    attention: for every level, how many attention blocks follow each residual block (False and True are 0 and 1);
    middle: how many stand in the middle. tokens: the width of ``cond.tokens``; with 0 an attention block is plain
    self-attention (one a place), otherwise a transformer block with cross-attention. cross_only: for every level, whether
    the first attention of a transformer block looks at the tokens as well; () for nowhere.
    heads: one number, or one a level. classes: 0 for a network without labels. vector: the width of ``cond.vector``, 0 for
    none. scale_shift: the time scales and shifts in the residual blocks, instead of being added.
    The rest are habits of published networks: middle_norm, whether the middle's self-attention is normalised; freq_shift
    and cosine_first, see ``sinusoids``; both_sides, see ``Downsample``; eps, of all GroupNorms outside of transformers.
    Raises ``ValueError`` for values that do not fit together.
    """

    in_channels: int = 4
    channels: tuple[int, ...] = (64, 128)
    attention: tuple[int, ...] = (False, True)
    blocks: int = 1
    heads: int | tuple[int, ...] = 4
    groups: int = 8
    classes: int = 10
    middle: int = 1
    tokens: int = 0
    cross_only: tuple[bool, ...] = ()
    vector: int = 0
    scale_shift: bool = False
    middle_norm: bool = True
    freq_shift: float = 0
    cosine_first: bool = True
    both_sides: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_channels(self.channels, self.blocks, self.groups)
        levels = len(self.channels)
        whole_number("in_channels", self.in_channels, 1)
        for name in ("classes", "tokens", "vector", "middle"):
            whole_number(name, getattr(self, name), 0)
        even = self.channels[0] % 2 == 0
        expect(even, "channels", self.channels, "an even first width (half sines, half cosines)")
        fits = len(self.attention) == levels
        expect(fits, "attention", self.attention, f"one entry for each of the {levels} levels")
        deep = 1 if self.tokens == 0 else 1_000
        for depth in (*self.attention, self.middle):
            given = (self.attention, self.middle)
            expect(0 <= depth <= deep, "attention, middle", given, "no more than one block a place when tokens=0")
        fits = len(self.cross_only) in (0, levels)
        expect(fits, "cross_only", self.cross_only, f"() or one entry for each of the {levels} levels")
        expect(self.tokens > 0 or not any(self.cross_only), "cross_only", self.cross_only, "() when tokens=0")
        fits = isinstance(self.heads, int) or len(self.heads) == levels
        expect(fits, "heads", self.heads, f"one number, or one for each of the {levels} levels")
        deepest = levels - 1
        for level, width in enumerate(self.channels):
            attends = self.attention[level] or (level == deepest and self.middle)
            heads = self.heads_at(level)
            where = f"the {width} channels of level {level}"
            expect(heads > 0 and (not attends or width % heads == 0), "heads", self.heads, f"a divisor of {where}")

    @property
    def factor(self) -> int:
        """What the side of the input must be divisible by."""
        return 2 ** (len(self.channels) - 1)

    def heads_at(self, level: int) -> int:
        """How many heads the attention of a level has; the middle belongs to the deepest."""
        return self.heads if isinstance(self.heads, int) else self.heads[level]


@dataclass(frozen=True)
class UNetConfig(UNetSizes):
    """Sizes of a U-Net, see ``UNetSizes``. out_channels: None for as many as come in.

    Raises ``ValueError`` as ``UNetSizes`` does, and for out_channels < 1.
    """

    out_channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("out_channels", self.out, 1)

    @property
    def out(self) -> int:
        """How many channels come out."""
        return self.in_channels if self.out_channels is None else self.out_channels

    def build(self) -> "UNet":
        """The module, freshly initialised."""
        return UNet(self)


class Stage(nn.Module):
    """A residual block and, where the level attends, attention: over the pixels, or over them and the tokens."""

    def __init__(self, cin: int, level: int, config: UNetSizes, depth: int) -> None:
        super().__init__()
        cout = config.channels[level]
        emb_dim = 4 * config.channels[0]
        self.block = ResBlock(cin, cout, config.groups, emb_dim, config.eps, config.scale_shift)
        self.attention = _attention(level, config, depth) if depth else None

    def forward(self, x: Tensor, emb: Tensor, context: Context = ()) -> Tensor:
        h = self.block(x, emb)
        return h if self.attention is None else self.attention(h, *context)


def _attention(level: int, config: UNetSizes, depth: int) -> nn.Module:
    """The attention of a level: a transformer where there are tokens to look at, plain otherwise."""
    width, heads = config.channels[level], config.heads_at(level)
    if config.tokens == 0:
        return SelfAttention(width, config.groups if config.middle_norm or level != DEEPEST else 0, heads, config.eps)
    cross_only = bool(config.cross_only) and level != DEEPEST and config.cross_only[level]
    return SpatialTransformer(width, config.tokens, heads, config.groups, depth, cross_only)


class Descent(nn.Module):
    """What a U-Net and a ControlNet share: time, label and vector as one vector, and the stages down to the middle."""

    def __init__(self, config: UNetSizes) -> None:
        super().__init__()
        self.config = config
        width = config.channels[0]
        emb_dim = 4 * width
        self.time = TimeEmbedding(width, emb_dim, config.freq_shift, config.cosine_first)
        self.label = LabelEmbedding(config.classes, emb_dim) if config.classes else None
        self.vector = Perceptron(config.vector, emb_dim) if config.vector else None
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.skips = [width]  # the channels of what is handed over, in the order of the way down
        self.down = nn.ModuleList()
        for level, depth in enumerate(config.attention):
            if level > 0:
                self.down.append(Downsample(width, config.both_sides))
                self.skips.append(width)
            for _ in range(config.blocks):
                self.down.append(Stage(width, level, config, depth))
                width = config.channels[level]
                self.skips.append(width)
        self.middle = nn.ModuleList([Stage(width, DEEPEST, config, config.middle), Stage(width, DEEPEST, config, depth=0)])

    def check(self, x: Tensor, cond: Condition, others: tuple[str, ...] = ()) -> Tensor:
        """Look at everything that comes in, and concatenate x and ``cond.image``; others: further slots with a use."""
        slots = {"tokens": self.config.tokens, "vector": self.config.vector}
        needed = {slot: width for slot, width in slots.items() if width}
        welcome = ["label"] * bool(self.config.classes) + ["tokens_mask"] * bool(self.config.tokens)
        cond.suits(len(x), needed, [*welcome, *others, "image"])
        if cond.image is not None:
            same = cond.image.shape[2:] == x.shape[2:]
            expect(same, "cond.image", f"{tuple(cond.image.shape)}", f"the size of x, {tuple(x.shape)}")
            x = torch.cat([x, cond.image], dim=1)
        image_batch("x" if cond.image is None else "x and cond.image", x, self.config.in_channels, self.config.factor)
        return x

    def embed(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """Time, label and vector as one vector, (B, 4 * channels[0])."""
        clock = torch.as_tensor(t, device=x.device)
        expect(clock.shape in ((), x.shape[:1]), "t", f"shape {tuple(clock.shape)}", f"shape () or ({len(x)},)")
        emb = self.time(clock.to(torch.promote_types(x.dtype, torch.float32)).expand(len(x)))
        if self.label is not None:
            emb = emb + self.label.of(cond.label, len(x))
        return emb if self.vector is None else emb + self.vector(cond.vector)

    def context(self, cond: Condition) -> Context:
        """What the attention blocks get besides the pixels."""
        return (cond.tokens, cond.tokens_mask) if self.config.tokens else ()

    def descend(self, h: Tensor, emb: Tensor, context: Context) -> list[Tensor]:
        """From what ``conv_in`` gives to all that is handed over: every feature map of the way down, then the middle's."""
        skips = [h]
        for layer in self.down:
            h = layer(h, emb, context) if isinstance(layer, Stage) else layer(h)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, emb, context)
        return [*skips, h]


class UNet(Descent):
    """(x, t, cond) -> an output like x.

    Source: Ronneberger et al., U-Net (2015); Ho et al. (2020), appendix B; class labels added to the time embedding as in
    Nichol and Dhariwal (2021); tokens as in Rombach et al. (2022), section 3.3; a vector as in Podell et al., SDXL (2023).
    """

    config: UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        skips, width = list(self.skips), config.channels[DEEPEST]
        self.up = nn.ModuleList()
        for level, depth in reversed(list(enumerate(config.attention))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(width + skips.pop(), level, config, depth))
                width = config.channels[level]
            if level > 0:
                self.up.append(Upsample(width))
        self.norm = nn.GroupNorm(config.groups, width, config.eps)
        self.conv_out = nn.Conv2d(width, config.out, 3, padding=1)

    def widened(self, more: int) -> "UNet":
        """A copy that takes ``more`` channels of ``cond.image``; their weights are zero, so that its output is the same.

        Raises ``ValueError`` for more < 1.
        """
        more = whole_number("more", more, 1)
        config = replace(self.config, in_channels=self.config.in_channels + more, out_channels=self.config.out)
        wide, state = config.build(), self.state_dict()
        state["conv_in.weight"] = F.pad(state["conv_in.weight"], (0, 0, 0, 0, 0, more))
        wide.load_state_dict(state)
        return wide.to(state["conv_in.weight"])

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """x: (B, in_channels, H, W), less the channels of ``cond.image``. t: the clock the network was trained on, () or (B,).

        -> (B, out_channels, H, W). Raises ``ValueError`` for other channels, a side that the levels cannot halve, a label
        out of range, and conditions that the network needs and does not get, or gets and has no use for.
        """
        cond = cond or Condition()
        x = self.check(x, cond, others=("residuals",))
        emb, context = self.embed(x, t, cond), self.context(cond)
        skips = self.descend(self.conv_in(x), emb, context)
        if cond.residuals is not None:
            skips = _add(skips, cond.residuals)
        h = skips.pop()
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb, context) if isinstance(layer, Stage) else layer(h)
        return self.conv_out(F.silu(self.norm(h)))


def _add(skips: list[Tensor], residuals: tuple[Tensor, ...]) -> list[Tensor]:
    """What a ControlNet says, added to what is handed over."""
    given, expected = [tuple(r.shape) for r in residuals], [tuple(s.shape) for s in skips]
    expect(given == expected, "cond.residuals", given, f"a tensor for every skip and one for the middle, {expected}")
    return [s + r for s, r in zip(skips, residuals, strict=True)]
