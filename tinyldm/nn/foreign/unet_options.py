"""diffusers' configurations of U-Nets, read into ours and written from ours. What we cannot build is refused by name."""

from collections.abc import Mapping
from typing import Any

from ...errors import choose, expect
from ..unet import UNetConfig, UNetSizes
from .options import levels, options, same

PLAIN = {"DownBlock2D": False, "AttnDownBlock2D": True}  # a level's block type: whether it attends
CROSS = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
SCALE_SHIFT = {"default": False, "scale_shift": True}

COMMON = {  # what diffusers takes an absent option to be
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
}
CONDITIONAL = {
    **COMMON,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "only_cross_attention": False,
    "addition_embed_type": None,
    "projection_class_embeddings_input_dim": None,
}
UNCONDITIONAL = {
    **COMMON,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D"] + ["AttnDownBlock2D"] * 3,
    "up_block_types": ["AttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "attn_norm_num_groups": None,
    "add_attention": True,
}
BOTH = {  # options that no published configuration turns to anything else, with that one value
    "act_fn": "silu",
    "center_input_sample": False,
    "class_embed_type": None,
    "dropout": 0.0,
    "mid_block_scale_factor": 1,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
}
FIXED = BOTH | {
    "attention_type": "default",
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
}
UNCONDITIONAL_FIXED = BOTH | {"downsample_type": "conv", "mid_block_type": "UNetMidBlock2D", "upsample_type": "conv"}
UNET_FACTS = {  # how to use the network, or how diffusers is to compute the same numbers
    "sample_size": None,
    "num_train_timesteps": None,
    "addition_time_embed_dim": None,
    "addition_embed_type_num_heads": 64,
    "upcast_attention": False,
    "use_linear_projection": False,
}


def _common(values: Mapping[str, Any], fixed: Mapping[str, Any], kinds: Mapping[str, bool]) -> dict[str, Any]:
    """What every kind of U-Net has. kinds: the block types that a level may be of, and whether it attends."""
    for name, value in fixed.items():
        same(values, name, value, "as in all published configurations")
    channels = tuple(values["block_out_channels"])
    attention = tuple(choose("down_block_types", kind, kinds) for kind in levels(values, "down_block_types", len(channels)))
    if "up_block_types" in values:
        mirror = [kind.replace("Down", "Up") for kind in reversed(values["down_block_types"])]
        expect(list(values["up_block_types"]) == mirror, "up_block_types", values["up_block_types"], f"{mirror}, the mirror")
    blocks = set(levels(values, "layers_per_block", len(channels)))
    expect(len(blocks) == 1, "layers_per_block", values["layers_per_block"], "the same number at every level")
    expect(values["downsample_padding"] in (0, 1), "downsample_padding", values["downsample_padding"], "0 or 1")
    rows = values["num_class_embeds"] or 0  # 0 is how some files say "none"
    expect(rows != 1, "num_class_embeds", rows, "None, or at least two classes")
    return {
        "in_channels": values["in_channels"],
        "channels": channels,
        "attention": attention,
        "blocks": blocks.pop(),
        "groups": values["norm_num_groups"],
        "classes": rows - 1 if rows else 0,
        "scale_shift": choose("resnet_time_scale_shift", values["resnet_time_scale_shift"], SCALE_SHIFT),
        "freq_shift": values["freq_shift"],
        "cosine_first": values["flip_sin_to_cos"],
        "both_sides": values["downsample_padding"] == 1,
        "eps": values["norm_eps"],
    }


def conditional_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of a U-Net with cross-attention. diffusers' ``attention_head_dim`` is the number of heads there."""
    sizes = _common(values, FIXED, CROSS)
    count = len(sizes["channels"])
    contexts = set(levels(values, "cross_attention_dim", count))
    expect(len(contexts) == 1, "cross_attention_dim", values["cross_attention_dim"], "the same width at every level")
    depths = levels(values, "transformer_layers_per_block", count)
    for depth in depths:
        expect(isinstance(depth, int), "transformer_layers_per_block", list(depths), "one number a level")
    cross_only = tuple(bool(c) for c in levels(values, "only_cross_attention", count))
    choose("addition_embed_type", str(values["addition_embed_type"]), {"None": 0, "text_time": 1})
    vector = values["projection_class_embeddings_input_dim"] if values["addition_embed_type"] else 0
    heads = values["attention_head_dim"]
    return sizes | {
        "attention": tuple(depth * attends for depth, attends in zip(depths, sizes["attention"], strict=True)),
        "middle": depths[-1],
        "heads": heads if isinstance(heads, int) else levels(values, "attention_head_dim", count),
        "tokens": contexts.pop(),
        "cross_only": cross_only if any(cross_only) else (),
        "vector": vector,
    }


def read_conditional(config: Mapping[str, Any]) -> UNetConfig:
    """diffusers' UNet2DConditionModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, CONDITIONAL | FIXED, UNET_FACTS)
    return UNetConfig(**conditional_sizes(values), out_channels=_outputs(values))


def _outputs(values: Mapping[str, Any]) -> int | None:
    return None if values["out_channels"] == values["in_channels"] else values["out_channels"]


def read_unconditional(config: Mapping[str, Any]) -> UNetConfig:
    """diffusers' UNet2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, UNCONDITIONAL | UNCONDITIONAL_FIXED, UNET_FACTS)
    sizes = _common(values, UNCONDITIONAL_FIXED, PLAIN)
    width, channels, deepest = values["attention_head_dim"], sizes["channels"], len(sizes["channels"]) - 1
    middle = int(values["add_attention"])
    numbers = []  # of heads, where a level attends: diffusers fixes the width of a head
    for level, attends in enumerate(sizes["attention"]):
        places = attends or (level == deepest and middle)
        fits = not (places and width) or channels[level] % width == 0
        expect(fits, "attention_head_dim", width, f"a divisor of the {channels[level]} channels of level {level}")
        numbers.append(channels[level] // width if places and width else int(places))
    different = {n for n in numbers if n}
    heads = different.pop() if len(different) == 1 else tuple(n or 1 for n in numbers)
    unnormalised = sizes["scale_shift"] and not values["attn_norm_num_groups"]  # so diffusers builds its middle then
    groups = 0 if unnormalised else values["attn_norm_num_groups"] or sizes["groups"]
    expect(groups in (0, sizes["groups"]), "attn_norm_num_groups", groups, f"norm_num_groups={sizes['groups']}")
    return UNetConfig(**sizes, out_channels=_outputs(values), middle=middle, heads=heads, middle_norm=groups > 0)


def write_sizes(config: UNetSizes) -> dict[str, Any] | None:
    """What diffusers' conditional models have in common, or None where it has no words for a configuration."""
    deepest = config.attention[-1]
    if config.tokens == 0 or config.middle == 0 or deepest not in (0, config.middle):
        return None
    cross = {bool(attends): kind for kind, attends in CROSS.items()}
    return {
        **_written(config),
        "down_block_types": [cross[depth > 0] for depth in config.attention],
        "transformer_layers_per_block": [*(depth or 1 for depth in config.attention[:-1]), config.middle],
        "attention_head_dim": list(config.heads) if isinstance(config.heads, tuple) else config.heads,
        "cross_attention_dim": config.tokens,
        "only_cross_attention": list(config.cross_only) or False,
        "use_linear_projection": True,
        "addition_embed_type": "text_time" if config.vector else None,
        "addition_time_embed_dim": 256 if config.vector else None,
        "projection_class_embeddings_input_dim": config.vector or None,
    }


def write_unet(config: UNetConfig) -> dict[str, Any] | None:
    """A ``UNetConfig`` as a configuration of diffusers' UNet2DConditionModel or UNet2DModel; None if it has no words for it."""
    sizes = write_sizes(config)
    kind = "UNet2DConditionModel"
    if config.tokens == 0:
        kind, sizes = "UNet2DModel", _written_plain(config)
    if sizes is None:
        return None
    up = [name.replace("Down", "Up") for name in reversed(sizes["down_block_types"])]
    return {"_class_name": kind, **sizes, "up_block_types": up, "out_channels": config.out}


def _written(config: UNetSizes) -> dict[str, Any]:
    return {
        "in_channels": config.in_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
        "norm_eps": config.eps,
        "downsample_padding": int(config.both_sides),
        "flip_sin_to_cos": config.cosine_first,
        "freq_shift": config.freq_shift,
        "num_class_embeds": config.classes + 1 if config.classes else None,
        "resnet_time_scale_shift": "scale_shift" if config.scale_shift else "default",
    }


def _written_plain(config: UNetConfig) -> dict[str, Any] | None:
    """diffusers gives the heads of self-attention one width everywhere; with one head a level, that of the level."""
    last = len(config.channels) - 1
    places = [i for i, attends in enumerate(config.attention) if attends or (i == last and config.middle)]
    widths = {config.channels[i] // config.heads_at(i) for i in places}
    single = all(config.heads_at(i) == 1 for i in places)
    if config.vector or not (single or len(widths) == 1):
        return None
    if config.middle and not config.middle_norm and not config.scale_shift:
        return None
    plain = {bool(attends): kind for kind, attends in PLAIN.items()}
    return {
        **_written(config),
        "down_block_types": [plain[attends > 0] for attends in config.attention],
        "attention_head_dim": None if single else widths.pop(),
        "attn_norm_num_groups": config.groups if config.middle_norm else None,
        "add_attention": config.middle > 0,
    }
