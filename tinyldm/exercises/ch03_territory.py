"""Chapter 03, exercise 03-2: which samples lie in the data's territory, and the ways to get it wrong."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime import seeded
from .before import grade_function


def _inside(real: Tensor, fake: Tensor, k: int) -> Tensor:
    return torch.cdist(fake, real) <= torch.cdist(real, real).kthvalue(k + 1, dim=1).values


def _share(inside: Tensor) -> Tensor:
    return inside.any(dim=1).double().mean()


def _with_reach(reach: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Precision with other radii, given the distances within the data and k."""
    return lambda real, fake, k: _share(torch.cdist(fake, real) <= reach(torch.cdist(real, real), k))


def grade_precision(answer: Any) -> None:
    """03-2: the share of samples in the data's territory."""
    g = seeded(302)
    cases = [
        {
            "real": torch.randn(n, d, generator=g, dtype=torch.float64),
            "fake": 0.3 + 1.5 * torch.randn(m, d, generator=g, dtype=torch.float64),
            "k": k,
        }
        for n, m, d, k in ((40, 61, 2, 3), (55, 37, 3, 2), (30, 83, 2, 5))
    ]
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [20.0, 0.0], [20.0, 5.0], [40.0, 40.0], [40.0, 41.0]])
    edge = torch.tensor([[-3.0, 0.0], [0.0, 8.0], [20.0, -5.0], [40.0, 39.0], [9.0, 9.0]])  # four on the edge of a ball
    cases.append({"real": corners.double(), "fake": edge.double(), "k": 1})
    grade_function(
        answer,
        lambda real, fake, k: _share(_inside(real, fake, k)),
        cases,
        wrong=[
            (_with_reach(lambda d, k: d.kthvalue(k, dim=1).values), "the radii are a little too small: does each row count itself as its first neighbour?"),
            (_with_reach(lambda d, k: d.kthvalue(k + 2, dim=1).values), "the radii are a little too large: one neighbour too many is counted."),
            (_with_reach(lambda d, k: d.kthvalue(k + 1, dim=1).values.mean()), "every ball has the same, average radius; each row has a radius of its own."),
            (_with_reach(lambda d, k: d.kthvalue(k + 1, dim=1).values.max()), "every ball has the largest radius; each row has a radius of its own."),
            (_with_reach(lambda d, k: d.sort(dim=1).values[:, 1 : k + 1].mean(1)), "the radius is the mean distance to the neighbours; the ball reaches to the last of them."),
            (_with_reach(lambda d, k: d.kthvalue(k + 1, dim=1).values / 2), "the balls are half as wide as they should be."),
            (_with_reach(lambda d, k: d.kthvalue(k + 1, dim=1).values ** 2), "distances are compared with squared radii, or the other way round."),
            (lambda real, fake, k: _share(_inside(fake, real, k)), "this is the recall: whose territory is it, and whose rows are counted?"),
            (lambda real, fake, k: _share(_inside(real, fake, k).T), "this counts the balls that hold a sample; count the samples that lie in a ball."),
            (lambda real, fake, k: _share(_inside(fake, real, k).T), "the balls stand around the samples; the territory is the data's."),
            (lambda real, fake, k: _inside(real, fake, k).double().mean(), "this averages over all pairs; a sample counts once, however many balls it lies in."),
            (lambda real, fake, k: _inside(real, fake, k).any(dim=1).double().sum(), "this is the number of samples inside; their share is asked for."),
            (lambda real, fake, k: _inside(real, fake, k).all(dim=1).double().mean(), "a sample need not lie in every ball; one is enough."),
            (lambda real, fake, k: 1 - _share(_inside(real, fake, k)), "this is the share outside."),
            (lambda real, fake, k: _share(torch.cdist(fake, real) <= torch.cdist(fake, real).kthvalue(k, dim=1).values[:, None]), "every sample comes out inside: a radius is a distance within the data, from a row to its k-th neighbour; and look at the direction of the comparison, and at what is averaged."),
            (lambda real, fake, k: _share(torch.cdist(fake, real) < torch.cdist(real, real).kthvalue(k + 1, dim=1).values), "a sample on the edge of a ball lies in it."),
            (lambda real, fake, k: _inside(real, fake, k).any(dim=1).double(), "one number for each sample is returned; their mean is asked for."),
        ],
        tolerance=1e-6,
    )  # fmt: skip
