"""The half of a U-Net that comes first: all conditions as one vector, the way down, the middle."""

import torch
from torch import Tensor, nn

from ..condition import Condition
from ..errors import expect, image_batch, in_range
from .attention import SelfAttention, SpatialTransformer
from .layers import Downsample, Perceptron, ResBlock, TimeEmbedding
from .sizes import UNetSizes

Context = tuple[Tensor | None, ...]  # what an attention block gets besides the pixels: () or (tokens, mask)
DEEPEST = -1  # the level that the middle belongs to


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
        self.label = nn.Embedding(config.classes + 1, emb_dim) if config.classes else None  # the last row is "no label"
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
        self.middle = nn.ModuleList(
            [Stage(width, DEEPEST, config, config.middle), Stage(width, DEEPEST, config, depth=0)]
        )

    def check(self, x: Tensor, cond: Condition, others: tuple[str, ...] = ()) -> Tensor:
        """Look at everything that comes in, and concatenate x and ``cond.image``; others: further slots with a use."""
        slots = {"tokens": self.config.tokens, "vector": self.config.vector}
        needed = [slot for slot, width in slots.items() if width]
        welcome = ["label"] * bool(self.config.classes) + ["tokens_mask"] * bool(self.config.tokens)
        cond.suits(len(x), needed, [*welcome, *others, "image"])
        for slot in needed:
            width = getattr(cond, slot).shape[-1]
            expect(width == slots[slot], f"cond.{slot}", f"{width} wide", f"{slots[slot]} wide")
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
            null = self.config.classes
            label = cond.label if cond.label is not None else torch.full((len(x),), null, device=x.device)
            in_range("cond.label", label, 0, null)
            emb = emb + self.label(label)
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
