"""The doors by which a condition comes in: each trains, draws and is measured in the same way, and the shipped ones obey."""

import pytest
import torch

import tinyldm as tl
from tinyldm.experiments import conditioning, scenes
from tinyldm.train import Budget

TINY = Budget(2, 4, 1e-3)


@pytest.fixture(scope="module")
def model():
    return tl.zoo.load("scenes")


@pytest.fixture(scope="module")
def learned(model):
    return conditioning.scenes_told(8, "train", model.text, model.space)[0]


@pytest.fixture(scope="module")
def asked(model):
    return conditioning.scenes_told(100, "test", model.text)


def test_a_door_gets_what_the_scene_is_and_nothing_else(learned, asked):
    told, captions = asked
    for name, door in conditioning.MECHANISMS.items():
        assert (len(door.slots(learned)) > 0) == (name != "nothing")
    label = conditioning.MECHANISMS["label"].slots(told)["label"]
    assert label.max() < 72
    assert ((label >= 36) == torch.tensor([" of " in c or "above" in c or "below" in c for c in captions])).all()
    image = conditioning.MECHANISMS["concatenation"].slots(told)["image"]
    assert torch.equal(torch.nn.functional.pixel_shuffle(image, 4), (told["mask"] > 0).float())  # nothing is lost


@pytest.mark.parametrize("name", conditioning.MECHANISMS)
def test_each_door_trains_draws_and_counts_its_work(name, model, learned, asked):
    told = {key: column[[0, 60]] for key, column in asked[0].items()}
    seen = []
    base = model.denoiser.net if conditioning.MECHANISMS[name].beside else None
    denoiser = conditioning.train_door(
        name, learned, model.text, budget=TINY, base=base, watch=lambda done, net: seen.append(done), progress=False
    )
    assert seen == [0, 1]
    images = conditioning.draw(model.space, denoiser, name, told, model.text, guidance=2.0)
    again = conditioning.draw(model.space, denoiser, name, told, model.text, guidance=2.0)
    assert images.shape == (2, 3, 32, 32)
    assert torch.equal(images, again)
    slots = conditioning.MECHANISMS[name].slots(told)
    assert (
        conditioning.operations(denoiser, slots) >= 2 * conditioning.weights(denoiser.net) > 0
    )  # each weight works at least once


def test_an_unknown_door_is_named(model, learned):
    with pytest.raises(ValueError, match="did you mean 'attention'"):
        conditioning.train_door("atention", learned, model.text, budget=TINY, progress=False)


def test_scenes_as_they_are_pass_every_measure(asked):
    told, captions = asked
    found = conditioning.measure(scenes.scene_judge(), told["scene"], told, captions)
    assert min(share for key, share in found.items() if key != "outline") > 0.95
    assert found["outline"] > 0.7


def test_the_null_says_nothing_and_keeps_the_outline(model, asked):
    slots = conditioning.MECHANISMS["controlnet"].slots({key: column[:3] for key, column in asked[0].items()})
    cond = tl.Condition(**slots)
    off = cond.drop(torch.ones(3, dtype=torch.bool), conditioning.nothing_of(slots, model.text))
    assert torch.equal(off.hint, cond.hint)
    empty = model.text("")
    assert torch.equal(off.tokens[:, : empty.tokens.shape[1]][off.tokens_mask[:, : empty.tokens.shape[1]]].reshape(3, -1)[0],
                       empty.tokens[empty.tokens_mask].reshape(-1))  # fmt: skip


def test_the_shipped_model_draws_what_it_reads(model, asked):
    told, captions = asked
    images = conditioning.draw(model.space, model.denoiser, "both", told, model.text, guidance=3.0)
    found = conditioning.measure(scenes.scene_judge(), images, told, captions)
    assert found["one_color"] > 0.9
    assert found["one_ground"] > 0.95
    assert found["two_count"] > 0.8
    card = tl.zoo.card("scenes")["measures"]  # of four times as many scenes
    for key in ("one_color", "one_ground", "one_count"):
        assert found[key] == pytest.approx(card[f"{key}_w3"], abs=0.12)
    others = captions[1:] + captions[:1]
    wrong = scenes.scene_judge().accuracy(images, others)
    assert wrong["all"] < 0.1


def test_an_outline_is_obeyed(model, asked):
    told, _captions = asked
    few = {key: column[50:90] for key, column in told.items()}
    agree = {}
    for name in ("both", "controlnet"):
        images = conditioning.draw(model.space, conditioning.shipped(name), name, few, model.text, guidance=3.0)
        agree[name] = scenes.overlap(scenes.outlines(images), few["edges"] > 0.5).mean()
    assert agree["controlnet"] > 1.5 * agree["both"]
