"""Floor 3: the text encoder against transformers' CLIP, at random sizes and for the published one."""

import json

import pytest
import torch
from diffusers_maps import assert_same, assert_same_gradients, perturb
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tinyldm.nn import TextConfig, Tokenizer, weights
from tinyldm.nn.names import names
from tinyldm.nn.presets import PRESETS
from tinyldm.nn.text import quick_gelu

SIZES = {
    "small": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 37},
    "one head, GELU": {"hidden_size": 12, "num_attention_heads": 1, "num_hidden_layers": 1, "hidden_act": "gelu"},
    "deep": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 5, "max_position_embeddings": 9},
    "the old end": {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "eos_token_id": 2},
}
COMMON = {"vocab_size": 99, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 98, "projection_dim": 20}


def pair(size, rng, kind=CLIPTextModel):
    """transformers' network and ours with the same numbers."""
    theirs = perturb(kind(CLIPTextConfig(**{**COMMON, **SIZES[size]})).eval(), rng)
    ours = weights.build({**theirs.config.to_dict(), "architectures": [kind.__name__]})
    weights.load_state(ours, theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("size", SIZES)
def test_tokens_and_pooled_vector_are_those_of_transformers(size, rng):
    ours, theirs = pair(size, rng)
    for length in (ours.config.length, 5):
        ids = torch.randint(3, 98, (6, length), generator=rng)
        ids[torch.arange(5), torch.tensor([1, 4, 2, 3, 0])] = 98  # an end somewhere; the last text has none
        ids[0, 3] = 98  # and another behind it
        tokens, pooled = ours(ids)
        reference = theirs(ids)
        assert_same(tokens, reference.last_hidden_state, "tokens")
        assert_same(pooled, reference.pooler_output, "pooled")


def test_gradients_are_those_of_transformers(rng):
    ours, theirs = pair("small", rng)
    ids = torch.randint(0, 99, (4, 16), generator=rng)
    (tokens, pooled), reference = ours(ids), theirs(ids)
    (tokens.square().mean() + pooled.sum()).backward()
    (reference.last_hidden_state.square().mean() + reference.pooler_output.sum()).backward()
    modern = {name: theirs_name.removeprefix("text_model.") for name, theirs_name in names(ours, "diffusers").items()}
    assert_same_gradients(ours, theirs, modern)


def test_the_projected_vector_is_that_of_transformers(rng):
    ours, theirs = pair("small", rng, CLIPTextModelWithProjection)
    ids = torch.randint(0, 99, (4, 16), generator=rng)
    assert ours(ids)[1].shape == (4, 20)
    assert_same(ours(ids)[1], theirs(ids).text_embeds, "text_embeds")


@pytest.mark.parametrize("kind", [CLIPTextModel, CLIPTextModelWithProjection])
def test_folders_travel_in_both_directions(kind, rng, tmp_path):
    ours, theirs = pair("small", rng, kind)
    ids = torch.randint(0, 99, (2, 16), generator=rng)
    theirs.save_pretrained(tmp_path / "theirs")
    read = weights.from_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(read(ids), ours(ids))
    weights.save_pretrained(ours, tmp_path / "ours")
    back = kind.from_pretrained(tmp_path / "ours").eval()
    assert back.config.hidden_act == theirs.config.hidden_act
    assert_same(back(ids).last_hidden_state, theirs(ids).last_hidden_state, "through our folder")
    torch.testing.assert_close(weights.from_pretrained(tmp_path / "ours")(ids), ours(ids))


def test_the_published_encoder_has_its_size_and_clips_names():
    with torch.device("meta"):
        clip = PRESETS["clip-l"]().build()
        theirs = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    assert sum(p.numel() for p in clip.parameters()) == 123_060_480
    table = names(clip, "diffusers")
    shapes = {table[name].removeprefix("text_model."): t.shape for name, t in clip.state_dict().items()}
    assert shapes == {name: t.shape for name, t in theirs.state_dict().items() if not name.endswith("position_ids")}
    assert all(name.startswith("text_model.") for name in table.values())
    assert set(names(clip, "compvis").values()) == {f"transformer.{name}" for name in table.values()}


def test_files_with_position_numbers_and_whole_model_prefixes_load(rng):
    ours, _ = pair("small", rng)
    state = {f"cond_stage_model.{name}": t for name, t in zip(names(ours, "compvis").values(), ours.state_dict().values())}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(16)[None]
    state["model.diffusion_model.out.0.weight"] = torch.zeros(3)
    fresh = ours.config.seeded(1)
    weights.load_state(fresh, state, "compvis")
    for name, t in ours.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], t), name


def test_what_follows_a_token_does_not_change_it(rng):
    encoder = TextConfig(50, width=16, heads=2, layers=2, length=8).seeded(0).eval()
    ids = torch.randint(0, 49, (1, 8), generator=rng)
    other = ids.clone()
    other[0, 5:] = torch.randint(0, 49, (3,), generator=rng)
    torch.testing.assert_close(encoder(ids)[0][:, :5], encoder(other)[0][:, :5])
    assert not torch.allclose(encoder(ids)[0][:, 5:], encoder(other)[0][:, 5:])


def test_a_text_is_pooled_at_its_end_whatever_fills_it_up():
    tokenizer = Tokenizer.learn(["rocket off"])
    encoder = TextConfig(tokenizer.size, width=16, heads=2, layers=1).seeded(0).eval()
    ids = tokenizer(["rocket off"])
    said = int(tokenizer.mask(ids).sum())
    tokens, pooled = encoder(ids)
    torch.testing.assert_close(pooled[0], tokens[0, said - 1])
    torch.testing.assert_close(encoder(ids[:, :said])[1], pooled)


def test_quick_gelu_is_near_gelu():
    x = torch.linspace(-6, 6, 201)
    assert (quick_gelu(x) - torch.nn.functional.gelu(x)).abs().max() < 0.021  # the figure of Hendrycks and Gimpel's code


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(2, 8), "ids: expected integers"),
        (torch.zeros(8, dtype=torch.long), "ids: expected integers"),
        (torch.zeros(2, 9, dtype=torch.long), "ids: expected 1 to 8, got 9 tokens"),
        (torch.full((1, 8), 50), r"ids: expected values in \[0, 49\]"),
    ],
)
def test_bad_texts_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(50, width=16, heads=2, layers=1, length=8).build()(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "heads"),
        ({"activation": "relu"}, "activation"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"hidden": -1}, "hidden"),
    ],
)
def test_bad_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(**{"vocabulary": 50, "width": 16, "heads": 2, **change})


def test_another_layer_norm_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layer_norm_eps"):
        weights.build({"architectures": ["CLIPTextModel"], "layer_norm_eps": 1e-6})
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["T5EncoderModel"]}))
    with pytest.raises(ValueError, match="T5EncoderModel"):
        weights.from_pretrained(tmp_path)
