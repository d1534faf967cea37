"""diffusers' three transformers: their configurations as an ``MMDiTConfig``, and back. The names are in ``mmdit``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import choose, expect
from ..mmdit import MMDiTConfig
from .options import Option, Table, fixed, options, read, same, write

FLUX_PACK = 2  # FLUX's files count the channels of packed tokens, 2 x 2 latent pixels each
PACKED = (lambda n: n and n // FLUX_PACK**2, lambda n: n * FLUX_PACK**2)
PUBLISHED = "as in the published DiT"

SD3 = {
    "sample_size": Option(128),
    "patch_size": Option(2, "patch", positive=True),
    "in_channels": Option(16, "in_channels"),
    "num_layers": Option(18, "blocks"),
    "attention_head_dim": Option(64, positive=True),
    "num_attention_heads": Option(18, "heads"),
    "joint_attention_dim": Option(4096, "tokens", positive=True),
    "caption_projection_dim": Option(1152, "width"),
    "pooled_projection_dim": Option(2048, "vector", positive=True),
    "out_channels": Option(16, "out_channels"),
    "pos_embed_max_size": Option(96, "table", positive=True),
    "dual_attention_layers": Option(()),
    "qk_norm": Option(
        None,
        "qk_norm",
        read=lambda kind: kind is not None and choose("qk_norm", kind, {"rms_norm": True}),
        write=lambda normed: "rms_norm" if normed else None,
    ),
}
FLUX = {
    "patch_size": Option(1, why="FLUX's tokens are packed outside of diffusers' network"),
    "in_channels": Option(64, "in_channels", *PACKED),
    "out_channels": Option(None, "out_channels", *PACKED),
    "num_layers": Option(19, "blocks"),
    "num_single_layers": Option(38, "singles", positive=True),
    "attention_head_dim": Option(128, positive=True),
    "num_attention_heads": Option(24, "heads"),
    "joint_attention_dim": Option(4096, "tokens", positive=True),
    "pooled_projection_dim": Option(768, "vector", positive=True),
    "guidance_embeds": Option(False, "guidance"),
    "axes_dims_rope": Option((16, 56, 56), "rope"),
}
DIT = {
    "num_attention_heads": Option(16, "heads"),
    "attention_head_dim": Option(72, positive=True),
    "in_channels": Option(4, "in_channels"),
    "out_channels": Option(None, "out_channels"),
    "num_layers": Option(28, "blocks"),
    "sample_size": Option(32),
    "patch_size": Option(2, "patch", positive=True),
    "num_embeds_ada_norm": Option(1000, "classes", positive=True),
    "norm_eps": Option(1e-5, "ff_eps"),
    "norm_elementwise_affine": Option(False, why="adaLN's norms have no weights of their own"),
    **fixed(PUBLISHED, activation_fn="gelu-approximate", norm_type="ada_norm_zero", attention_bias=True),
    **fixed(PUBLISHED, dropout=0.0, upcast_attention=False),
}
DIT_OLD = {  # what the published files say besides, from the days when one class of diffusers was all transformers
    **fixed(PUBLISHED, attention_type="default", cross_attention_dim=None, double_self_attention=False),
    **fixed(PUBLISHED, num_vector_embeds=None, only_cross_attention=False, use_linear_projection=False),
}
DIT_FACTS = ("norm_num_groups",)  # there is no group norm in it


def read_sd3(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' SD3Transformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, SD3)
    expect(not values["dual_attention_layers"], "dual_attention_layers", values["dual_attention_layers"], "none")
    sizes = _sizes(values, SD3)
    same(values, "caption_projection_dim", sizes["width"], "the width of a token, in which both streams meet")
    return MMDiTConfig(**sizes)


def read_flux(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' FluxTransformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values, square = options(config, FLUX), FLUX_PACK**2
    for name in ("in_channels", "out_channels"):
        channels = values[name]
        expect(channels is None or channels % square == 0, name, channels, f"a multiple of {square}, packed latents")
    sizes = _sizes(values, FLUX)
    return MMDiTConfig(**sizes, patch=FLUX_PACK, qk_norm=True, side=0, time_factor=1000, channels_first=True)


def read_dit(config: Mapping[str, Any]) -> MMDiTConfig:
    """diffusers' DiTTransformer2DModel. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, DIT | DIT_OLD, DIT_FACTS)
    return MMDiTConfig(**_sizes(values, DIT), freq_shift=1, shared_clock=False, shift_first=True)


def _sizes(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Our fields, with what takes two options: the width, and tokens a side (a remainder of the picture is not seen)."""
    sizes = read(values, table) | {"width": values["attention_head_dim"] * values["num_attention_heads"]}
    return sizes | ({"side": values["sample_size"] // values["patch_size"]} if "sample_size" in values else {})


def class_of(config: MMDiTConfig) -> str:
    """The class of diffusers to which a network is nearest: rotary positions are FLUX's, a text without them is SD3's."""
    return f"{'Flux' if config.rope else 'SD3' if config.tokens else 'DiT'}Transformer2DModel"


def write_mmdit(config: MMDiTConfig) -> dict[str, Any] | None:
    """The configuration of the same network in diffusers, with its class there; None where no class is like this one."""
    kind, config = class_of(config), replace(config, out_channels=config.out)
    table = TABLES[kind]
    written = {"_class_name": kind, **write(config, table), "attention_head_dim": config.width // config.heads}
    if "sample_size" in table:
        written["sample_size"] = config.side * config.patch
    try:
        back = READERS[kind](written)
    except ValueError:  # such as a length of 0, which says "absent" in ours
        return None
    return written if replace(back, out_channels=back.out) == config else None


TABLES: dict[str, Table] = {"SD3Transformer2DModel": SD3, "FluxTransformer2DModel": FLUX, "DiTTransformer2DModel": DIT}
READERS: dict[str, Callable[[Mapping[str, Any]], MMDiTConfig]] = {
    "SD3Transformer2DModel": read_sd3,
    "FluxTransformer2DModel": read_flux,
    "DiTTransformer2DModel": read_dit,
    "Transformer2DModel": read_dit,  # the old name of the same class
}
