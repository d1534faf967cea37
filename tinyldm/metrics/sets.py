"""How close a set of samples is to a set of data, on features that the reader names; how new each sample is."""

import math

import torch
from torch import Tensor

from ..errors import expect, whole_number

EXACT = "donot_use_mm_for_euclid_dist"  # the fast way loses small distances to cancellation
CHUNK = 1024  # rows compared with all others at once


def _features(least: int, **sets: Tensor) -> list[Tensor]:
    """Two named sets in float64 on the CPU, after a look at their shapes and entries."""
    for name, features in sets.items():
        fits = features.ndim == 2 and len(features) >= least
        expect(fits, name, f"shape {tuple(features.shape)}", f"(N, D) with N >= {least}")
        expect(bool(features.isfinite().all()), name, "NaN or infinity", "finite numbers")
    (one, x), (other, y) = sets.items()
    expect(x.shape[1] == y.shape[1], other, f"width {y.shape[1]}", f"the width of {one}, {x.shape[1]}")
    return [x.cpu().double(), y.cpu().double()]


def frechet_distance(x_features: Tensor, y_features: Tensor) -> float:
    """Squared Frechet distance between the Gaussians fitted to two sets of features, (N, D) and (M, D). Implements :eq:`frechet`.

    Computed in float64; the trace of the square root from the eigenvalues of a symmetric product. Raises ``ValueError`` for
    unlike widths, fewer than two rows or entries that are not finite. Source: Dowson and Landau (1982); Heusel et al., GANs
    Trained by a Two Time-Scale Update Rule (2017), equation 6.
    """
    x, y = _features(2, x_features=x_features, y_features=y_features)
    cov_x, cov_y = (torch.atleast_2d(torch.cov(f.T)) for f in (x, y))
    root = _sqrt_psd(cov_x)
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def _sqrt_psd(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def kid(
    x_features: Tensor,
    y_features: Tensor,
    subsets: int | None = None,
    subset_size: int = 1000,
    generator: torch.Generator | None = None,
) -> float:
    """Kernel distance between two sets of features, (N, D) and (M, D). Implements :eq:`kid`.

    The unbiased estimate of the squared maximum mean discrepancy under the kernel (a.b / D + 1)^3, so it may fall below 0.
    In one dimension it compares the first three moments: 3 (m1 - m1')^2 + 3 (m2 - m2')^2 + (m3 - m3')^2. subsets: None for
    all pairs, or the number of random subsets of ``subset_size`` rows of each set whose estimates are averaged, as is usual
    for large sets. Raises ``ValueError`` for unlike widths, fewer than two rows, entries that are not finite, no subsets, or
    subsets of fewer than two or of more rows than there are.
    Source: Binkowski et al., Demystifying MMD GANs (2018), section 4.
    """
    x, y = _features(2, x_features=x_features, y_features=y_features)
    if subsets is None:
        return float(_mmd2(x, y))
    subsets = whole_number("subsets", subsets, 1, what="None or a whole number")
    subset_size = whole_number("subset_size", subset_size, 2, min(len(x), len(y)))
    draws = [[torch.randperm(len(f), generator=generator)[:subset_size] for f in (x, y)] for _ in range(subsets)]
    return float(torch.stack([_mmd2(x[i], y[j]) for i, j in draws]).mean())


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared maximum mean discrepancy: a row is never compared with itself."""

    def total(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([((part @ b.T / b.shape[1] + 1) ** 3).sum() for part in a.split(CHUNK)]).sum()

    def others(a: Tensor) -> Tensor:
        own = (((a * a).sum(1) / a.shape[1] + 1) ** 3).sum()
        return (total(a, a) - own) / (len(a) * (len(a) - 1))

    return others(x) + others(y) - 2 * total(x, y) / (len(x) * len(y))


def precision_recall(real_features: Tensor, fake_features: Tensor, k: int = 3) -> tuple[float, float]:
    """(precision, recall) of samples, (M, D), against data, (N, D). Implements :eq:`precision-recall`.

    A set's territory is the union of balls around its points, each reaching its point's k-th nearest neighbour in the set.
    Precision is the share of samples in the data's territory (are they good?), recall the share of data in the samples'
    territory (is everything there?). Raises ``ValueError`` for unlike widths, k < 1, no more than k rows or entries that
    are not finite. Source: Kynkaanniemi et al., Improved Precision and Recall Metric (2019), equations 1 and 2.
    """
    k = whole_number("k", k, 1)
    real, fake = _features(k + 1, real_features=real_features, fake_features=fake_features)
    return _share_inside(fake, real, k), _share_inside(real, fake, k)


def _share_inside(points: Tensor, centres: Tensor, k: int) -> float:
    """The share of ``points`` that lie in at least one ball of ``centres``."""
    reach = torch.cat([_distance(part, centres).kthvalue(k + 1, dim=1).values for part in centres.split(CHUNK)])
    inside = [(_distance(part, centres) <= reach).any(dim=1) for part in points.split(CHUNK)]
    return float(torch.cat(inside).double().mean())


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode=EXACT)


def nearest_distance(x: Tensor, reference: Tensor, chunk: int = 256) -> Tensor:
    """Distance of every row of x to its nearest row in ``reference``, root mean square over entries, (N,).

    x: (N, ...), reference: (M, ...), flattened. A value near the error of reconstruction suggests a copy.
    Raises ``ValueError`` when the rows have other numbers of entries.
    """
    flat, others = x.flatten(1), reference.flatten(1)
    expect(flat.shape[1] == others.shape[1], "reference", f"{others.shape[1]} entries a row", f"{flat.shape[1]}, as in x")
    nearest = torch.cat([_distance(part, others).min(dim=1).values for part in flat.split(chunk)])
    return nearest / math.sqrt(flat.shape[1])
