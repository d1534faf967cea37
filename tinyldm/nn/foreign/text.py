"""The text encoders of others: CLIP's, as transformers keeps it and as Stable Diffusion 1's single files do."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..text import TextConfig
from .family import Family, Row
from .options import options, same

TOWER = "text_model"
DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
FACTS = dict.fromkeys(  # how it was initialised and trained, and what every configuration of transformers' says
    "architectures attention_dropout bos_token_id chunk_size_feed_forward dropout dtype gradient_checkpointing id2label "
    "initializer_factor initializer_range is_encoder_decoder label2id model_type output_attentions output_hidden_states "
    "pad_token_id problem_type return_dict torch_dtype transformers_version use_bfloat16".split()
)
LARGEST = 2  # an end token of 2 is an old mistake of CLIP's configurations, by which the text's largest number is meant


def read_text(config: Mapping[str, Any], projected: bool = False) -> TextConfig:
    """transformers' CLIPTextModel, or with ``projected`` CLIPTextModelWithProjection. Raises ``ValueError`` for other options."""
    values = options(config, DEFAULTS, FACTS)
    same(values, "layer_norm_eps", 1e-5, "PyTorch's")
    return TextConfig(
        vocabulary=values["vocab_size"],
        width=values["hidden_size"],
        heads=values["num_attention_heads"],
        layers=values["num_hidden_layers"],
        length=values["max_position_embeddings"],
        hidden=values["intermediate_size"],
        projection=values["projection_dim"] if projected else 0,
        activation=values["hidden_act"],
        end=None if values["eos_token_id"] == LARGEST else values["eos_token_id"],
    )


def write_text(config: TextConfig) -> dict[str, Any]:
    """A ``TextConfig`` in transformers' words."""
    return {
        "architectures": ["CLIPTextModelWithProjection" if config.projection else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden or 4 * config.width,
        "projection_dim": config.projection or config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.length,
        "hidden_act": config.activation,
        "eos_token_id": LARGEST if config.end is None else config.end,
    }


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


TEXT = Family(text_rows, {"diffusers": {}, "compvis": {}}, write_text, FACTS, "cond_stage_model.")
