"""diffusers' three transformers: their configurations as an ``MMDiTConfig``, and back. The names are in ``mmdit``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import choose, expect, whole_number
from ..mmdit import MMDiTConfig
from .options import options, same

FLUX_PACK = 2  # FLUX's files count the channels of packed tokens, 2 x 2 latent pixels each

SD3_OPTIONS = {  # what diffusers takes an absent option to be
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 18,
    "attention_head_dim": 64,
    "num_attention_heads": 18,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1152,
    "pooled_projection_dim": 2048,
    "out_channels": 16,
    "pos_embed_max_size": 96,
    "dual_attention_layers": (),
    "qk_norm": None,
}
FLUX_OPTIONS = {
    "patch_size": 1,
    "in_channels": 64,
    "out_channels": None,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": False,
    "axes_dims_rope": (16, 56, 56),
}
DIT_OPTIONS = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "dropout": 0.0,
    "attention_bias": True,
    "sample_size": 32,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "upcast_attention": False,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-5,
}
DIT_FIXED = {  # what the published files say besides, from the days when one class of diffusers was all transformers
    "attention_type": "default",
    "cross_attention_dim": None,
    "double_self_attention": False,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "use_linear_projection": False,
}
DIT_FACTS = {"norm_num_groups": 32}  # there is no group norm in it


def read_sd3(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' SD3Transformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, SD3_OPTIONS, {})
    expect(not values["dual_attention_layers"], "dual_attention_layers", values["dual_attention_layers"], "none")
    common = _common(values)
    same(values, "caption_projection_dim", common["width"], "the width of a token, in which both streams meet")
    qk_norm = values["qk_norm"]
    return MMDiTConfig(
        **common,
        out_channels=_out(values),
        patch=values["patch_size"],
        qk_norm=qk_norm is not None and choose("qk_norm", qk_norm, {"rms_norm": True}),
        tokens=whole_number("joint_attention_dim", values["joint_attention_dim"], 1),
        vector=whole_number("pooled_projection_dim", values["pooled_projection_dim"], 1),
        side=_side(values),
        table=whole_number("pos_embed_max_size", values["pos_embed_max_size"], 1),
    )


def read_flux(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' FluxTransformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, FLUX_OPTIONS, {})
    same(values, "patch_size", 1, "FLUX's tokens are packed outside of diffusers' network")
    square = FLUX_PACK**2
    for name in ("in_channels", "out_channels"):
        channels = values[name]
        expect(channels is None or channels % square == 0, name, channels, f"a multiple of {square}, packed latents")
    out = _out(values)
    common = _common(values)
    return MMDiTConfig(
        **common | {"in_channels": values["in_channels"] // square},
        out_channels=None if out is None else out // square,
        patch=FLUX_PACK,
        singles=whole_number("num_single_layers", values["num_single_layers"], 1),
        qk_norm=True,
        tokens=whole_number("joint_attention_dim", values["joint_attention_dim"], 1),
        vector=whole_number("pooled_projection_dim", values["pooled_projection_dim"], 1),
        guidance=values["guidance_embeds"],
        side=0,
        rope=tuple(values["axes_dims_rope"]),
        time_factor=1000,
        channels_first=True,
    )


def read_dit(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' DiTTransformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, DIT_OPTIONS | DIT_FIXED, DIT_FACTS)
    for name, value in DIT_FIXED.items():
        same(values, name, value, "as in the published DiT")
    for name in ("dropout", "attention_bias", "activation_fn", "upcast_attention", "norm_type"):
        same(values, name, DIT_OPTIONS[name], "as in the published DiT")
    same(values, "norm_elementwise_affine", False, "adaLN's norms have no weights of their own")
    return MMDiTConfig(
        **_common(values),
        out_channels=_out(values),
        patch=values["patch_size"],
        classes=whole_number("num_embeds_ada_norm", values["num_embeds_ada_norm"], 1),
        side=_side(values),
        freq_shift=1,
        shared_clock=False,
        ff_eps=values["norm_eps"],
        shift_first=True,
    )


def class_of(config: MMDiTConfig) -> str:
    """The class of diffusers to which a network is nearest: rotary positions are FLUX's, a text without them is SD3's."""
    return f"{'Flux' if config.rope else 'SD3' if config.tokens else 'DiT'}Transformer2DModel"


def _common(values: Mapping[str, Any]) -> dict[str, Any]:
    """What all three call the same."""
    head = whole_number("attention_head_dim", values["attention_head_dim"], 1)
    return {
        "in_channels": values["in_channels"],
        "width": head * values["num_attention_heads"],
        "heads": values["num_attention_heads"],
        "blocks": values["num_layers"],
    }


def _out(values: Mapping[str, Any]) -> int | None:
    return None if values["out_channels"] in (None, values["in_channels"]) else values["out_channels"]


def _side(values: Mapping[str, Any]) -> int:
    """Tokens a side: a remainder of the picture is not seen."""
    return values["sample_size"] // whole_number("patch_size", values["patch_size"], 1)


def write_mmdit(config: MMDiTConfig) -> dict[str, Any] | None:
    """The configuration of the same network in diffusers, with its class there; None where no class is like this one."""
    kind = class_of(config)
    written = {
        "_class_name": kind,
        "num_layers": config.blocks,
        "num_attention_heads": config.heads,
        "attention_head_dim": config.width // config.heads,
        **OPTIONS[kind](config),
    }
    try:
        back = READERS[kind](written)
    except ValueError:  # such as a length of 0, which says "absent" in ours
        return None
    return written if replace(back, out_channels=back.out) == replace(config, out_channels=config.out) else None


def _sd3(config: MMDiTConfig) -> dict[str, Any]:
    return {
        "sample_size": config.side * config.patch,
        "patch_size": config.patch,
        "in_channels": config.in_channels,
        "joint_attention_dim": config.tokens,
        "caption_projection_dim": config.width,
        "pooled_projection_dim": config.vector,
        "out_channels": config.out,
        "pos_embed_max_size": config.table,
        "qk_norm": "rms_norm" if config.qk_norm else None,
    }


def _flux(config: MMDiTConfig) -> dict[str, Any]:
    return {
        "patch_size": 1,
        "in_channels": config.in_channels * FLUX_PACK**2,
        "out_channels": config.out * FLUX_PACK**2,
        "num_single_layers": config.singles,
        "joint_attention_dim": config.tokens,
        "pooled_projection_dim": config.vector,
        "guidance_embeds": config.guidance,
        "axes_dims_rope": list(config.rope),
    }


def _dit(config: MMDiTConfig) -> dict[str, Any]:
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out,
        "sample_size": config.side * config.patch,
        "patch_size": config.patch,
        "num_embeds_ada_norm": config.classes,
        "norm_eps": config.ff_eps,
    }


READERS: dict[str, Callable[[Mapping[str, Any]], MMDiTConfig]] = {
    "SD3Transformer2DModel": read_sd3,
    "FluxTransformer2DModel": read_flux,
    "DiTTransformer2DModel": read_dit,
    "Transformer2DModel": read_dit,  # the old name of the same class
}
OPTIONS = {"SD3Transformer2DModel": _sd3, "FluxTransformer2DModel": _flux, "DiTTransformer2DModel": _dit}
