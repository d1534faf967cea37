"""Floor 2: the slots of a condition."""

import dataclasses

import pytest
import torch

from tinyldm import Condition, sdxl_vector


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


GOOD = {
    "label": torch.tensor([1, 2]),
    "vector": torch.zeros(2, 3),
    "tokens": torch.zeros(2, 4, 5),
    "tokens_mask": torch.ones(2, 4, dtype=torch.bool),
    "image": torch.zeros(2, 1, 4, 4),
    "residuals": (torch.zeros(2, 8, 4, 4), torch.zeros(2, 8, 2, 2)),
    "guidance": torch.ones(2),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vector": torch.zeros(2)}, r"vector: expected real numbers of shape \(B, V\)"),
        ({"tokens": torch.zeros(2, 5)}, r"tokens: expected real numbers of shape \(B, L, C\)"),
        ({"tokens": torch.zeros(2, 4, 5, dtype=torch.long)}, "tokens: expected real numbers"),
        ({"tokens_mask": torch.ones(2, 4)}, r"tokens_mask: expected booleans of shape \(B, L\)"),
        ({"tokens_mask": torch.ones(2, 3, dtype=torch.bool)}, r"tokens_mask: expected one entry a token, \(2, 4\)"),
        ({"tokens_mask": torch.tensor([[True] * 4, [False] * 4])}, "tokens_mask: expected at least one token a sample"),
        ({"tokens": None}, "tokens_mask: expected one entry a token, None"),
        ({"image": torch.zeros(2, 4, 4)}, r"image: expected real numbers of shape \(B, K, H, W\)"),
        ({"guidance": torch.tensor(1.0)}, r"guidance: expected real numbers of shape \(B,\)"),
    ],
)
def test_every_slot_has_its_shape(change, said):
    Condition(**GOOD)
    with pytest.raises(ValueError, match=said):
        Condition(**GOOD | change)


def test_all_slots_move_together():
    moved = Condition(**GOOD).to(torch.device("meta"))
    for name in GOOD:
        values = getattr(moved, name)
        assert all(t.device.type == "meta" for t in (values if name == "residuals" else [values])), name


def test_dropping_labels_keeps_the_rest():
    dropped = Condition(**GOOD).drop(torch.tensor([True, False]), null=7)
    assert dropped.label.tolist() == [7, 2]
    assert all(getattr(dropped, name) is value for name, value in GOOD.items() if name != "label")


@pytest.mark.parametrize(
    ("slots", "needed", "welcome", "said"),
    [
        ({}, {"tokens": 5}, [], r"cond\.tokens: expected a value"),
        ({"guidance": torch.ones(2)}, {}, ["label"], r"cond\.guidance: expected None"),
        ({"vector": torch.ones(3, 1)}, {"vector": 1}, [], r"cond\.vector: expected one for each of the 2 samples, got 3"),
        ({"residuals": (torch.ones(1, 1, 1, 1),)}, {}, ["residuals"], r"cond\.residuals: .* got 1 samples"),
        ({"tokens": torch.ones(2, 3, 4)}, {"tokens": 5}, [], r"cond\.tokens: expected 5 wide, got 4 wide"),
    ],
)
def test_a_network_says_what_suits_it(slots, needed, welcome, said):
    Condition(**GOOD).suits(2, {"tokens": 5, "vector": 3}, list(GOOD))
    with pytest.raises(ValueError, match=said):
        Condition(**slots).suits(2, needed, welcome)


@pytest.mark.equation("sdxl-vector")
@pytest.mark.parametrize("count", [6, 5])
def test_sdxls_vector_is_diffusers(count, rng):
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    pooled, ids = torch.randn(2, 7, generator=rng), torch.tensor([[1024.0, 768, 0, 16, 1024, 1024], [8, 8, 1, 2, 3, 6]])
    ids = ids[:, :count]
    waves = embeddings.Timesteps(8, flip_sin_to_cos=True, downscale_freq_shift=0)(ids.flatten()).reshape(2, -1)
    torch.testing.assert_close(sdxl_vector(pooled, ids, 8), torch.cat([pooled, waves], dim=1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.zeros(2), torch.zeros(2, 6)), "pooled: expected real numbers"),
        ((torch.zeros(2, 3), torch.zeros(6)), r"time_ids: expected shape \(B, 6\)"),
        ((torch.zeros(2, 3), torch.zeros(1, 6)), "time_ids: expected 2, like pooled, got 1 rows"),
        ((torch.zeros(2, 3), torch.zeros(2, 6), 7), "dim: expected an even number"),
    ],
)
def test_sdxls_vector_refuses_what_does_not_fit(arguments, said):
    with pytest.raises(ValueError, match=said):
        sdxl_vector(*arguments)
