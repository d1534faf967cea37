"""What a model can be asked to show, and the ways of saying it."""

from functools import partial

import numpy as np
import pytest
import torch

from tinyldm import Condition, seeded


def draw(model, cond, n=3, **options):
    return model.sample_latents(n, cond, steps=2, generator=seeded(0), **options)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (0, [0, 0, 0]),
        (2, [2, 2, 2]),
        (np.int64(1), [1, 1, 1]),
        ([2, 0, 1], [2, 0, 1]),
        ((2, 0, 1), [2, 0, 1]),
        (torch.tensor([2, 0, 1]), [2, 0, 1]),
        (np.array([2, 0, 1]), [2, 0, 1]),
    ],
    ids=repr,
)
def test_labels_may_be_said_in_plain_numbers(short, long, model):
    wanted = draw(model, Condition(torch.tensor(long)))
    assert torch.equal(draw(model, short), wanted)
    assert not torch.equal(wanted, draw(model, None))
    plain = draw(model, 1, guidance=2.0, unconditional=Condition(torch.tensor(long)))
    assert torch.equal(draw(model, 1, guidance=2.0, unconditional=short), plain)


@pytest.mark.parametrize("argument", ["cond", "unconditional"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (True, "{}: expected a Condition, a label for all pictures, or a list of labels, one a picture, got True"),
        (False, "{}: expected a Condition.*got False"),
        (1.0, "{}: expected a Condition.*got 1.0"),
        ("seven", "{}: expected a Condition.*got 'seven'"),
        (3, r"{}.label: expected values in \[0, 2\]"),
        (-1, r"{}.label: expected values in \[0, 2\]"),
        ([0, 1], "{}: expected one of 3, or of 1 for all, got a batch of 2"),
        ([0, 1, 3], r"{}.label: expected values in \[0, 2\]"),
        ([0, 1, 0.5], r"label: expected integers of shape \(B,\), got torch.float32"),
        ([True, False, True], r"label: expected integers of shape \(B,\), got torch.bool"),
        (torch.tensor(1), r"label: expected integers of shape \(B,\), got torch.int64 of shape \(\)"),
        (torch.zeros(3, 1, dtype=torch.long), r"label: expected integers of shape \(B,\)"),
        (["a", "b", "c"], "{}: expected a Condition or labels: this model cannot read, got 'a'"),
        (["a", 1, 2], "label: expected a tensor or a list of numbers, got list"),
    ],
    ids=repr,
)
def test_what_is_no_label_is_refused_by_name(given, said, argument, model):
    ask = partial(draw, model, given) if argument == "cond" else partial(draw, model, 0, unconditional=given)
    with pytest.raises(ValueError, match=said.format(argument)):
        ask()


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ({"label": "seven"}, "label: expected a tensor or a list of numbers, got str"),
        ({"label": 3}, r"label: expected integers of shape \(B,\), got torch.int64 of shape \(\)"),
        ({"vector": [[1, 2]]}, r"vector: expected real numbers of shape \(B, V\), got torch.int64"),
        ({"tokens": object()}, "tokens: expected a tensor or a list of numbers, got object"),
        ({"image": "a.png"}, "image: expected a tensor or a list of numbers, got str"),
        ({"guidance": 3.5}, r"guidance: expected real numbers of shape \(B,\), got torch.float32 of shape \(\)"),
        ({"residuals": torch.ones(2, 1, 1, 1)}, "residuals: expected a tuple of tensors.*got Tensor"),
        ({"residuals": [1.0]}, "residuals: expected a tuple of tensors.*got list"),
    ],
)
def test_slots_are_looked_at_at_the_door(slots, said):
    with pytest.raises(ValueError, match=said):
        Condition(**slots)


def test_lists_and_arrays_become_tensors():
    cond = Condition([3, 1], vector=[[1.0], [2.0]], guidance=np.ones(2), residuals=[torch.ones(2, 1, 1, 1)])
    assert cond.label.tolist() == [3, 1]
    assert (cond.label.dtype, cond.guidance.dtype) == (torch.int64, torch.float64)
    assert cond.vector.shape == (2, 1)
    assert isinstance(cond.residuals, tuple)


@pytest.mark.parametrize("labels", [[0, 1], [-1, 0]])
def test_a_label_of_the_data_is_never_taken_for_no_label(labels):
    with pytest.raises(ValueError, match=r"label: expected values in \[0, 0\]"):
        Condition(labels).drop(torch.tensor([True, False]), null=1)  # one class: its only label is 0
