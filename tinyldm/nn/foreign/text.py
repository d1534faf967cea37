"""The text encoders of others: CLIP's, as transformers keeps it and as Stable Diffusion 1's single files do."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ..text import WIDER, TextConfig
from .family import Family, Row
from .options import Option, fixed, options, read, write

TOWER = "text_model"
LARGEST = 2  # an end token of 2 is an old mistake of CLIP's configurations, by which the text's largest number is meant
SIZES = {
    "vocab_size": Option(49408, "vocabulary", positive=True),
    "hidden_size": Option(512, "width", positive=True),
    "intermediate_size": Option(2048, "hidden", positive=True),
    "num_hidden_layers": Option(12, "layers", positive=True),
    "num_attention_heads": Option(8, "heads", positive=True),
    "max_position_embeddings": Option(77, "length", positive=True),
    "projection_dim": Option(512, "projection"),
    "hidden_act": Option("quick_gelu", "activation"),
    "eos_token_id": Option(
        49407, "end", lambda theirs: None if theirs == LARGEST else theirs, lambda ours: LARGEST if ours is None else ours
    ),
    **fixed("PyTorch's", layer_norm_eps=1e-5),
}
FACTS = (  # how it was initialised and trained, and what every configuration of transformers' says
    *("architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "dropout", "attention_dropout"),
    *("initializer_factor", "initializer_range", "gradient_checkpointing", "use_bfloat16", "bos_token_id", "pad_token_id"),
    *("chunk_size_feed_forward", "id2label", "label2id", "is_encoder_decoder", "output_attentions", "output_hidden_states"),
    *("problem_type", "return_dict"),
)


def read_text(config: Mapping[str, Any], projected: bool) -> TextConfig:
    """transformers' CLIPTextModel, or with ``projected`` CLIPTextModelWithProjection. Raises ``ValueError`` for other options."""
    fields = read(options(config, SIZES, FACTS), SIZES)
    return TextConfig(**fields | ({} if projected else {"projection": 0}))


def write_text(config: TextConfig) -> dict[str, Any]:
    """A ``TextConfig`` in transformers' words."""
    kind = "CLIPTextModelWithProjection" if config.projection else "CLIPTextModel"
    said = write(config, SIZES)
    said |= {"intermediate_size": config.hidden or WIDER * config.width, "projection_dim": config.projection or config.width}
    return {"architectures": [kind], "model_type": "clip_text_model", **said}


def text_rows(config: TextConfig) -> Iterator[Row]:
    """The modules of a ``TextEncoder``."""
    modules = {"token": "embeddings.token_embedding", "position": "embeddings.position_embedding", "norm": "final_layer_norm"}
    inside = {"norm1": "layer_norm1", "norm2": "layer_norm2", "linear1": "mlp.fc1", "linear2": "mlp.fc2"}
    inside |= {f"attention.{name}": f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")}
    for i in range(config.layers):
        modules |= {f"blocks.{i}.{ours}": f"encoder.layers.{i}.{theirs}" for ours, theirs in inside.items()}
    for ours, theirs in modules.items():
        yield ours, f"{TOWER}.{theirs}", "" if config.projection else f"transformer.{TOWER}.{theirs}"
    if config.projection:
        yield "projection", "text_projection", ""


TEXT = Family(
    text_rows,
    {"diffusers": {}, "compvis": {}},
    {f"CLIPTextModel{end}": partial(read_text, projected=bool(end)) for end in ("", "WithProjection")},
    write_text,
    FACTS,
    "cond_stage_model.",
)
