"""Which of our tensors is which in the files of others: a table of modules, and of the few names inside them.

Two layouts are known: "diffusers", and "compvis", the files of LDM's own code (Stable Diffusion's and FLUX's too).
A network is described by rows (our module, diffusers' module, CompVis' module); its tensors follow.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from ..errors import choose
from .autoencoder import AutoencoderConfig

Row = tuple[str, str, str]
LAYOUTS = {"diffusers": 1, "compvis": 2}  # the columns of a row
OWN = "own"  # our names, as they are

LEAVES: dict[str, dict[str, dict[str, str]]] = {  # by layout and the class of our module: our name inside it -> theirs
    "diffusers": {
        "ResBlock": {"emb": "time_emb_proj", "skip": "conv_shortcut"},
        "SelfAttention": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"},
    },
    "compvis": {
        "ResBlock": {"emb": "temb_proj", "skip": "nin_shortcut"},
        "SelfAttention": {"out": "proj_out"},
    },
}
OLD = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}  # diffusers' names before its version 0.17
PREFIXES = {"AutoencoderKL": "first_stage_model."}  # where a file of a whole CompVis model keeps a network
FOREIGN = ("loss.", "model_ema.", "discriminator.")  # what a file of a CompVis autoencoder holds besides


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


ROWS: dict[str, Callable[[Any], Iterable[Row]]] = {"AutoencoderKL": autoencoder_rows}  # by the class of our network


def names(module: nn.Module, layout: str) -> dict[str, str]:
    """Our tensor names -> theirs, for every tensor of ``module``, one to one.

    layout: "diffusers", "compvis", or "own". Raises ``ValueError`` for another layout or a network without a table.
    """
    if layout == OWN:
        return {name: name for name in module.state_dict()}
    column = choose("layout", layout, {**LAYOUTS, OWN: 0})
    rows = choose(f"layout {layout!r} of the class", type(module).__name__, ROWS)(module.config)
    return tensor_names(module, {row[0]: row[column] for row in rows}, LEAVES[layout])


def tensor_names(module: nn.Module, modules: dict[str, str], leaves: dict[str, dict[str, str]]) -> dict[str, str]:
    """Our tensor names -> theirs, given our module names -> theirs. A tensor without a counterpart is a ``KeyError``."""
    table = {}
    for prefix, part in module.named_modules():
        if prefix in modules:
            inside = leaves.get(type(part).__name__, {})
            for name in part.state_dict():
                head, dot, last = name.rpartition(".")
                table[f"{prefix}.{name}"] = f"{modules[prefix]}.{inside.get(head, head)}{dot}{last}"
    return {name: table[name] for name in module.state_dict()}


def canonical(given: Iterable[str], module: nn.Module, layout: str) -> dict[str, str]:
    """Today's name of every tensor of a file that belongs to ``module`` -> its name in the file.

    A CompVis file of a whole model keeps a network under a prefix; one of an autoencoder also holds its loss networks.
    Old diffusers files have other names inside attention.
    """
    given = list(given)
    if layout == "diffusers":
        return {".".join(OLD.get(part, part) for part in name.split(".")): name for name in given}
    if layout == "compvis":
        prefix = PREFIXES[type(module).__name__]
        inside = [name for name in given if name.startswith(prefix)]
        found = {name.removeprefix(prefix): name for name in inside or given}
        return {name: file for name, file in found.items() if not name.startswith(FOREIGN)}
    return {name: name for name in given}
