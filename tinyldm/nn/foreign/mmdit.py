"""Which tensor of an ``MMDiT`` is which in diffusers' three transformers."""

from collections.abc import Iterator

from ..mmdit import MMDiTConfig
from .family import Family, Row
from .mmdit_options import READERS, class_of, write_mmdit

STREAMS = {  # inside a block of ours -> inside a block of theirs: of the image's stream, of the text's
    "modulation": ("norm1.linear", "norm1_context.linear"),
    "qkv.q": ("attn.to_q", "attn.add_q_proj"),
    "qkv.k": ("attn.to_k", "attn.add_k_proj"),
    "qkv.v": ("attn.to_v", "attn.add_v_proj"),
    "qkv.norm_q": ("attn.norm_q", "attn.norm_added_q"),
    "qkv.norm_k": ("attn.norm_k", "attn.norm_added_k"),
    "out": ("attn.to_out.0", "attn.to_add_out"),
    "ff.wide": ("ff.net.0.proj", "ff_context.net.0.proj"),
    "ff.narrow": ("ff.net.2", "ff_context.net.2"),
}
SINGLE = {
    **{ours: image for ours, (image, _) in STREAMS.items() if ours.startswith("qkv.")},
    "modulation": "norm.linear",
    "wide": "proj_mlp",
    "out": "proj_out",
}
CLOCK = {"time": "timestep_embedder", "guidance": "guidance_embedder", "vector": "text_embedder"}


def mmdit_rows(config: MMDiTConfig) -> Iterator[Row]:
    """The modules of an ``MMDiT``, down to those that hold tensors; a module that a configuration lacks does no harm."""
    for ours, theirs in _pairs(config):
        yield ours, theirs, ""


def mmdit_shapes(config: MMDiTConfig) -> dict[str, tuple[int, ...]]:
    """Our tensors that have another shape in diffusers, where SD3 and DiT cut the picture by a convolution."""
    square = (config.patch, config.patch)
    return {} if config.rope else {"patch.weight": (config.width, config.in_channels, *square)}


def _pairs(config: MMDiTConfig) -> Iterator[tuple[str, str]]:
    dit = class_of(config).startswith("DiT")
    yield "patch", "x_embedder" if config.rope else "pos_embed.proj"
    yield "positions", "pos_embed"
    yield "text", "context_embedder"
    yield "modulation", "proj_out_1" if dit else "norm_out.linear"
    yield "last", "proj_out_2" if dit else "proj_out"
    for i in range(1 if config.shared_clock else config.blocks):
        clock = f"transformer_blocks.{i}.norm1.emb" if dit else "time_text_embed"
        for ours, theirs in CLOCK.items():
            yield f"clocks.{i}.{ours}.linear1", f"{clock}.{theirs}.linear_1"
            yield f"clocks.{i}.{ours}.linear2", f"{clock}.{theirs}.linear_2"
        yield f"clocks.{i}.label", f"{clock}.class_embedder.embedding_table"
    for i in range(config.blocks):
        for ours, (image, text) in STREAMS.items():
            yield f"blocks.{i}.image.{ours}", f"transformer_blocks.{i}.{image.replace('attn.', 'attn1.') if dit else image}"
            yield f"blocks.{i}.text.{ours}", f"transformer_blocks.{i}.{text}"
    for i in range(config.singles):
        for ours, theirs in SINGLE.items():
            yield f"singles.{i}.{ours}", f"single_transformer_blocks.{i}.{theirs}"


MMDIT = Family(mmdit_rows, {"diffusers": {}}, READERS, write_mmdit, facts=(), shapes=mmdit_shapes)
