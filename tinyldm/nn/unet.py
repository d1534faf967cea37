"""The denoising U-Net: down, middle, up, with a skip connection from every block on the way down."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..condition import Condition
from ..errors import expect, whole_number
from .descent import DEEPEST, Descent, Stage
from .layers import Upsample
from .sizes import UNetSizes


@dataclass(frozen=True)
class UNetConfig(UNetSizes):
    """Sizes of a U-Net, see ``UNetSizes``. out_channels: None for as many as come in."""

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
