"""Finding the right one among others: how well two sets of vectors say which of them belong together."""

import torch
from torch import Tensor

from ..errors import expect, whole_number


def found_first(queries: Tensor, answers: Tensor, among: int, generator: torch.Generator, rounds: int = 20) -> float:
    """The share of queries whose own answer is the likest of ``among``, others being drawn in each round. Chance: 1/among.

    queries, answers: (N, D), unit vectors that belong together row by row; a tie does not count as found.
    Raises ``ValueError`` for other shapes, or fewer answers than ``among``.
    """
    same = queries.ndim == 2 and queries.shape == answers.shape
    expect(same, "answers", f"shape {tuple(answers.shape)}", f"(N, D) as the queries', {tuple(queries.shape)}")
    n, among = len(queries), whole_number("among", among, 2)
    expect(n >= among, "among", among, f"at most the number of answers, {n}")
    likeness, found, asked = queries @ answers.T, 0, 0
    for _ in range(rounds):
        for chosen in torch.randperm(n, generator=generator)[: n - n % among].split(among):
            block = likeness[chosen][:, chosen]
            others = block.masked_fill(torch.eye(among, dtype=torch.bool), -torch.inf).amax(1)
            found += int((block.diagonal() > others).sum())
            asked += among
    return found / asked
