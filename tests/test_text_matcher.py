"""Floor 5: a CLIP with its tokenizer: texts and pictures compared, and the folder that keeps both."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tinyldm import Text, zoo
from tinyldm.nn import CLIPConfig, TextConfig, Tokenizer, weights
from tinyldm.text import Matcher

TOKENIZER = Tokenizer.learn(["a red circle", "a blue square", "a blue circle"], merges=30, length=16)
CONFIG = CLIPConfig(TOKENIZER.size, width=16, heads=2, layers=2, length=16, projection=12, channels=(8, 16))


@pytest.fixture
def matcher():
    return Matcher(CONFIG.seeded(0).eval(), TOKENIZER)


def test_vectors_are_those_of_clip(matcher, rng):
    texts, x = ["a red circle", "a blue square", ""], torch.rand(2, 3, 16, 16, generator=rng)
    torch.testing.assert_close(matcher.of_texts(texts), matcher.clip.of_texts(TOKENIZER(texts)))
    assert torch.equal(matcher.of_pictures(x), matcher.clip.of_pictures(x))
    assert not matcher.of_texts("a").requires_grad
    with pytest.raises(ValueError, match=r"got 'rde' \(did you mean 'red'\?\)"):
        matcher.of_texts("a rde circle")


def test_its_text_is_a_part_that_reads(matcher):
    assert isinstance(matcher.text, Text)
    assert type(matcher.text.encoder.config) is TextConfig
    assert matcher.text("a red circle").tokens.shape == (1, 16, 16)


def test_a_foreign_tokenizer_is_refused_at_the_door():
    with pytest.raises(ValueError, match=r"tokenizer: expected .*, the vocabulary of the encoder"):
        Matcher(CONFIG.build(), Tokenizer.learn(["abc"]))


def test_a_folder_in_half_precision_brings_back_both(matcher, rng, tmp_path):
    matcher.save(tmp_path, torch.float16)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    back = Matcher.load(tmp_path)
    assert back.tokenizer == TOKENIZER
    assert back.clip.config == CONFIG
    assert not back.clip.training
    for name, tensor in matcher.clip.state_dict().items():
        assert torch.equal(back.clip.state_dict()[name], tensor.half().float()), name
    torch.testing.assert_close(back.of_texts("a red circle"), matcher.of_texts("a red circle"), rtol=0, atol=5e-3)
    x = torch.rand(1, 3, 16, 16, generator=rng)
    assert not back.of_pictures(x).requires_grad
    assert back.of_pictures(x.requires_grad_()).requires_grad  # pictures can be led


def test_the_zoo_gives_a_clip_with_its_tokenizer(matcher, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "HERE", tmp_path)
    matcher.save(tmp_path / "clip", torch.float16)
    (tmp_path / "clip" / "card.json").write_text("{}")
    found = zoo.load("clip")
    assert found.of_texts(["a red circle"]).shape == (1, 12)
    assert found.of_pictures(torch.zeros(1, 1, 8, 8)).shape == (1, 12)
    assert found.tokenizer == found.text.tokenizer == TOKENIZER


def foreign(folder):
    """Another tokenizer of the same size."""
    (folder / "tokenizer.json").write_text(json.dumps(replace(TOKENIZER, words=("a",)).as_dict()))


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (foreign, ValueError, "tokenizer: expected the one that .*model.safetensors tells of, .*, got .* in .*tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), FileNotFoundError, "tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), ValueError, "tokenizer.json is not valid JSON"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), ValueError, "tokenizer: expected merges, length and words"),
        (lambda folder: weights.save_pretrained(CONFIG.build(), folder), ValueError, "tokenizer: expected .* tells of, None"),
        (lambda folder: weights.save_pretrained(CONFIG.text.build(), folder), ValueError, "folder: expected a CLIP, got"),
    ],
)
def test_a_folder_that_is_not_of_one_piece_is_refused(damage, error, said, matcher, tmp_path):
    matcher.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=said):
        Matcher.load(tmp_path)


def test_the_files_of_two_trainings_are_not_one(matcher, tmp_path):
    other = Tokenizer.learn(["a red circle", "a blue square", "a green circle"], merges=30, length=16)
    matcher.save(tmp_path / "a")
    Matcher(replace(CONFIG, vocabulary=other.size).build(), other).save(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "tokenizer.json", tmp_path / "a")
    with pytest.raises(ValueError, match="tokenizer"):
        Matcher.load(tmp_path / "a")


def test_it_says_what_it_is(matcher):
    assert repr(matcher).startswith("Matcher(CLIP of ")
    assert "4 words" not in repr(matcher)
    assert f"5 words, 16 of {TOKENIZER.size} tokens" in repr(matcher)
