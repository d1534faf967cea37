"""The configuration files of diffusers, read into ours and written from ours. What we cannot build is refused by name."""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import choose, expect
from .autoencoder import AutoencoderConfig

DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}  # a level's block type: whether it attends
UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}

AUTOENCODER = {  # what diffusers takes an absent option to be
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
AUTOENCODER_FACTS = {  # what says how to use the network, not which one it is
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
    "force_upcast": True,
}


def options(given: Mapping[str, Any], defaults: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a diffusers configuration, the absent ones from ``defaults``. Unknown ones are refused by name."""
    own = {name: value for name, value in given.items() if not name.startswith("_")}
    for name in own:
        choose("config option", name, {**defaults, **facts})
    return {**defaults, **{name: value for name, value in own.items() if name in defaults}}


def same(values: Mapping[str, Any], name: str, other: object, why: str) -> None:
    """Refuse an option that is not what our networks do."""
    expect(values[name] == other, name, repr(values[name]), f"{other!r} ({why})")


def read_autoencoder(config: Mapping[str, Any]) -> AutoencoderConfig:
    """diffusers' AutoencoderKL as an ``AutoencoderConfig``. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, AUTOENCODER, AUTOENCODER_FACTS)
    same(values, "act_fn", "silu", "the only one that the published autoencoders use")
    same(values, "mid_block_add_attention", True, "all published autoencoders attend in the middle")
    same(values, "out_channels", values["in_channels"], "as many as in_channels")
    same(values, "use_post_quant_conv", values["use_quant_conv"], "like use_quant_conv")
    down = tuple(choose("down_block_types", kind, DOWN) for kind in values["down_block_types"])
    up = tuple(choose("up_block_types", kind, UP) for kind in values["up_block_types"])
    levels = len(values["block_out_channels"])
    expect(len(down) == levels, "down_block_types", values["down_block_types"], f"{levels}, one a level")
    expect(up == down[::-1], "up_block_types", values["up_block_types"], "the mirror of down_block_types")
    return AutoencoderConfig(
        in_channels=values["in_channels"],
        latent_channels=values["latent_channels"],
        channels=tuple(values["block_out_channels"]),
        blocks=values["layers_per_block"],
        groups=values["norm_num_groups"],
        attention=down if any(down) else (),
        quant=values["use_quant_conv"],
    )


def write_autoencoder(config: AutoencoderConfig) -> dict[str, Any]:
    """An ``AutoencoderConfig`` as diffusers' configuration."""
    down, up = ({attends: kind for kind, attends in table.items()} for table in (DOWN, UP))
    return {
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "down_block_types": [down[attends] for attends in config.attends],
        "up_block_types": [up[attends] for attends in reversed(config.attends)],
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "act_fn": "silu",
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.groups,
        "use_quant_conv": config.quant,
        "use_post_quant_conv": config.quant,
        "mid_block_add_attention": True,
    }


READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {"AutoencoderKL": read_autoencoder}  # by diffusers' class
WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {"AutoencoderKL": write_autoencoder}  # by ours, of the same name
FACTS: dict[str, dict[str, Any]] = {"AutoencoderKL": AUTOENCODER_FACTS}
