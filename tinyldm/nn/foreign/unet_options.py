"""diffusers' configurations of U-Nets, read into ours and written from ours. What we cannot build is refused by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import choose, expect
from ..unet import UNetConfig, UNetSizes
from .options import Option, Table, alike, fixed, levels, options, read, write

PLAIN = {"DownBlock2D": False, "AttnDownBlock2D": True}  # a level's block type, first the one without attention
CROSS = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
PUBLISHED = "as in all published configurations"

COMMON = {
    "in_channels": Option(4, "in_channels"),
    "out_channels": Option(4, "out_channels"),
    "block_out_channels": Option([320, 640, 1280, 1280], "channels"),
    "layers_per_block": Option(2, "blocks"),
    "norm_num_groups": Option(32, "groups"),
    "norm_eps": Option(1e-5, "eps"),
    "attention_head_dim": Option(8, "heads"),
    "downsample_padding": Option(1, "both_sides", bool, int),
    "flip_sin_to_cos": Option(True, "cosine_first"),
    "freq_shift": Option(0, "freq_shift"),
    "num_class_embeds": Option(None, "classes", lambda rows: rows - 1 if rows else 0, lambda n: n + 1 if n else None),
    "resnet_time_scale_shift": Option(
        "default",
        "scale_shift",
        read=lambda kind: choose("resnet_time_scale_shift", kind, {"default": False, "scale_shift": True}),
        write=lambda scale_shift: "scale_shift" if scale_shift else "default",
    ),
}
CONDITIONAL = {
    **COMMON,
    "down_block_types": Option(["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]),
    "up_block_types": Option(["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3),
    "cross_attention_dim": Option(1280, "tokens"),
    "transformer_layers_per_block": Option(1),
    "only_cross_attention": Option(False, "cross_only", write=lambda levels: list(levels) or False),
    "addition_embed_type": Option(None),
    "projection_class_embeddings_input_dim": Option(None, "vector", write=lambda width: width or None),
}
UNCONDITIONAL = {
    **COMMON,
    "in_channels": Option(3, "in_channels"),
    "out_channels": Option(3, "out_channels"),
    "block_out_channels": Option([224, 448, 672, 896], "channels"),
    "down_block_types": Option(["DownBlock2D"] + ["AttnDownBlock2D"] * 3),
    "up_block_types": Option(["AttnUpBlock2D"] * 3 + ["UpBlock2D"]),
    "attn_norm_num_groups": Option(None),
    "add_attention": Option(True, "middle", int, bool),
}
BOTH = {  # options that no published configuration turns to anything else
    **fixed(PUBLISHED, act_fn="silu", center_input_sample=False, class_embed_type=None, dropout=0.0, mid_block_scale_factor=1),
    **fixed(PUBLISHED, time_embedding_dim=None, time_embedding_type="positional"),
}
FIXED = {
    **BOTH,
    **fixed(PUBLISHED, attention_type="default", cross_attention_norm=None, dual_cross_attention=False),
    **fixed(PUBLISHED, num_attention_heads=None, reverse_transformer_layers_per_block=None),
    **fixed(PUBLISHED, class_embeddings_concat=False, encoder_hid_dim=None, encoder_hid_dim_type=None),
    **fixed(PUBLISHED, conv_in_kernel=3, conv_out_kernel=3, resnet_out_scale_factor=1.0, resnet_skip_time_act=False),
    **fixed(PUBLISHED, mid_block_only_cross_attention=None, mid_block_type="UNetMidBlock2DCrossAttn"),
    **fixed(PUBLISHED, time_cond_proj_dim=None, time_embedding_act_fn=None, timestep_post_act=None),
}
UNCONDITIONAL_FIXED = BOTH | fixed(PUBLISHED, downsample_type="conv", mid_block_type="UNetMidBlock2D", upsample_type="conv")
UNET_FACTS = (  # how to use the network, or how diffusers is to compute the same numbers
    *("sample_size", "num_train_timesteps", "addition_time_embed_dim"),
    *("addition_embed_type_num_heads", "upcast_attention", "use_linear_projection"),
)


def _sizes(values: Mapping[str, Any], table: Table, kinds: Mapping[str, bool]) -> dict[str, Any]:
    """What every kind of U-Net has. kinds: the block types that a level may be of, and whether it attends."""
    count = len(values["block_out_channels"])
    attention = tuple(choose("down_block_types", kind, kinds) for kind in levels(values, "down_block_types", count))
    if "up_block_types" in values:
        mirror = _mirror(values["down_block_types"])
        expect(list(values["up_block_types"]) == mirror, "up_block_types", values["up_block_types"], f"{mirror}, the mirror")
    expect(values["downsample_padding"] in (0, 1), "downsample_padding", values["downsample_padding"], "0 or 1")
    rows = values["num_class_embeds"]
    expect(rows != 1, "num_class_embeds", rows, "None, or at least two classes")
    blocks = alike(values, "layers_per_block", count, "number")
    return read(values, table) | {"attention": attention, "blocks": blocks}


def _mirror(down: Sequence[str]) -> list[str]:
    """The block types of the way up."""
    return [kind.replace("Down", "Up") for kind in reversed(down)]


def conditional_sizes(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The sizes of a U-Net with cross-attention. diffusers' ``attention_head_dim`` is the number of heads there."""
    sizes = _sizes(values, table, CROSS)
    count = len(sizes["channels"])
    depths = levels(values, "transformer_layers_per_block", count)
    single = all(isinstance(depth, int) for depth in depths)
    expect(single, "transformer_layers_per_block", list(depths), "one number a level")
    cross_only = tuple(bool(c) for c in levels(values, "only_cross_attention", count))
    added = choose("addition_embed_type", str(values["addition_embed_type"]), {"None": False, "text_time": True})
    heads = values["attention_head_dim"]
    return sizes | {
        "attention": tuple(depth * attends for depth, attends in zip(depths, sizes["attention"], strict=True)),
        "middle": depths[-1],
        "heads": heads if isinstance(heads, int) else levels(values, "attention_head_dim", count),
        "tokens": alike(values, "cross_attention_dim", count, "width"),
        "cross_only": cross_only if any(cross_only) else (),
        "vector": sizes["vector"] if added else 0,
    }


def read_conditional(config: Mapping[str, Any]) -> UNetConfig:
    """diffusers' UNet2DConditionModel. Raises ``ValueError`` naming an option that we do not have."""
    return UNetConfig(**conditional_sizes(options(config, CONDITIONAL | FIXED, UNET_FACTS), CONDITIONAL))


def read_unconditional(config: Mapping[str, Any]) -> UNetConfig:
    """diffusers' UNet2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, UNCONDITIONAL | UNCONDITIONAL_FIXED, UNET_FACTS)
    sizes = _sizes(values, UNCONDITIONAL, PLAIN)
    width, channels, places = values["attention_head_dim"], sizes["channels"], _places(sizes["attention"], sizes["middle"])
    numbers = [1] * len(channels)  # of heads: diffusers fixes the width of a head
    for level in places if width else ():
        where = f"the {channels[level]} channels of level {level}"
        expect(channels[level] % width == 0, "attention_head_dim", width, f"a divisor of {where}")
        numbers[level] = channels[level] // width
    different = {numbers[level] for level in places}
    heads = different.pop() if len(different) == 1 else tuple(numbers)
    unnormalised = sizes["scale_shift"] and not values["attn_norm_num_groups"]  # so diffusers builds its middle then
    groups = 0 if unnormalised else values["attn_norm_num_groups"] or sizes["groups"]
    expect(groups in (0, sizes["groups"]), "attn_norm_num_groups", groups, f"norm_num_groups={sizes['groups']}")
    return UNetConfig(**sizes | {"heads": heads, "middle_norm": groups > 0})


def _places(attention: Sequence[int], middle: int) -> list[int]:
    """The levels with attention; the middle belongs to the deepest."""
    return [level for level, depth in enumerate(attention) if depth or (middle and level == len(attention) - 1)]


def write_sizes(config: UNetSizes, table: Table) -> dict[str, Any] | None:
    """What diffusers' conditional models have in common, or None where it has no words for a configuration."""
    if config.tokens == 0 or config.middle == 0 or config.attention[-1] not in (0, config.middle):
        return None
    plain, cross = CROSS
    return {
        **write(config, table),
        "down_block_types": [cross if depth else plain for depth in config.attention],
        "transformer_layers_per_block": [*(depth or 1 for depth in config.attention[:-1]), config.middle],
        "use_linear_projection": True,
        "addition_embed_type": "text_time" if config.vector else None,
        "addition_time_embed_dim": 256 if config.vector else None,
    }


def write_unet(config: UNetConfig) -> dict[str, Any] | None:
    """A ``UNetConfig`` as a configuration of diffusers' UNet2DConditionModel or UNet2DModel; None if it has no words for it."""
    config = replace(config, out_channels=config.out)
    kind = "UNet2DConditionModel" if config.tokens else "UNet2DModel"
    sizes = write_sizes(config, CONDITIONAL) if config.tokens else _write_plain(config)
    return sizes and {"_class_name": kind, **sizes, "up_block_types": _mirror(sizes["down_block_types"])}


def _write_plain(config: UNetConfig) -> dict[str, Any] | None:
    """diffusers gives the heads of self-attention one width everywhere; with one head a level, that of the level."""
    places = _places(config.attention, config.middle)
    widths = {config.channels[i] // config.heads_at(i) for i in places}
    single = all(config.heads_at(i) == 1 for i in places)
    if config.vector or not (single or len(widths) == 1):
        return None
    if config.middle and not config.middle_norm and not config.scale_shift:
        return None
    plain, attending = PLAIN
    return {
        **write(config, UNCONDITIONAL),
        "down_block_types": [attending if depth else plain for depth in config.attention],
        "attention_head_dim": None if single else widths.pop(),
        "attn_norm_num_groups": config.groups if config.middle_norm else None,
    }
