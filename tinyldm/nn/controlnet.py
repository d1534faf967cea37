"""A ControlNet: a copy of the first half of a U-Net that looks at a hint, and speaks through convolutions that begin at zero.

It, or an adapter, stands beside a U-Net that is frozen; both together are ``Controlled``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, image_batch, whole_number
from .adapter import Adapter, sum_residuals
from .condition import Condition
from .layers import silent
from .unet import Descent, UNet, UNetConfig, UNetSizes


@dataclass(frozen=True)
class ControlNetConfig(UNetSizes):
    """Sizes of a ControlNet: its U-Net's, see ``UNetSizes``, and those of what reads the hint.

    hint_channels: of the hint, 3 for a picture. hint_widths: between two of them the side of the hint halves, so a hint is
    2^(entries - 1) times as large as x. Raises ``ValueError`` as ``UNetSizes`` does, and for widths or channels < 1.
    """

    hint_channels: int = 3
    hint_widths: tuple[int, ...] = (16, 32, 96, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("hint_channels", self.hint_channels, 1)
        expect(len(self.hint_widths) > 0, "hint_widths", self.hint_widths, "at least one width")
        for width in self.hint_widths:
            whole_number("hint_widths", width, 1)

    @property
    def hint_factor(self) -> int:
        """How many times larger than x a hint is."""
        return 2 ** (len(self.hint_widths) - 1)

    def build(self) -> "ControlNet":
        """The module, freshly initialised."""
        return ControlNet(self)


class Hint(nn.Module):
    """A picture as features of the size of x: (B, channels, f*H, f*W) -> (B, width, H, W). Zero before training."""

    def __init__(self, channels: int, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for cin, cout in pairwise(widths):
            self.blocks.append(nn.Conv2d(cin, cin, 3, padding=1))
            self.blocks.append(nn.Conv2d(cin, cout, 3, padding=1, stride=2))
        self.conv_out = silent(nn.Conv2d(widths[-1], width, 3, padding=1))

    def forward(self, hint: Tensor) -> Tensor:
        h = F.silu(self.conv_in(hint))
        for conv in self.blocks:
            h = F.silu(conv(h))
        return self.conv_out(h)


class ControlNet(Descent):
    """(x, t, cond, hint) -> what to add to a U-Net's skips and middle, for ``Condition(residuals=...)``.

    Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models (2023), section 3.1.
    """

    config: ControlNetConfig

    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config)
        self.hint = Hint(config.hint_channels, config.hint_widths, config.channels[0])
        widths = [*self.skips, config.channels[-1]]
        self.zeros = nn.ModuleList(silent(nn.Conv2d(width, width, 1)) for width in widths)

    @classmethod
    def copy_of(cls, unet: UNet, hint_channels: int = 3, hint_widths: tuple[int, ...] = (16, 32, 96, 256)) -> Self:
        """A ControlNet that begins as a copy of the first half of ``unet``, and says nothing yet."""
        shared = {field.name: getattr(unet.config, field.name) for field in fields(UNetSizes)}
        control = cls(ControlNetConfig(**shared, hint_channels=hint_channels, hint_widths=hint_widths))
        first_half = {name: t for name, t in unet.state_dict().items() if name in control.state_dict()}
        control.load_state_dict(first_half, strict=False)  # strict would ask for the hint's and the zeros' weights
        return control.to(next(unet.parameters()))

    def forward(
        self, x: Tensor, t: Tensor | float, cond: Condition | None, hint: Tensor, scale: float = 1.0
    ) -> tuple[Tensor, ...]:
        """x, t, cond: as for the U-Net. hint: (B, hint_channels, f*H, f*W). scale: multiplies what is said.

        -> a tensor for every skip and one for the middle. Raises ``ValueError`` for a hint of another size, and where the
        U-Net would.
        """
        cond = cond or Condition()
        image_batch("hint", hint, self.config.hint_channels, self.config.hint_factor)
        given, factor = (len(hint), *hint.shape[2:]), self.config.hint_factor
        expected = (len(x), *(factor * side for side in x.shape[2:]))
        expect(given == expected, "hint", f"(B, H, W) = {given}", f"{expected}, {factor} times as large as x")
        x = self.check(x, cond)
        h = self.conv_in(x) + self.hint(hint)
        skips = self.descend(h, self.embed(x, t, cond), self.context(cond))
        return tuple(scale * zero(skip) for zero, skip in zip(self.zeros, skips, strict=True))


class Controlled(nn.Module):
    """A frozen U-Net and what speaks to it: (x, t, cond) -> an output like x, led by ``cond.hint``.

    controls: ControlNets and adapters for the same hint, of which the sum is heard. Only they are trained. Implements
    :eq:`controlnet`. Without a hint it is the U-Net alone. Raises ``ValueError`` for no control, a hint together with
    residuals, and where the networks would.
    Source: Zhang et al. (2023), section 3.1; several at once: Mou et al., T2I-Adapter (2023), section 3.2.
    """

    def __init__(self, unet: UNet, *controls: ControlNet | Adapter) -> None:
        super().__init__()
        expect(len(controls) > 0, "controls", "none", "at least one ControlNet or adapter")
        self.unet = unet.requires_grad_(False)
        self.controls = nn.ModuleList(controls)

    @property
    def config(self) -> UNetConfig:
        """The U-Net's."""
        return self.unet.config

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        cond = cond or Condition()
        if cond.hint is None:
            return self.unet(x, t, cond)
        expect(cond.residuals is None, "cond.residuals", "a value", "None beside a hint")
        told, hint = replace(cond, hint=None), cond.hint
        said = [c(hint) if isinstance(c, Adapter) else c(x, t, told, hint) for c in self.controls]
        return self.unet(x, t, replace(told, residuals=sum_residuals(*said)))
