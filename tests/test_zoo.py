"""The models that come with the package: small, described, and as good as their cards say."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import tinyldm as tl
from tinyldm import zoo
from tinyldm.data import load
from tinyldm.experiments import digits as experiment
from tinyldm.metrics import frechet_distance, nearest_distance, psnr

MEASURES = ("psnr", "accuracy", "frechet", "nearest")
N = 200


def folder(name):
    return Path(zoo.__file__).parent / name


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_says_how_the_model_came_about_and_how_good_it_is(name):
    card = zoo.card(name)
    for field in ("summary", "data", "command", "scale", "licence"):
        assert isinstance(card[field], str)
        assert card[field]
    assert isinstance(card["seed"], int)
    assert card["command"] == f"python -m tinyldm.experiments.make {name}"
    assert card["budgets"]
    assert all(math.isfinite(v) for v in card["measures"].values())
    assert card["measures"]["training_seconds"] > 0
    assert json.loads(json.dumps(card)) == card


def test_the_digits_card_compares_each_measure_and_says_how_far_chance_moves_it():
    card = zoo.card("digits")
    assert set(card["budgets"]) == {"autoencoder", "denoiser"}
    # a measure without the one to compare it with says nothing
    assert {*MEASURES, "accuracy_real", "frechet_real", "frechet_gaussian", "nearest_real"} <= card["measures"].keys()
    for key in MEASURES:
        values = card["spread"][key]["values"]
        assert len(values) >= 3  # fewer trainings say nothing about chance
        assert len(set(values)) == len(values)
        assert card["spread"][key]["mean"] == pytest.approx(sum(values) / len(values))
        assert values[0] == card["measures"][key]  # the first training is the one that is shipped


def test_a_card_tells_today_s_recipe():
    # a changed recipe makes the card's command a lie
    card, recipe = zoo.card("digits"), experiment.DIGITS["cpu"]
    assert card["scale"] == "cpu"
    for part, budget in (("autoencoder", recipe.autoencoder_budget), ("denoiser", recipe.denoiser_budget)):
        assert card["budgets"][part] == budget.__dict__
    config = json.loads((folder("digits") / "config.json").read_text())
    assert tl.nn.AutoencoderConfig.from_dict(config["autoencoder"]) == recipe.autoencoder
    assert tl.nn.UNetConfig.from_dict(config["denoiser"]) == recipe.denoiser
    assert config["parametrisation"] == recipe.parametrisation
    assert config["path"]["name"] == type(recipe.path).__name__


@pytest.mark.parametrize("name", zoo.names())
def test_a_model_is_small_and_stored_in_half_precision(name):
    names = {p.name for p in folder(name).iterdir()}
    (weights,) = names - {"card.json", "config.json", "tokenizer.json"}
    assert weights in ("model.safetensors", "diffusion_pytorch_model.safetensors")
    with safe_open(folder(name) / weights, "pt") as file:
        assert {file.get_tensor(k).dtype for k in file.keys()} == {torch.float16}  # noqa: SIM118 - not a dict
    model = zoo.load(name)
    for module in model.modules().values() if isinstance(model, tl.LatentDiffusion) else [getattr(model, "clip", model)]:
        assert not module.training
        assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_all_models_together_are_about_twenty_megabytes():
    assert sum(file.stat().st_size for name in zoo.names() for file in folder(name).iterdir()) < 21e6


def test_names_and_unknown_names():
    assert "digits" in zoo.names()
    for ask in (zoo.load, zoo.card):
        with pytest.raises(ValueError, match="name='digit' is unknown; did you mean 'digits'"):
            ask("digit")


# ---- the digits model against its card


@pytest.fixture(scope="module")
def judge():
    return experiment.digits_judge()


@pytest.fixture(scope="module")
def real():
    return load("digits").tensors, load("digits", "test").tensors


@pytest.fixture(scope="module")
def drawn():
    """200 samples, twenty of each digit, and their labels; not the noise that the card was measured with."""
    labels = torch.arange(N) % 10
    return zoo.load("digits").sample(N, tl.Condition(labels), generator=tl.seeded(12345)), labels


def test_the_judge_knows_real_digits(judge, real):
    _, test = real
    accuracy = judge.accuracy(test["image"], test["label"])
    assert 0.97 < accuracy < 1  # a judge that is never wrong has seen the answers
    assert accuracy == pytest.approx(zoo.card("digits")["measures"]["accuracy_real"], abs=0.003)


def test_samples_are_read_as_what_they_should_be(judge, drawn):
    images, labels = drawn
    assert images.shape == (N, 1, 32, 32)
    assert images.min() >= -1
    assert images.max() <= 1
    accuracy, card = judge.accuracy(images, labels), zoo.card("digits")["measures"]["accuracy"]
    assert accuracy >= 0.93
    assert abs(accuracy - card) < 4 * math.sqrt(card * (1 - card) / N)  # the card's value, up to chance
    # the label does it: against the labels of other digits hardly any is right
    assert judge.accuracy(images, (labels + 1) % 10) < 0.1


def test_held_out_digits_survive_the_autoencoder(real):
    _, test = real
    space = zoo.load("digits").space
    quality = psnr(test["image"], space.decode(space.encode(test["image"])))
    assert quality.mean() >= 30
    assert quality.mean() == pytest.approx(zoo.card("digits")["measures"]["psnr"], abs=0.1)


def test_latents_have_unit_variance(real):
    z = zoo.load("digits").space.encode(real[0]["image"])
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01


def test_diffusion_beats_a_gaussian(judge, real, drawn):
    train, test = real
    space, held_out = zoo.load("digits").space, judge.features(test["image"])
    z = space.encode(train["image"], tl.seeded(1))
    rival = space.decode(experiment.gaussian_baseline(z, N, tl.seeded(2)))
    # equally many on both sides: the distance between finite sets grows as they shrink
    ours, theirs = (frechet_distance(judge.features(images), held_out) for images in (drawn[0], rival))
    assert ours < 0.9 * theirs
    measures = zoo.card("digits")["measures"]
    assert measures["frechet_real"] < measures["frechet"] < measures["frechet_gaussian"]


def test_samples_are_new(real, drawn):
    train, test = real
    ours = nearest_distance(drawn[0], train["image"])
    honest = nearest_distance(test["image"], train["image"])
    assert ours.median() >= 0.8 * honest.median()
    assert ours.min() > 0.5 * honest.min()
    assert nearest_distance(train["image"][:5], train["image"]).max() < 1e-3  # what a copy would give


def test_samples_of_one_digit_differ_like_real_ones(real, drawn):
    images, labels = drawn
    for digit in range(10):
        ours = images[labels == digit].std(0).mean()
        others = real[0]["image"][real[0]["label"] == digit].std(0).mean()
        assert 0.6 * others < ours < 1.4 * others, digit


def test_the_same_seed_draws_the_same_digits():
    model, labels = zoo.load("digits"), torch.tensor([3, 8])
    first, second, other = (model.sample(2, tl.Condition(labels), steps=4, generator=tl.seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert (first - other).abs().max() > 0.1
