"""Floor 8: pictograms and their names; the held-out tenth is what it claims to be."""

from collections import Counter

import pytest
import torch

from tinyldm import seeded
from tinyldm.data import load
from tinyldm.data.icons import draw_icons, held_out_names, icon_names
from tinyldm.experiments.icons import held_out, near_duplicates

NAMES = list(icon_names())


@pytest.fixture(scope="module")
def both():
    return load("icons"), load("icons", "test")


def test_all_icons_are_there_once(both):
    train, test = both
    assert len(NAMES) == len(set(NAMES)) == len(train) + len(test) == 7296
    assert not set(train.tensors["caption"]) & set(test.tensors["caption"])
    assert {"rocket launch outline", "printer off", "account lock"} <= set(NAMES)


def test_names_are_made_of_the_words_that_the_font_s_makers_count():
    words = Counter(word for name in NAMES for word in name.split())
    assert (words["outline"], words["off"], words["plus"], words["account"]) == (1883, 425, 248, 166)


def test_pictures_are_black_on_white(both):
    for data in both:
        x = data.tensors["image"]
        assert (x.shape[1:], x.dtype) == ((1, 32, 32), torch.float32)
        assert (x.min(), x.max()) == (-1, 1)
        assert (x[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] == 1).float().mean() > 0.99  # corners are paper
        assert (x.mean((1, 2, 3)) < 0.999).all()  # and nothing is blank


def test_a_circle_is_where_it_should_be():
    """The filled circle, against the disc that it is: a diameter of 20 of the font's 24 units, in the middle."""
    (x,) = draw_icons(["circle"], 48)
    centre = (torch.arange(48) + 0.5) / 2 - 12
    disc = (centre**2 + centre[:, None] ** 2).sqrt() < 10
    assert ((x[0] < 0) == disc).float().mean() > 0.99


@pytest.mark.parametrize("size", [16, 64])
def test_any_size_shows_the_same_picture(size):
    names = NAMES[::500]
    small, large = (draw_icons(names, s) for s in (16, size))
    reduced = torch.nn.functional.adaptive_avg_pool2d(large, 16)
    assert (reduced - small).abs().mean() < 0.08  # thin lines differ by how the font's outlines meet the pixels


def test_every_held_out_word_is_seen_in_training(both):
    train, test = both
    seen = {word for name in train.tensors["caption"] for word in name.split()}
    assert all(len(name.split()) > 1 and set(name.split()) <= seen for name in test.tensors["caption"])
    assert len(test) == 729  # a tenth


def test_nothing_held_out_looks_like_what_is_trained_on(both):
    """A sample, against every training icon, shifted and mirrored: by SciPy's distances, not ours."""
    from scipy.spatial.distance import cdist

    train, test = (((1 - data.tensors["image"]) / 2)[:, 0] for data in both)
    some = test[torch.randperm(len(test), generator=seeded(3))[:25]]
    flat = train.flatten(1).numpy()
    for down, right in ((0, 0), (1, 0), (0, -2), (-2, 2)):
        moved = torch.roll(some, (down, right), (1, 2))  # what rolls over the edge is paper, nearly always
        for picture in (moved, moved.flip(2)):
            assert cdist(picture.flatten(1).numpy(), flat, "sqeuclidean").min() / 1024 > 0.0055


def test_no_pair_of_alike_pictures_is_divided():
    """Among the first three hundred icons, all pairs."""
    alike = near_duplicates(draw_icons(NAMES[:300], 32))
    assert alike
    for a, b in alike:
        assert (NAMES[a] in held_out_names()) == (NAMES[b] in held_out_names())


def test_near_duplicates_are_found_shifted_and_mirrored():
    x = draw_icons(["rocket", "account", "chevron left", "chevron right", "rocket"], 32)
    x[4] = torch.nn.functional.pad(x[:1], (2, 0, 0, 1), value=1.0)[0, :, 1:, :32]  # two to the right, one up
    assert near_duplicates(x) == [(0, 4), (2, 3)]


def test_the_rule_holds_out_compositions_only_and_keeps_every_word():
    names = ["a", "b", "a b", "c d", "a c", "b d", "e f"]
    for seed in range(5):
        taken = held_out(names, [(2, 4)], share=0.6, seed=seed)
        assert {"a b", "a c"} <= set(taken) or not {"a b", "a c"} & set(taken)  # alike: together or not at all
        assert "e f" not in taken  # its words occur nowhere else
        left = {word for name in names if name not in taken for word in name.split()}
        assert left == set("abcdef")
        assert len(taken) <= 4


@pytest.mark.parametrize("size", [0, 7, 1.5])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        load("icons", size=size)
