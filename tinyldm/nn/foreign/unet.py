"""The U-Nets of others: which of our tensors is which in diffusers' files and in those of CompVis and Stability's sgm."""

from collections.abc import Iterator

from ..unet import UNetConfig, UNetSizes
from .family import Family, Row
from .unet_options import UNET_FACTS, read_conditional, read_unconditional, write_unet

LEAVES = {
    "diffusers": {
        "Perceptron": {"linear1": "linear_1", "linear2": "linear_2"},
        "TimeEmbedding": {"linear1": "linear_1", "linear2": "linear_2"},
        "ResBlock": {"emb": "time_emb_proj", "skip": "conv_shortcut"},
        "SelfAttention": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"},
    },
    "compvis": {
        "Perceptron": {"linear1": "0", "linear2": "2"},
        "TimeEmbedding": {"linear1": "0", "linear2": "2"},
        "ResBlock": {
            "norm1": "in_layers.0",
            "conv1": "in_layers.2",
            "emb": "emb_layers.1",
            "norm2": "out_layers.0",
            "conv2": "out_layers.3",
            "skip": "skip_connection",
        },
        "Downsample": {"conv": "op"},
    },
}
ATTENTIONS = {"self_attention": "attn1", "cross_attention": "attn2"}
TRANSFORMER_BLOCK = {  # the same in all layouts
    **{
        f"{ours}.{leaf}": f"{theirs}.{other}"
        for ours, theirs in ATTENTIONS.items()
        for leaf, other in {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}.items()
    },
    "feed_forward.proj": "ff.net.0.proj",
    "feed_forward.out": "ff.net.2",
}
for layout in LEAVES.values():
    layout["TransformerBlock"] = TRANSFORMER_BLOCK


def descent_rows(config: UNetSizes) -> Iterator[Row]:
    """What a U-Net and a ControlNet share. A level ends with its downsampler in diffusers; here the next begins with it."""
    yield "time", "time_embedding", "time_embed"
    yield "label", "class_embedding", "label_emb"
    yield "vector", "add_embedding", "label_emb.0"
    yield "conv_in", "conv_in", "input_blocks.0.0"
    at = 0  # CompVis counts as we do, from the layer before the first
    for i, depth in enumerate(config.attention):
        if i > 0:
            yield f"down.{at}", f"down_blocks.{i - 1}.downsamplers.0", f"input_blocks.{at + 1}.0"
            at += 1
        for j in range(config.blocks):
            yield from stage_rows(config, depth, f"down.{at}", f"down_blocks.{i}", j, f"input_blocks.{at + 1}")
            at += 1
    yield from stage_rows(config, config.middle, "middle.0", "mid_block", 0, "middle_block")
    yield "middle.1.block", "mid_block.resnets.1", "middle_block.2"


def stage_rows(config: UNetSizes, depth: int, ours: str, diffusers: str, j: int, compvis: str) -> Iterator[Row]:
    """The j-th residual block of a level, and behind it a plain attention or a transformer with ``depth`` blocks.

    CompVis' plain attention has q, k and v in one tensor: not ours.
    """
    yield f"{ours}.block", f"{diffusers}.resnets.{j}", f"{compvis}.0"
    ours, diffusers, compvis = f"{ours}.attention", f"{diffusers}.attentions.{j}", f"{compvis}.1"
    if depth and config.tokens:
        for part in ("norm", "proj_in", "proj_out"):
            yield f"{ours}.{part}", f"{diffusers}.{part}", f"{compvis}.{part}"
        for k in range(depth):
            inside = f"transformer_blocks.{k}"
            yield f"{ours}.blocks.{k}", f"{diffusers}.{inside}", f"{compvis}.{inside}"
    elif depth:
        yield ours, diffusers, ""


def unet_rows(config: UNetConfig) -> Iterator[Row]:
    """The modules of a ``UNet``. CompVis keeps an upsampler in the same block as what comes before it."""
    yield from descent_rows(config)
    at, block, deepest = 0, 0, len(config.channels) - 1
    for i, depth in enumerate(reversed(config.attention)):
        for j in range(config.blocks + 1):
            yield from stage_rows(config, depth, f"up.{at}", f"up_blocks.{i}", j, f"output_blocks.{block}")
            at, block = at + 1, block + 1
        if i < deepest:
            yield f"up.{at}", f"up_blocks.{i}.upsamplers.0", f"output_blocks.{block - 1}.{2 if depth else 1}"
            at += 1
    yield "norm", "conv_norm_out", "out.0"
    yield "conv_out", "conv_out", "out.2"


READERS = {"UNet2DConditionModel": read_conditional, "UNet2DModel": read_unconditional}
UNET = Family(unet_rows, LEAVES, READERS, write_unet, UNET_FACTS, "model.diffusion_model.")
