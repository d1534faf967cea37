"""Floor 5: scenes show what their caption says, told from the pixels alone."""

import math
import re

import pytest
import torch
from matplotlib.path import Path as Outline

from tinyldm import data
from tinyldm.data.shapes import BACKGROUNDS, COLORS, SHAPES, _distance
from tinyldm.train import Budget, fit

CAPTION = re.compile(r"(an?) (\w+) (\w+)(?: (left of|right of|above|below) (an?) (\w+) (\w+))? on (\w+)")


@pytest.fixture(scope="module", params=[1, 2])
def scenes(request):
    return data.load("shapes", "test", size=64, n=300, objects=request.param)


def test_columns_are_what_the_documentation_says(scenes):
    columns = scenes.tensors
    assert columns["image"].shape == (300, 3, 64, 64)
    assert columns["image"].dtype == columns["edges"].dtype == torch.float32
    assert columns["mask"].shape == columns["edges"].shape == (300, 1, 64, 64)
    assert (columns["mask"].dtype, columns["label"].dtype) == (torch.int64, torch.int64)
    assert columns["image"].abs().max() <= 1
    assert (columns["edges"].min(), columns["edges"].max()) == (0, 1)
    assert len(columns["caption"]) == len(columns["label"]) == 300


def test_a_caption_says_the_colours_and_the_places_that_the_image_has(scenes):
    for scene in (scenes[i] for i in range(len(scenes))):
        a, color, shape, relation, b, color2, shape2, ground = CAPTION.fullmatch(scene["caption"]).groups()
        assert list(SHAPES)[scene["label"]] == shape
        told = [(a, color, shape)] + ([(b, color2, shape2)] if relation else [])
        assert scene["mask"].max() == len(told)
        inside = scene["edges"][0] == 0  # away from outlines, where colours mix
        rows, columns = [], []
        for k, (article, name, _) in enumerate(told):
            assert (article == "an") == (name[0] in "aeiou")
            mine = (scene["mask"][0] == k + 1) & inside
            expected = torch.tensor(COLORS[name])[:, None].expand(3, int(mine.sum()))
            torch.testing.assert_close(scene["image"][:, mine] / 2 + 0.5, expected)
            where = (scene["mask"][0] == k + 1).nonzero().double()
            rows.append((where[:, 0].min(), where[:, 0].max()))
            columns.append((where[:, 1].min(), where[:, 1].max()))
        empty = (scene["mask"][0] == 0) & inside
        torch.testing.assert_close(
            scene["image"][:, empty] / 2 + 0.5, torch.tensor(BACKGROUNDS[ground])[:, None].expand(3, int(empty.sum()))
        )
        if relation:  # the whole first object lies on its side of the second
            spans = rows if relation in ("above", "below") else columns
            first, second = spans if relation in ("above", "left of") else spans[::-1]
            assert first[1] < second[0]


def corners(shape):
    """The shape as a polygon, from its description: corners in order, x right, y up."""

    def turn(radii, start):
        step = 2 * math.pi / len(radii)
        return [(r * math.cos(start + k * step), r * math.sin(start + k * step)) for k, r in enumerate(radii)]

    if shape == "star":  # the inner corners lie where the strokes between every second corner of a pentagon cross
        return turn([1, (3 - math.sqrt(5)) / 2] * 5, math.pi / 2)
    if shape == "cross":
        a, b = 0.94, 0.33
        return [(a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b), (-b, -a), (b, -a), (b, -b)]
    if shape == "square":
        return turn([1] * 4, math.pi / 4)
    return turn([1] * 3, math.pi / 2) if shape == "triangle" else turn([0.9] * 400, 0)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "cross", "star", "ring"])
def test_the_inside_of_an_outline_is_the_inside_of_its_polygon(shape):
    """Matplotlib decides which pixel centres lie in the polygon, turned and moved; pixels next to the outline are left out."""
    size, (x, y, radius, angle) = 96, (0.2, -0.1, 0.6, 0.2)
    distance = _distance(torch.tensor([list(SHAPES).index(shape)]), torch.tensor([[x, y, radius, angle]]), size)[0]
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    centres = torch.stack(torch.meshgrid(axis, -axis, indexing="xy"), dim=2).reshape(-1, 2)

    def contains(points):
        turned = [
            (x + radius * (a * math.cos(angle) - b * math.sin(angle)), y + radius * (a * math.sin(angle) + b * math.cos(angle)))
            for a, b in points
        ]
        return torch.from_numpy(Outline(turned).contains_points(centres.numpy())).reshape(size, size)

    truth = contains(corners(shape))
    if shape == "ring":
        outer, inner = (contains([(r / 0.9 * a, r / 0.9 * b) for a, b in corners("circle")]) for r in (0.92, 0.48))
        truth = outer & ~inner
    clear = distance.abs() > 0.1
    assert torch.equal((distance < 0)[clear], truth[clear])
    assert clear.float().mean() > 0.98
    assert distance.min() < -4


def test_a_small_image_is_the_average_of_a_large_one():
    """Antialiasing: the same scenes eight times as large, averaged down, are nearly the small ones."""
    small, large = (data.load("shapes", size=size, n=40).tensors for size in (32, 256))
    pooled = torch.nn.functional.avg_pool2d(large["image"], 8)
    assert (pooled - small["image"]).abs().mean() < 0.003
    assert (pooled - small["image"]).abs().max() < 0.6  # at a corner, where the distance is not the share
    assert small["caption"] == large["caption"]


def test_edges_are_lines_along_the_borders_of_the_mask(scenes):
    mask, edges = scenes.tensors["mask"][:, 0], scenes.tensors["edges"][:, 0]
    border = torch.zeros_like(edges, dtype=torch.bool)
    border[:, :, 1:] |= mask[:, :, 1:] != mask[:, :, :-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    assert edges[border].min() >= 0.4
    near = torch.nn.functional.max_pool2d(border.float()[:, None], 7, 1, 3)[:, 0] > 0
    assert (edges[~near] == 0).all()


def test_scenes_are_a_function_of_the_seed_and_all_things_occur():
    def images(**options):
        return data.load("shapes", n=600, size=8, **options).tensors

    draws = [images(seed=s, split=w) for s in range(2) for w in ("train", "test")]
    for i, a in enumerate(draws):
        assert not any(torch.equal(a["image"], b["image"]) for b in draws[:i])
    again = images(seed=1, split="test")
    assert torch.equal(again["image"], draws[-1]["image"])
    assert again["caption"] == draws[-1]["caption"]
    words = set(" ".join(again["caption"]).split())
    assert words >= {*SHAPES, *COLORS, *BACKGROUNDS, "left", "right", "above", "below"}
    assert again["label"].bincount(minlength=len(SHAPES)).min() > 60


def test_a_data_set_with_sentences_is_indexed_like_tensors():
    scenes = data.load("shapes", n=5, size=8)
    every = scenes.tensors["caption"]
    assert scenes[3]["caption"] == scenes[-2]["caption"] == scenes[torch.tensor(3)]["caption"] == every[3]
    assert scenes[torch.tensor([4, 0, 4])]["caption"] == [every[4], every[0], every[4]]
    assert scenes[1:3]["caption"] == every[1:3]
    assert scenes[scenes.tensors["label"] >= 0]["caption"] == every
    (batch,) = torch.utils.data.DataLoader(scenes, batch_size=5)
    assert batch["caption"] == every


@pytest.mark.parametrize(
    ("options", "said"),
    [({"n": 0}, "n: expected a whole number >= 1"), ({"objects": 3}, "objects: expected a whole number from 1 to 2, got 3")],
)
def test_scenes_that_cannot_be_drawn_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        data.load("shapes", **options)


def test_sentences_go_through_training_untouched():
    net, seen = torch.nn.Linear(1, 1), []

    def loss(module, batch, generator):
        seen.extend(batch["caption"])
        return module(batch["label"][:, None].float()).pow(2).mean()

    scenes = data.load("shapes", n=6, size=8)
    fit(net, loss, scenes, Budget(steps=2, batch=5, lr=1e-3), generator=torch.Generator().manual_seed(0), progress=False)
    assert len(seen) == 10
    assert set(seen) <= set(scenes.tensors["caption"])
