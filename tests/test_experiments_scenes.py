"""Scenes that were asked for: what a caption says, where its objects are, and how a judge's answers become verdicts."""

import pytest
import torch
from torch.nn.functional import one_hot

from tinyldm.data import InMemory, load
from tinyldm.data.shapes import BACKGROUNDS, COLORS, RELATIONS, SHAPES, facts, sentences
from tinyldm.experiments import scenes
from tinyldm.nn import ClassifierConfig
from tinyldm.train import Budget


@pytest.fixture(scope="module")
def pairs():
    return load("shapes", "test", n=200).tensors


@pytest.fixture(scope="module")
def singles():
    return load("shapes", "test", n=100, objects=1).tensors


def test_a_caption_and_its_facts_say_the_same(pairs, singles):
    for part in (pairs, singles):
        assert sentences(facts(part["caption"])) == part["caption"]
        assert torch.equal(facts(part["caption"])[:, 0], part["label"])
    assert facts(["an orange star on grey"]).tolist() == [[4, 1, -1, -1, -1, 2]]
    for wrong in ("a red circle", "a red circle on pink", "two red circles on grey", "an red ring above on grey"):
        with pytest.raises(ValueError, match="captions: expected scenes such as"):
            facts([wrong])


def test_each_half_has_the_object_that_the_caption_puts_there(pairs):
    said = facts(pairs["caption"])
    for relation in range(len(RELATIONS)):
        mask = pairs["mask"][said[:, 2] == relation]
        first, second = scenes.halves(mask, relation)
        assert set(first.unique().tolist()) == {0, 1}
        assert set(second.unique().tolist()) == {0, 2}


def test_what_differs_from_the_border_is_the_mask(pairs, singles):
    for part, objects in ((pairs, 2), (singles, 1)):
        on = scenes.foreground(part["image"])
        assert scenes.overlap(on, part["mask"] > 0).min() > 0.6  # at the rim a pixel is partly covered
        assert (scenes.count(part["image"]) == objects).all()
        assert scenes.overlap(scenes.outlines(part["image"]), part["edges"] > 0.5).mean() > 0.7
    blank = torch.zeros(2, 3, 32, 32)
    assert scenes.count(blank).tolist() == [0, 0]


def test_overlap_is_intersection_over_union():
    a, b = torch.zeros(3, 1, 2, 2, dtype=torch.bool), torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    a[0, 0, 0], b[0, 0, :, 0] = True, True  # one of three
    a[1, 0, 0, 0] = True  # nothing of one
    assert scenes.overlap(a, b).tolist() == pytest.approx([1 / 3, 0, 1])  # and nothing with nothing


class Seer(torch.nn.Module):
    """A classifier that reads the true answer from the pixels' colours and areas: right for what is in the picture."""

    def __init__(self, said):
        super().__init__()
        self.said, self.calls = said, 0
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        shape, color, ground = self.said[self.calls]
        self.calls += 1
        sizes = (len(SHAPES), len(COLORS), len(BACKGROUNDS))
        return tuple(one_hot(torch.tensor([a] * len(x)), n).float() for a, n in zip((shape, color, ground), sizes))


def test_a_verdict_is_made_of_the_answers_for_each_side(pairs):
    caption = "a red circle left of a blue square on grey"
    x = pairs["image"][:1]
    whole, circle, square = (0, 0, 2), (0, 0, 2), (1, 4, 2)

    def verdict(*answers):
        found = scenes.SceneJudge(Seer(answers)).verdict(x, [caption])
        return {key for key, right in found.items() if right.item()} - {"count", "all"}

    everything = {"shape", "color", "place", "ground"}
    assert verdict(whole, circle, square) == everything
    assert verdict(whole, square, circle) == {"ground"}  # exchanged: nothing is where it should be
    assert verdict(whole, (1, 0, 2), square) == {"color", "place", "ground"}
    assert verdict(whole, circle, (1, 3, 2)) == {"shape", "place", "ground"}
    assert verdict((0, 0, 1), circle, square) == everything - {"ground"}


def test_the_number_of_objects_counts(pairs, singles):
    judge = scenes.SceneJudge(ClassifierConfig((6, 6, 4), channels=(8, 16)).seeded(0))
    assert judge.verdict(pairs["image"][:4], pairs["caption"][:4])["count"].all()
    assert not judge.verdict(singles["image"][:4], pairs["caption"][:4])["count"].any()
    with pytest.raises(ValueError, match="captions: expected 4, one a picture"):
        judge.verdict(pairs["image"][:4], pairs["caption"][:3])


def test_a_little_training_teaches_the_judge_something():
    """Chance is a sixth of the shapes and colours; colours are the easiest."""
    judge = scenes.SceneJudge(scenes.train_judge(Budget(40, 32, 3e-3, ema=0.9), progress=False))
    part = load("shapes", "test", n=200, objects=1).tensors
    assert judge.accuracy(part["image"], part["caption"])["color"] > 0.5


def test_the_shipped_judge_sees_what_is_there(pairs, singles):
    for part in (pairs, singles):
        right = scenes.scene_judge().accuracy(part["image"], part["caption"])
        assert right["all"] > 0.97
        turned = scenes.scene_judge().accuracy(part["image"], sentences(facts(part["caption"]).roll(1, 0)))
        assert turned["all"] < 0.1  # other captions


def test_judge_loss_is_that_of_uniform_answers_at_first():
    """A network that says nothing pays ln 6 + ln 6 + ln 4, for whole scenes and for halves."""

    def silent(x):
        return tuple(torch.zeros(len(x), n) for n in (6, 6, 4))

    data = [load("shapes", n=16, objects=k) for k in (1, 2)]
    told = [InMemory({"image": d.tensors["image"], "facts": facts(d.tensors["caption"])}) for d in data]
    loss = scenes.judge_loss(told[1])(silent, told[0][torch.arange(16)], torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(2 * (2 * torch.tensor(6.0).log() + torch.tensor(4.0).log()).item(), rel=1e-5)
