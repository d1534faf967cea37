"""The ControlNets of others: a U-Net's first half, and what is a ControlNet's own."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..controlnet import ControlNetConfig
from .family import Family, Row
from .options import Option, fixed, options
from .unet import LEAVES, descent_rows
from .unet_options import CONDITIONAL, FIXED, UNET_FACTS, conditional_sizes, write_sizes

FACTS = (*UNET_FACTS, "global_pool_conditions")
SIZES = {
    **{name: option for name, option in CONDITIONAL.items() if name not in ("out_channels", "up_block_types")},
    "conditioning_channels": Option(3, "hint_channels"),
    "conditioning_embedding_out_channels": Option([16, 32, 96, 256], "hint_widths"),
}
ORDER = fixed("as the hint comes", controlnet_conditioning_channel_order="rgb")


def read_controlnet(config: Mapping[str, Any]) -> ControlNetConfig:
    """diffusers' ControlNetModel. Raises ``ValueError`` naming an option that we do not have."""
    return ControlNetConfig(**conditional_sizes(options(config, SIZES | FIXED | ORDER, FACTS), SIZES))


def write_controlnet(config: ControlNetConfig) -> dict[str, Any] | None:
    """A ``ControlNetConfig`` as diffusers' configuration, or None where it has no words for it."""
    sizes = write_sizes(config, SIZES)
    return sizes and {"_class_name": "ControlNetModel", **sizes}


def controlnet_rows(config: ControlNetConfig) -> Iterator[Row]:
    """The modules of a ``ControlNet``."""
    yield from descent_rows(config)
    last = len(config.hint_widths) * 2 - 2  # convolutions between the first and the last; CompVis counts SiLUs as well
    yield "hint.conv_in", "controlnet_cond_embedding.conv_in", "input_hint_block.0"
    for i in range(last):
        yield f"hint.blocks.{i}", f"controlnet_cond_embedding.blocks.{i}", f"input_hint_block.{2 * i + 2}"
    yield "hint.conv_out", "controlnet_cond_embedding.conv_out", f"input_hint_block.{2 * last + 2}"
    skips = len(config.channels) * (config.blocks + 1)  # conv_in, the blocks, and the samplers between the levels
    for i in range(skips):
        yield f"zeros.{i}", f"controlnet_down_blocks.{i}", f"zero_convs.{i}.0"
    yield f"zeros.{skips}", "controlnet_mid_block", "middle_block_out.0"


CONTROLNET = Family(controlnet_rows, LEAVES, {"ControlNetModel": read_controlnet}, write_controlnet, FACTS, "control_model.")
