"""Which icons are held out: compositions whose words, but not whose pictures, the training data shows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from ..runtime import seeded

ALIKE = 0.006  # mean squared difference of the ink, from 0 to 1, below which two pictures count as one
REACH = 2  # pixels by which one of them may be shifted
BLOCK = 1024  # pictures compared with all others at once


def near_duplicates(images: Tensor) -> list[tuple[int, int]]:
    """Pairs of pictures (N, 1, H, W) in [-1, 1] that look alike, one of them shifted by up to two pixels, or mirrored."""
    ink = (1 - images) / 2
    flat = ink.flatten(1)
    found = set()
    for right, down, mirrored in product(range(-REACH, REACH + 1), range(-REACH, REACH + 1), (False, True)):
        moved = _shifted(ink.flip(-1) if mirrored else ink, down, right).flatten(1)
        for start in range(0, len(flat), BLOCK):
            rows = flat[start : start + BLOCK]
            square = rows.square().sum(1)[:, None] + moved.square().sum(1) - 2 * rows @ moved.T
            first, second = (square < ALIKE * flat.shape[1]).nonzero(as_tuple=True)
            found |= {(a, b) for a, b in zip((first + start).tolist(), second.tolist()) if a < b}
    return sorted(found)


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """A picture moved over white paper, where the ink is 0."""
    padded = torch.nn.functional.pad(x, (REACH,) * 4)
    return padded[..., REACH - down : REACH - down + x.shape[-2], REACH - right : REACH - right + x.shape[-1]]


def held_out(names: Sequence[str], alike: Iterable[tuple[int, int]], share: float = 0.1, seed: int = 0) -> list[str]:
    """A share of the names, for the test: compositions of two words or more, each of which stays in another name.

    Names whose pictures are ``alike`` go together. They are taken in a random order, while they may.
    """
    group = list(range(len(names)))
    for a, b in alike:
        group = [group[a] if g == group[b] else g for g in group]
    members: dict[int, list[str]] = {}
    for name, g in zip(names, group):
        members.setdefault(g, []).append(name)
    left = Counter(word for name in names for word in set(name.split()))
    groups = list(members.values())
    taken: list[str] = []
    for i in torch.randperm(len(groups), generator=seeded(seed)).tolist():
        words = Counter(word for name in groups[i] for word in set(name.split()))
        composed = all(len(name.split()) > 1 for name in groups[i])
        if composed and all(left[word] > n for word, n in words.items()) and len(taken) + len(groups[i]) <= share * len(names):
            left -= words
            taken += groups[i]
    return sorted(taken)
