"""What is wrong with numbers: the mistakes that any formula can suffer, found by comparison with the truth.

A cause is named only if it explains every case: one case may show a factor of 2 by chance.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]  # what was handed in, what is right


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, array, number or list of real numbers as float64; None for anything else."""
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, Tensor | np.ndarray | int | float | np.number | list | tuple):
        return None
    try:
        tensor = torch.as_tensor(value).detach().to("cpu")
        return None if tensor.is_complex() else tensor.to_dense().to(torch.float64)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return None


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors of one shape agree to a relative tolerance of the second's largest value."""
    if a.shape != b.shape or not torch.isfinite(a).all():
        return False
    return a.numel() == 0 or float((a - b).abs().max()) <= tolerance * (1e-6 + float(b.abs().max()))


def same(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """``close``, and infinity or NaN at the same entries: a known mistake may fail at some of them."""
    if a.shape != b.shape or not torch.equal(kept := torch.isfinite(a), torch.isfinite(b)) or not kept.any():
        return False
    return close(a[kept], b[kept], tolerance)


def compare(given: Any, truth: Tensor, tolerance: float) -> str | None:
    """None when ``given`` is the truth, else one sentence on how it differs."""
    return explain([given], [truth], tolerance)


def explain(given: Sequence[Any], truths: Sequence[Tensor], tolerance: float) -> str | None:
    """None when all that is given is right, else the first sentence that is true of every case."""
    if agree(given, truths, tolerance):
        return None
    return cause(given, truths, tolerance) or distance(given, truths, tolerance)


def agree(given: Sequence[Any], truths: Sequence[Tensor], tolerance: float) -> bool:
    """Whether all that is given is right."""
    pairs = _pairs(given, truths)
    return pairs is not None and all(close(value, right, tolerance) for value, right in pairs)


def _pairs(given: Sequence[Any], truths: Sequence[Tensor]) -> Pairs | None:
    """Both as float64; None when something else than numbers is given."""
    tensors = [as_tensor(value) for value in given]
    pairs = zip(tensors, truths, strict=True)
    both = [(value, right.detach().to("cpu", torch.float64)) for value, right in pairs if value is not None]
    return both if len(both) == len(tensors) else None


def cause(given: Sequence[Any], truths: Sequence[Tensor], tolerance: float) -> str | None:
    """A mistake that explains every case of a wrong result; None when none is known."""
    for value in given:
        if as_tensor(value) is None:
            many = isinstance(value, list | tuple) and any(isinstance(v, Tensor | np.ndarray) for v in value)
            hint = " Stack its parts." if many else ""
            scalar = all(truth.ndim == 0 for truth in truths)
            what = "a number is asked for" if scalar else "a tensor is asked for, one of real numbers"
            return f"{what}; your function returned a {type(value).__name__}.{hint}"
    pairs = _pairs(given, truths) or []
    for value, right in pairs:
        if value.shape == right.shape and not torch.isfinite(value).all():
            return "there is NaN or infinity in it: a division by zero, or the root or logarithm of a negative number?"
    if any(value.shape != right.shape for value, right in pairs):
        return _shape(pairs, tolerance)
    return _transformed(pairs, tolerance) or _factor(pairs, tolerance) or _constant(pairs, tolerance)


def _shape(pairs: Pairs, tolerance: float) -> str:
    value, right = next((v, r) for v, r in pairs if v.shape != r.shape)
    start = f"the result has shape {tuple(value.shape)}, expected {tuple(right.shape)}"

    def near(a: Tensor, b: Tensor) -> bool:
        return close(a, b, tolerance)

    known: dict[str, Callable[[Tensor, Tensor], bool]] = {
        "you averaged over the batch as well; every sample has a value of its own.": lambda v, r: near(v, r.mean()),
        "you summed over the batch as well; every sample has a value of its own.": lambda v, r: near(v, r.sum()),
        "the number is right, but it stands in a list of one; a number is asked for.": lambda v, r: (
            r.ndim == 0 and near(v.flatten(), r[None])
        ),
        "the numbers are right, their arrangement is not.": lambda v, r: near(v.flatten(), r.flatten()),
        "the numbers are right, but rows and columns have changed places.": lambda v, r: v.ndim == 2 and near(v.T, r),
        "what is asked for is one part of it; return that alone.": lambda v, r: v.ndim > 0 and any(near(part, r) for part in v),
        "this is one part of what is asked for; stack it with the rest.": lambda v, r: (
            r.ndim > 0 and any(near(v, part) for part in r)
        ),
        "it has one entry too many, the first.": lambda v, r: v.ndim > 0 and near(v[1:], r),
        "it has one entry too many, the last.": lambda v, r: v.ndim > 0 and near(v[:-1], r),
        "the first entry is missing.": lambda v, r: r.ndim > 0 and near(v, r[1:]),
        "the last entry is missing.": lambda v, r: r.ndim > 0 and near(v, r[:-1]),
    }
    for sentence, fits in known.items():
        if all(fits(v, r) for v, r in pairs):
            return f"{start}: {sentence}"
    return f"{start}; look at what you reduce over, and at what is broadcast against what."


def _transformed(pairs: Pairs, tolerance: float) -> str | None:
    """A sign, a root, a reciprocal: the right numbers under one more operation."""
    repairs: dict[str, Callable[[Tensor], Tensor]] = {
        "the sign is flipped.": torch.neg,
        "a square root is missing: this is the square of what is asked for.": torch.sqrt,
        "there is a square root too many: this is the root of what is asked for.": lambda v: v.where(v >= 0, torch.nan) ** 2,
        "this is the reciprocal of what is asked for: the fraction stands on its head.": torch.reciprocal,
    }
    return next((said for said, repair in repairs.items() if all(close(repair(v), r, tolerance) for v, r in pairs)), None)


def _factor(pairs: Pairs, tolerance: float) -> str | None:
    factors = []
    for value, right in pairs:
        if not ((right != 0).all() and (value != 0).all()):
            return None
        ratio = value / right
        factors.append(float(ratio.mean()))
        if float(ratio.max() - ratio.min()) > tolerance * abs(factors[-1]):
            return None
    first, same = factors[0], max(factors) - min(factors) <= 10 * tolerance * abs(factors[0])
    # whole numbers that change from case to case, or a large factor in a single case, count entries
    counted = factors if first > 1 else [1 / f for f in factors]
    whole = all(math.isclose(f, round(f), rel_tol=0, abs_tol=1e-3) for f in counted)
    if not same and not whole:
        return None
    counts = not same or (len(pairs) == 1 and (first > 8 or math.isclose(first, pairs[0][1].numel(), rel_tol=1e-3)))
    if counts and min(factors) > 1:
        return f"every value is {first:.4g} times too large; is this a sum where a mean is asked for?"
    if 0 < max(factors) < 1 and (not same or (len(pairs) == 1 and first < 1 / 8)):
        return f"every value is {1 / first:.4g} times too small; is this a mean where a sum is asked for?"
    if not same:
        return None
    bases = (math.log(10), 1 / math.log(10), math.log2(10), 1 / math.log2(10), math.log(2), 1 / math.log(2))
    if any(math.isclose(first, base, rel_tol=1e-3) for base in bases):
        return "the logarithm has the wrong base (natural, base 2 or base 10)."
    return f"every value is off by the same factor, {first:.4g}."


def _constant(pairs: Pairs, tolerance: float) -> str | None:
    shifts = [value - right for value, right in pairs]
    slack = max(tolerance * (1e-6 + float(right.abs().max())) for _, right in pairs)
    if max(float(s.max()) for s in shifts) - min(float(s.min()) for s in shifts) > slack:
        return None
    return f"every value is off by the same constant, {float(shifts[0].mean()):.4g}; a term is missing or stands there twice."


def distance(given: Sequence[Any], truths: Sequence[Tensor], tolerance: float) -> str:
    """How far off a wrong result of the right shape is, when no cause is known."""
    pairs = _pairs(given, truths) or []
    if any(close(value, right, tolerance) for value, right in pairs):
        return "right for some inputs and wrong for others: what is special about those that it was made for?"
    share = max(float((v - r).abs().max() / (1e-12 + r.abs().max())) for v, r in pairs)
    if share < 0.01:  # bfloat16 has three digits
        return "close, but not the same: is something computed with fewer digits, or a small step or term left out?"
    digits = 0 if share > 0.05 else 1
    return f"the shape is right, the values are not (largest error {100 * share:.{digits}f} % of the largest value)."
