"""Rendered scenes: coloured shapes with a sentence that says what is where, drawn from signed distances."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..errors import expect, whole_number
from ..runtime import seeded
from .memory import InMemory

CHUNK = 512  # scenes drawn at once
COLORS = {
    "red": (0.84, 0.15, 0.16),
    "orange": (0.98, 0.55, 0.12),
    "yellow": (0.97, 0.86, 0.22),
    "green": (0.17, 0.63, 0.27),
    "blue": (0.13, 0.38, 0.78),
    "purple": (0.56, 0.27, 0.68),
}
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.55, 0.55, 0.55), "brown": (0.36, 0.24, 0.17)}
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, 1), "below": (1, -1)}  # axis, and where on it the first is

ONE = -1  # in ``facts``: there is no second object, and so no relation

Outline = Callable[[Tensor, Tensor], Tensor]


def _any_of(table: Iterable[str]) -> str:
    return f"({'|'.join(table)})"


def _polygon(corners: int, inner: float, turn: float = 0.0) -> Outline:
    """A star with corners at radius 1, the first one up, and others at radius ``inner`` midway; regular if inner fits."""
    half = math.pi / corners
    dx, dy = inner * math.cos(half) - 1, inner * math.sin(half)  # the edge starts at (1, 0)
    length = math.hypot(dx, dy)

    def outline(x: Tensor, y: Tensor) -> Tensor:
        angle = (torch.atan2(x, y) + half + turn).remainder(2 * half) - half
        radius = torch.hypot(x, y)
        u, v = radius * angle.cos() - 1, (radius * angle.sin()).abs()  # all corners are folded into one half of one
        along = ((u * dx + v * dy) / length**2).clamp(0, 1)
        return torch.hypot(u - along * dx, v - along * dy).copysign(u * dy - v * dx)

    return outline


def _cross(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.abs(), y.abs()
    return torch.minimum(torch.maximum(x - 0.94, y - 0.33), torch.maximum(x - 0.33, y - 0.94))


SHAPES: dict[str, Outline] = {  # signed distance to the outline, negative inside; x right, y up, within radius 1
    "circle": lambda x, y: torch.hypot(x, y) - 0.9,
    "square": _polygon(4, math.cos(math.pi / 4), math.pi / 4),
    "triangle": _polygon(3, 0.5),
    "cross": _cross,
    "star": _polygon(5, math.cos(2 * math.pi / 5) / math.cos(math.pi / 5)),  # drawn in one stroke
    "ring": lambda x, y: (torch.hypot(x, y) - 0.7).abs() - 0.22,
}

_OBJECT = f"an? {_any_of(COLORS)} {_any_of(SHAPES)}"
SENTENCE = re.compile(f"{_OBJECT}(?: {_any_of(RELATIONS)} {_OBJECT})? on {_any_of(BACKGROUNDS)}")


def _between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _places(relation: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Horizontal and vertical place, radius and angle of each object, (n, count, 4), in a square from -1 to 1; none touch."""
    n = len(relation)
    radius = _between(0.28, 0.42 if count == 2 else 0.7, (n, count, 1), generator)
    angle = _between(-0.25, 0.25, (n, count, 1), generator)
    centre = _between(-1, 1, (n, count, 2), generator) * (0.97 - radius)
    if count == 2:  # apart along one axis, anywhere along the other
        axis, sign = torch.tensor(list(RELATIONS.values()))[relation].T
        apart = _between(0.46, 0.54, (n, 2), generator) * torch.tensor([1.0, -1.0]) * sign[:, None]
        centre[torch.arange(n), :, axis] = apart
    return torch.cat([centre, radius, angle], dim=2)


def _distance(kind: Tensor, place: Tensor, size: int) -> Tensor:
    """Signed distance in pixels to the outlines of m objects, (m, size, size), negative inside."""
    x0, y0, radius, angle = place[:, :, None, None].unbind(1)
    centres = (torch.arange(size) + 0.5) * (2 / size) - 1  # of the pixels
    x, y = centres - x0, -centres[:, None] - y0
    u, v = (x * angle.cos() + y * angle.sin()) / radius, (y * angle.cos() - x * angle.sin()) / radius
    distance = torch.empty(len(kind), size, size)
    for k, outline in enumerate(SHAPES.values()):
        distance[kind == k] = outline(u[kind == k], v[kind == k])
    return distance * radius * (size / 2)


def _draw(look: Tensor, ground: Tensor, place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, size, size) in [-1, 1], masks and edges (n, 1, size, size)."""
    colors, grounds = torch.tensor(list(COLORS.values())), torch.tensor(list(BACKGROUNDS.values()))
    image = grounds[ground][:, :, None, None].expand(-1, -1, size, size)
    mask = torch.zeros(len(look), 1, size, size, dtype=torch.long)
    edges = torch.zeros(len(look), 1, size, size)
    for i in range(look.shape[1]):
        distance = _distance(look[:, i, 0], place[:, i], size)[:, None]
        cover = (0.5 - distance).clamp(0, 1)  # the share of a pixel inside: antialiasing
        image = torch.lerp(image, colors[look[:, i, 1]][:, :, None, None], cover)
        mask[distance < 0] = i + 1
        edges = torch.maximum(edges, (1.5 - distance.abs()).clamp(0, 1))
    return image * 2 - 1, mask, edges


def _caption(looks: list[list[int]], relation: int, ground: int) -> str:
    names = [f"{list(COLORS)[color]} {list(SHAPES)[shape]}" for shape, color in looks]
    objects = [f"an {name}" if name[0] in "aeiou" else f"a {name}" for name in names]
    return f" {list(RELATIONS)[relation]} ".join(objects) + f" on {list(BACKGROUNDS)[ground]}"


def facts(captions: Sequence[str]) -> Tensor:
    """What captions of scenes say, (N, 6): shape and colour of the first object, relation, shape and colour of the second,
    ground, each as its place in ``SHAPES``, ``COLORS``, ``RELATIONS`` and ``BACKGROUNDS``; -1 where there is no second object.

    Raises ``ValueError`` for a sentence of another form.

    >>> facts(["an orange star on grey", "a red ring above a blue cross on white"]).tolist()
    [[4, 1, -1, -1, -1, 2], [5, 0, 2, 3, 4, 0]]
    """
    rows = []
    for caption in captions:
        said = SENTENCE.fullmatch(caption)
        expect(said is not None, "captions", repr(caption), 'scenes such as "a red circle left of a blue square on grey"')
        color, shape, relation, other_color, other_shape, ground = said.groups()  # type: ignore[union-attr]
        tables = ((SHAPES, shape), (COLORS, color), (RELATIONS, relation), (SHAPES, other_shape), (COLORS, other_color))
        rows.append([list(t).index(word) if word else ONE for t, word in (*tables, (BACKGROUNDS, ground))])
    return torch.tensor(rows)


def sentences(facts: Tensor) -> list[str]:
    """The reverse of ``facts``: (N, 6) -> N captions."""
    captions = []
    for shape, color, relation, *other, ground in facts.tolist():
        looks = [[shape, color]] if relation == ONE else [[shape, color], other]
        captions.append(_caption(looks, relation, ground))
    return captions


def load_shapes(split: str, size: int | None = None, n: int = 2000, seed: int = 0, objects: int = 2) -> InMemory:
    """n scenes of one or two ``objects``, drawn at any size (32 unless said otherwise), always the same for a seed:

    "image" (n, 3, size, size) float32 in [-1, 1]; "caption", n sentences such as "a red circle left of a blue square on
    grey"; "mask" (n, 1, size, size), 0 for the ground, 1 and 2 for the first and second object; "edges" (n, 1, size, size)
    in [0, 1], the outlines; "label" (n,), the first object's place in ``SHAPES``. Objects do not touch. Train and test are
    different draws. Raises ``ValueError`` for n < 1 or another number of objects.
    """
    n = whole_number("n", n, 1)
    objects = whole_number("objects", objects, 1, 2)
    generator = seeded(2 * seed + (split == "test"))
    look = torch.stack([torch.randint(len(t), (n, objects), generator=generator) for t in (SHAPES, COLORS)], dim=2)
    ground, relation = (torch.randint(len(t), (n,), generator=generator) for t in (BACKGROUNDS, RELATIONS))
    place = _places(relation, objects, generator)
    parts = zip(*(t.split(CHUNK) for t in (look, ground, place)))
    image, mask, edges = (torch.cat(column) for column in zip(*(_draw(a, b, c, size or 32) for a, b, c in parts)))
    caption = [_caption(*row) for row in zip(look.tolist(), relation.tolist(), ground.tolist())]
    return InMemory({"image": image, "caption": caption, "mask": mask, "edges": edges, "label": look[:, 0, 0]})
