"""The transformer that denoises: DiT, SD3's MM-DiT and FLUX's transformer are one class, told apart by numbers."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from .attention import EPS, JointBlock, SingleBlock, Stream, modulate, modulation
from .condition import Condition
from .config import Config
from .layers import LabelEmbedding, Perceptron
from .packing import pack, unpack
from .positions import CroppedTable, StretchedTable, rotation
from .sinusoids import sinusoids

WAVES = 256  # sinusoids of a time, whatever the network's width


@dataclass(frozen=True)
class MMDiTConfig(Config):
    """Sizes of a transformer, and the facts in which the published ones differ. Lengths of 0 mean that a part is absent.

    in_channels, out_channels: of the latent (None: as many out as in). patch: the side of a token in latent pixels.
    width, heads: of a token and of its attention. blocks: with a stream for every kind of token; singles: after them,
    with one stream for all. qk_norm: queries and keys are normalised.

    classes, tokens, vector, guidance: what the condition holds: labels 0 ... classes - 1 (optional in use), a text of
    vectors this long, one vector this long, a guidance scale (all three needed in use).

    side: how many tokens a side the positions were made for; table: the side of SD3's larger table, which smaller inputs
    are cropped from (0: DiT's way, the positions are stretched to the input). rope: FLUX's way, how many numbers of a
    head turn with each of (0, row, column); side and table are then 0.

    time_factor: what time and guidance are multiplied by; freq_shift: see ``sinusoids``. shared_clock: one embedding of
    time and label for all blocks, or one for each. ff_eps: epsilon of the norms before the feed-forwards. shift_first:
    the last modulation is (shift, scale), else (scale, shift). channels_first: a token's output is (channel, row,
    column), else (row, column, channel).

    Raises ``ValueError`` for values that do not fit together.
    """

    in_channels: int = 4
    out_channels: int | None = None
    patch: int = 2
    width: int = 128
    heads: int = 4
    blocks: int = 4
    singles: int = 0
    qk_norm: bool = False
    classes: int = 0
    tokens: int = 0
    vector: int = 0
    guidance: bool = False
    side: int = 4
    table: int = 0
    rope: tuple[int, ...] = ()
    time_factor: int = 1
    freq_shift: int = 0
    shared_clock: bool = True
    ff_eps: float = EPS
    shift_first: bool = False
    channels_first: bool = False

    def __post_init__(self) -> None:
        for name in ("in_channels", "patch", "width", "heads", "blocks", "time_factor"):
            whole_number(name, getattr(self, name), 1)
        for name in ("singles", "classes", "tokens", "vector", "side", "table"):
            whole_number(name, getattr(self, name), 0)
        whole_number("freq_shift", self.freq_shift, 0, 1)
        whole_number("out_channels", self.out, 1)
        expect(self.width % self.heads == 0, "heads", self.heads, f"a divisor of the width, {self.width}")
        expect(self.ff_eps > 0, "ff_eps", self.ff_eps, "a positive number")
        alike = self.shared_clock or not self.singles
        expect(alike, "shared_clock", self.shared_clock, "True where there are singles, which tell the time by the first")
        if self.rope:
            head = self.width // self.heads
            even = len(self.rope) == 3 and all(axis % 2 == 0 and axis >= 0 for axis in self.rope)
            fits = even and sum(self.rope) == head
            expect(fits, "rope", self.rope, f"three even numbers whose sum is the width of a head, {head}")
            expect(self.side == self.table == 0, "side, table", (self.side, self.table), "0 where there is rope")
        else:
            whole_number("side", self.side, 1)
            expect(self.width % 4 == 0, "width", self.width, "a multiple of 4 (sines and cosines of two coordinates)")

    @property
    def out(self) -> int:
        """The number of channels of the output."""
        return self.in_channels if self.out_channels is None else self.out_channels

    def build(self) -> "MMDiT":
        """The module, freshly initialised: its output is zero."""
        return MMDiT(self)


class Clock(nn.Module):
    """The sum of what time, guidance, vector and label each say, through SiLU: what every modulation starts from.

    (sinusoids of the time and, or None, of the guidance, (B, 256), cond) -> (B, width).
    vector, classes: 0 for a network without.
    Source: Peebles and Xie (2023), section 3.2 (label); Esser et al. (2024), section 4 (vector); FLUX.1's code (guidance).
    """

    def __init__(self, width: int, vector: int = 0, classes: int = 0, guidance: bool = False) -> None:
        super().__init__()
        self.time = Perceptron(WAVES, width)
        self.guidance = Perceptron(WAVES, width) if guidance else None
        self.vector = Perceptron(vector, width) if vector else None
        self.label = LabelEmbedding(classes, width) if classes else None

    def forward(self, time: Tensor, guidance: Tensor | None, cond: Condition) -> Tensor:
        """Raises ``ValueError`` for a label out of range."""
        emb = self.time(time)
        if self.guidance is not None and guidance is not None:
            emb = emb + self.guidance(guidance)
        if self.vector is not None and cond.vector is not None:
            emb = emb + self.vector(cond.vector.to(time))
        if self.label is not None:
            emb = emb + self.label.of(cond.label, len(time))
        return F.silu(emb)


def waves(t: Tensor, factor: int, freq_shift: int, like: Tensor) -> Tensor:
    """Sinusoids of factor * t, (B,) -> (B, 256), in the type of ``like``; computed in single precision at least."""
    return sinusoids(t * factor, WAVES, freq_shift).to(like.dtype)


class MMDiT(nn.Module):
    """(x, t, cond) -> an output like x, with ``config.out`` channels.

    Source: Peebles and Xie, Scalable Diffusion Models with Transformers (2023), section 3.2 (DiT); Esser et al., Scaling
    Rectified Flow Transformers for High-Resolution Image Synthesis (2024), section 4 (SD3); FLUX.1's code (2024).
    """

    def __init__(self, config: MMDiTConfig) -> None:
        super().__init__()
        self.config = config
        width, square = config.width, config.patch**2
        self.patch = nn.Linear(config.in_channels * square, width)
        self.positions: nn.Module | None = None
        if config.table:
            self.positions = CroppedTable(config.side, config.table, width)
        elif not config.rope:
            self.positions = StretchedTable(config.side, width)
        self.text = nn.Linear(config.tokens, width) if config.tokens else None
        self.clocks = nn.ModuleList(
            Clock(width, config.vector, config.classes, config.guidance)
            for _ in range(1 if config.shared_clock else config.blocks)
        )
        self.blocks = nn.ModuleList(JointBlock(*_streams(config, i)) for i in range(config.blocks))
        self.singles = nn.ModuleList(SingleBlock(width, config.heads, config.qk_norm) for _ in range(config.singles))
        self.modulation = modulation(width, 2)
        self.last = nn.Linear(width, config.out * square)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """x: (B, in_channels, H, W). t: the clock the network was trained on, () or (B,). -> (B, out, H, W).

        Raises ``ValueError`` for other channels, sides that are no multiples of the patch or exceed the table, a slot of
        the condition that is missing, in excess or of another width, and a label out of range.
        """
        cond = cond or Condition()
        self._check(x, cond)
        height, width = (side // self.config.patch for side in x.shape[2:])
        h = self.patch(pack(x, self.config.patch))
        if self.positions is not None:
            h = self.positions(h, height, width)
        text = [] if self.text is None or cond.tokens is None else [self.text(cond.tokens.to(h))]
        embs = self._embs(t, cond, h)
        h = self._blocks([*text, h], embs, height, width, _mask(cond, height * width))
        parts = self.modulation(embs[0])[:, None].chunk(2, dim=2)
        shift, scale = parts if self.config.shift_first else parts[::-1]
        return self._picture(self.last(modulate(h, shift, scale)), *x.shape[2:])

    def _check(self, x: Tensor, cond: Condition) -> None:
        """Refuse what this network cannot take."""
        config = self.config
        image_batch("x", x, config.in_channels, config.patch)
        slots = {"tokens": config.tokens, "vector": config.vector, "guidance": int(config.guidance)}
        needed = {slot: width for slot, width in slots.items() if width}
        welcome = ["label"] * bool(config.classes) + ["tokens_mask"] * bool(config.tokens)
        cond.suits(len(x), needed, welcome)

    def _embs(self, t: Tensor | float, cond: Condition, like: Tensor) -> list[Tensor]:
        """What every clock says, (B, width) each."""
        wide, batch = torch.promote_types(like.dtype, torch.float32), len(like)
        t = torch.as_tensor(t, dtype=wide, device=like.device)
        expect(t.shape in ((), (batch,)), "t", f"shape {tuple(t.shape)}", f"() or ({batch},), one time a sample")
        factor, shift = self.config.time_factor, self.config.freq_shift
        time = waves(t.expand(batch), factor, shift, like)
        guidance = None if cond.guidance is None else waves(cond.guidance.to(wide), factor, shift, like)
        return [clock(time, guidance, cond) for clock in self.clocks]

    def _blocks(self, xs: list[Tensor], embs: list[Tensor], height: int, width: int, mask: Tensor | None) -> Tensor:
        """[text, image] or [image] through all blocks -> the image's tokens, (B, height * width, width of a token)."""
        lengths = [x.shape[1] for x in xs]
        rope = self.config.rope
        where = rotation(sum(lengths[:-1]), height, width, rope, like=xs[-1]) if rope else None
        each = embs if len(embs) > 1 else embs * len(self.blocks)
        for block, emb in zip(self.blocks, each, strict=True):
            xs = block(xs, emb, where, mask)
        if not self.singles:
            return xs[-1]
        x = torch.cat(xs, dim=1)
        for block in self.singles:
            x = block(x, embs[0], where, mask)
        return x[:, -lengths[-1] :]

    def _picture(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, H/p * W/p, p * p * out) -> (B, out, H, W)."""
        if not self.config.channels_first:
            tokens = tokens.unflatten(2, (-1, self.config.out)).transpose(2, 3).flatten(2)
        return unpack(tokens, height, width, self.config.patch)


def _streams(config: MMDiTConfig, i: int) -> tuple[Stream, Stream | None]:
    """Of block i: image, and text if there is one. The text's ends in the last block of all: no one looks at it again."""
    stream = partial(Stream, config.width, config.heads, config.qk_norm, config.ff_eps)
    ends = i == config.blocks - 1 and config.singles == 0
    return stream(), stream(ends) if config.tokens else None


def _mask(cond: Condition, image: int) -> Tensor | None:
    """Which tokens, text and image, may be looked at, (B, L); None for all."""
    return None if cond.tokens_mask is None else F.pad(cond.tokens_mask, (0, image), value=True)
