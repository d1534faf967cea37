"""The sizes of a U-Net, checked: what fits together and what does not."""

from dataclasses import dataclass

from ..errors import expect, whole_number
from .config import Config, check_channels


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
