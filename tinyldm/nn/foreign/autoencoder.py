"""The autoencoders of others: diffusers' configurations, and the names of the tensors in its files and in CompVis'."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import choose, expect
from ..autoencoder import AutoencoderConfig
from .family import Family, Row
from .options import Option, levels, options, read, same, write

DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}  # a level's block type, first the one without attention
UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}

OPTIONS = {
    "in_channels": Option(3, "in_channels"),
    "out_channels": Option(3, "in_channels"),
    "down_block_types": Option(["DownEncoderBlock2D"]),
    "up_block_types": Option(["UpDecoderBlock2D"]),
    "block_out_channels": Option([64], "channels"),
    "layers_per_block": Option(1, "blocks"),
    "act_fn": Option("silu", why="the only one that the published autoencoders use"),
    "latent_channels": Option(4, "latent_channels"),
    "norm_num_groups": Option(32, "groups"),
    "use_post_quant_conv": Option(True, "quant"),
    "use_quant_conv": Option(True, "quant"),
    "mid_block_add_attention": Option(True, why="all published autoencoders attend in the middle"),
}
# what says how to use the network, not which one it is
FACTS = ("sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast")


def read_autoencoder(config: Mapping[str, Any]) -> AutoencoderConfig:
    """diffusers' AutoencoderKL as an ``AutoencoderConfig``. Raises ``ValueError`` naming an option that we do not have."""
    values = options(config, OPTIONS, FACTS)
    same(values, "out_channels", values["in_channels"], "as many as in_channels")
    same(values, "use_post_quant_conv", values["use_quant_conv"], "like use_quant_conv")
    count = len(values["block_out_channels"])
    down = tuple(choose("down_block_types", kind, DOWN) for kind in levels(values, "down_block_types", count))
    up = tuple(choose("up_block_types", kind, UP) for kind in values["up_block_types"])
    expect(up == down[::-1], "up_block_types", values["up_block_types"], "the mirror of down_block_types")
    return AutoencoderConfig(**read(values, OPTIONS), attention=down if any(down) else ())


def write_autoencoder(config: AutoencoderConfig) -> dict[str, Any]:
    """An ``AutoencoderConfig`` as diffusers' configuration."""
    down, up = list(DOWN), list(UP)
    return {
        "_class_name": "AutoencoderKL",
        **write(config, OPTIONS),
        "down_block_types": [down[attends] for attends in config.attends],
        "up_block_types": [up[attends] for attends in reversed(config.attends)],
    }


def autoencoder_rows(config: AutoencoderConfig) -> Iterator[Row]:
    """The modules of an ``AutoencoderKL``. CompVis counts the decoder's levels from the image, we from the latent."""
    yield "quant", "quant_conv", "quant_conv"
    yield "post_quant", "post_quant_conv", "post_quant_conv"
    deepest = len(config.channels) - 1
    for side, attends, way, sampler, extra in (
        ("encoder", config.attends, "down", "downsample", 0),
        ("decoder", config.attends[::-1], "up", "upsample", 1),
    ):
        yield f"{side}.conv_in", f"{side}.conv_in", f"{side}.conv_in"
        for i, attention in enumerate(attends):
            ours, theirs = f"{side}.levels.{i}", f"{side}.{way}_blocks.{i}"
            compvis = f"{side}.{way}.{i if side == 'encoder' else deepest - i}"
            at = 0  # our levels are flat lists: block, attention, block, attention, sampler
            for j in range(config.blocks + extra):
                yield f"{ours}.{at}", f"{theirs}.resnets.{j}", f"{compvis}.block.{j}"
                if attention:
                    yield f"{ours}.{at + 1}", f"{theirs}.attentions.{j}", f"{compvis}.attn.{j}"
                at += 1 + attention
            if i < deepest:
                yield f"{ours}.{at}", f"{theirs}.{sampler}rs.0", f"{compvis}.{sampler}"
        yield f"{side}.middle.block1", f"{side}.mid_block.resnets.0", f"{side}.mid.block_1"
        yield f"{side}.middle.attention", f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1"
        yield f"{side}.middle.block2", f"{side}.mid_block.resnets.1", f"{side}.mid.block_2"
        yield f"{side}.norm", f"{side}.conv_norm_out", f"{side}.norm_out"
        yield f"{side}.conv_out", f"{side}.conv_out", f"{side}.conv_out"


AUTOENCODER = Family(
    rows=autoencoder_rows,
    leaves={
        "diffusers": {
            "ResBlock": {"skip": "conv_shortcut"},
            "SelfAttention": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"},
        },
        "compvis": {"ResBlock": {"skip": "nin_shortcut"}, "SelfAttention": {"out": "proj_out"}},
    },
    readers={"AutoencoderKL": read_autoencoder},
    write=write_autoencoder,
    facts=FACTS,
    prefix="first_stage_model.",
)
