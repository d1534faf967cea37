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


# ---- a batch, and samples out of it


def drawn(batch, rng, length=4, **more):
    """Every slot filled with numbers that tell the samples apart."""
    slots = {
        "label": torch.randint(0, 9, (batch,), generator=rng),
        "vector": torch.randn(batch, 3, generator=rng),
        "tokens": torch.randn(batch, length, 5, generator=rng),
        "image": torch.randn(batch, 1, 4, 4, generator=rng),
        "residuals": (torch.randn(batch, 8, 4, 4, generator=rng), torch.randn(batch, 8, 2, 2, generator=rng)),
        "guidance": torch.rand(batch, generator=rng),
    }
    return Condition(**slots | more)


def parts(cond):
    """All tensors of a condition by name."""
    slots = {field.name: getattr(cond, field.name) for field in dataclasses.fields(cond)}
    residuals = {f"residuals.{i}": r for i, r in enumerate(slots.pop("residuals") or ())}
    return {name: t for name, t in (slots | residuals).items() if t is not None}


def assert_equal(one, two):
    one, two = parts(one), parts(two)
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].dtype == two[name].dtype
        assert torch.equal(one[name], two[name]), name


INDICES = [slice(1, 3), slice(None, None, 2), torch.tensor([3, 0, 0]), torch.tensor([True, False, False, True, True])]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_takes_the_same_samples_out_of_every_slot(index, rng):
    cond = drawn(5, rng, tokens_mask=torch.rand(5, 4, generator=rng) < 2)
    assert len(cond) == 5
    assert len(parts(cond)) == 8
    for name, t in parts(cond[index]).items():
        assert torch.equal(t, parts(cond)[name][index]), name
    assert len(cond[index]) == len(torch.arange(5)[index])


def test_an_integer_takes_a_batch_of_one_as_often_as_there_are_samples(rng):
    cond = drawn(3, rng)
    for i in (0, 2, -1):
        assert_equal(cond[i], cond[[0, 1, 2][i] :][:1])
    assert [len(one) for one in cond] == [1, 1, 1]
    one, two, three = cond
    assert_equal(one.joined(two).joined(three), cond)
    for outside in (3, -4, torch.tensor([0, 3]), torch.tensor([True])):
        with pytest.raises(IndexError):
            cond[outside]
    with pytest.raises(ValueError, match="index: expected a vector of numbers or booleans, got 2 dimensions"):
        cond[torch.zeros(2, 2, dtype=torch.long)]


def test_repeating_is_joining_with_itself(rng):
    cond = drawn(2, rng)
    assert_equal(cond.repeat(3), cond.joined(cond).joined(cond))
    assert_equal(cond.repeat(1), cond)
    assert not Condition().repeat(2)
    with pytest.raises(ValueError, match="n: expected a whole number >= 1, got 0"):
        cond.repeat(0)


def test_one_sample_stands_for_any_batch_without_a_copy(rng):
    cond = drawn(1, rng)
    assert_equal(cond.broadcast(4), cond.repeat(4))
    assert all(t.data_ptr() == parts(cond)[name].data_ptr() for name, t in parts(cond.broadcast(4)).items())
    for same, batch in ((cond, 1), (drawn(3, rng), 3), (Condition(), 5)):
        assert same.broadcast(batch) is same
    with pytest.raises(ValueError, match="cond: expected one of 4, or of 1 for all, got a batch of 3"):
        drawn(3, rng).broadcast(4)


def test_an_empty_condition_is_false_and_has_no_batch():
    assert not Condition()
    assert Condition(residuals=(torch.zeros(0, 1, 1, 1),))  # of a batch of none, but filled
    with pytest.raises(ValueError, match=r"cond: expected a filled slot.*got an empty condition"):
        len(Condition())
    with pytest.raises(ValueError, match="cond: expected slots of one batch, got 2 in label, 3 in vector"):
        len(Condition([1, 2], vector=torch.zeros(3, 1)))


# ---- what hides a condition


def seen(cond, i):
    """What sample i says: its slots, of the text the tokens that are not masked."""
    one = parts(cond[i])
    mask = one.pop("tokens_mask", None)
    return one if mask is None else one | {"tokens": one["tokens"][:, mask[0]]}


MASKS = {"short text": torch.tensor([[True, True, False, False]] * 4), "no mask": None}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("length", [2, 4, 7])
@pytest.mark.parametrize("masked", MASKS)
def test_a_null_takes_the_place_of_masked_samples_in_every_slot(masked, length, batch, rng):
    cond, null = drawn(4, rng, tokens_mask=MASKS[masked]), drawn(batch, rng, length)
    mask = torch.tensor([True, False, True, False])
    dropped = cond.drop(mask, null)
    for i in range(4):
        expected = seen(null, i % batch) if mask[i] else seen(cond, i)
        assert seen(dropped, i).keys() == expected.keys()
        assert all(torch.equal(t, expected[name]) for name, t in seen(dropped, i).items()), i
    assert (dropped.tokens_mask is None) == (masked == "no mask" and length == 4)


@pytest.mark.parametrize("name", ["label", "vector", "tokens", "image", "residuals", "guidance"])
def test_a_null_of_one_slot_leaves_the_others(name, rng):
    cond, null = drawn(3, rng), Condition(**{name: getattr(drawn(1, rng), name)})
    dropped = cond.drop(torch.tensor([True, False, True]), null)
    assert_equal(dropped, dataclasses.replace(cond, **{name: getattr(dropped, name)}))
    assert_equal(Condition(**{name: getattr(dropped, name)})[[0, 2]], null.repeat(2))
    assert cond.drop(torch.tensor([True, False, True]), Condition()) is cond


def test_what_hides_is_of_the_type_of_what_is_hidden():
    cond = Condition(vector=torch.ones(2, 3, dtype=torch.float16))
    dropped = cond.drop(torch.tensor([True, False]), Condition(vector=torch.zeros(1, 3)))
    assert dropped.vector.dtype == torch.float16
    assert dropped.vector.tolist() == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize(
    ("mask", "null", "said"),
    [
        ([True, False], {"tokens": torch.ones(1, 2, 3)}, "null: expected no slot that is empty here, got tokens"),
        ([True, False], {"vector": torch.ones(1, 2)}, r"null.vector: expected \(2, 3\), as here, got shape \(2, 2\)"),
        ([True, False], {"vector": torch.ones(3, 3)}, "cond: expected one of 2, or of 1 for all, got a batch of 3"),
        ([True], {"vector": torch.ones(1, 3)}, r"mask: expected booleans of shape \(2,\), got torch.bool of shape \(1,\)"),
        ([1, 0], {"vector": torch.ones(1, 3)}, "mask: expected booleans"),
        ([True, False], {"residuals": (torch.ones(1, 1, 2, 2),) * 2}, "null.residuals: expected 1, got 2 tensors"),
    ],
)
def test_what_cannot_hide_is_refused(mask, null, said):
    cond = Condition([0, 1], vector=torch.zeros(2, 3), residuals=(torch.zeros(2, 1, 2, 2),))
    with pytest.raises(ValueError, match=said):
        cond.drop(torch.tensor(mask), Condition(**null))


# ---- what networks and published models ask for


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
