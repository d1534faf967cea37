"""Floor 2: the slots of a condition."""

import dataclasses

import pytest
import torch

from tinyldm import Condition


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_labels_are_a_vector_of_integers(dtype):
    label = torch.tensor([0, 3, 1], dtype=dtype)
    assert Condition(label).label is label
    assert Condition().label is None


@pytest.mark.parametrize(
    "label",
    [
        torch.tensor([0.0, 1.0]),
        torch.tensor([True, False]),
        torch.tensor(3),
        torch.tensor([[1], [2]]),
        torch.tensor([1], dtype=torch.uint8),
    ],
)
def test_anything_else_is_refused(label):
    with pytest.raises(ValueError, match=r"label: expected integers of shape \(B,\)"):
        Condition(label)


def test_drop_hides_exactly_the_masked_labels():
    label = torch.tensor([4, 1, 0, 2])
    cond = Condition(label)
    assert cond.drop(torch.tensor([True, False, False, True]), null=9).label.tolist() == [9, 1, 0, 9]
    assert label.tolist() == [4, 1, 0, 2]
    assert cond.drop(torch.zeros(4, dtype=torch.bool), null=9).label.dtype == torch.int64


def test_there_must_be_labels_to_drop():
    with pytest.raises(ValueError, match="label: expected labels to drop"):
        Condition().drop(torch.tensor([True]), null=9)


def test_a_condition_moves_and_does_not_change():
    cond = Condition(torch.tensor([1, 2]))
    assert cond.to(torch.device("cpu")).label.tolist() == [1, 2]
    assert Condition().to(torch.device("cpu")).label is None
    assert cond.to(torch.device("meta")).label.device.type == "meta"
    with pytest.raises(dataclasses.FrozenInstanceError):
        cond.label = None
