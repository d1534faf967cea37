"""What is wrong with a number: the mistakes that any formula can suffer, found by comparison with the truth."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, array, number or list of numbers as float64; None for anything else."""
    if isinstance(value, (Tensor, np.ndarray, int, float, np.number, list, tuple)) and not isinstance(value, bool):
        try:
            return torch.as_tensor(value).detach().to("cpu", torch.float64)
        except (TypeError, ValueError, RuntimeError):
            return None
    return None


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors of one shape agree to a relative tolerance of their scale."""
    return (
        a.shape == b.shape
        and bool(torch.isfinite(a).all())
        and float((a - b).abs().max()) <= tolerance * (1e-6 + float(b.abs().max()))
    )


def compare(given: Any, truth: Tensor, tolerance: float) -> str | None:
    """None when ``given`` is the truth, else one sentence on how it differs."""
    value, right = as_tensor(given), truth.detach().to("cpu", torch.float64)
    if value is None:
        return f"a tensor is asked for, your function returned a {type(given).__name__}."
    if close(value, right, tolerance):
        return None
    if value.shape != right.shape:
        return _shape(value, right, tolerance)
    if not torch.isfinite(value).all():
        return "the result contains NaN or infinity; is there a division by zero, or a root or logarithm of a negative number?"
    return _values(value, right, tolerance)


def _shape(value: Tensor, right: Tensor, tolerance: float) -> str:
    start = f"the result has shape {tuple(value.shape)}, expected {tuple(right.shape)}"
    if value.ndim == 0 and close(value, right.mean(), tolerance):
        return f"{start}: you averaged over the batch as well; every sample has a value of its own."
    if value.ndim == 0 and close(value, right.sum(), tolerance):
        return f"{start}: you summed over the batch as well; every sample has a value of its own."
    if value.numel() == right.numel() and close(value.reshape(right.shape), right, tolerance):
        return f"{start}: the numbers are right, their arrangement is not."
    return f"{start}; look at what you reduce over, and at what is broadcast against what."


def _values(value: Tensor, right: Tensor, tolerance: float) -> str:
    if close(-value, right, tolerance):
        return "the sign is flipped."
    if (value >= 0).all() and (right >= 0).all():
        if close(value.sqrt(), right, tolerance):
            return "a square root is missing: this is the square of what is asked for."
        if close(value**2, right, tolerance):
            return "there is a square root too many: this is the root of what is asked for."
    if (right != 0).all() and (value != 0).all():
        ratio = value / right
        if close(1 / value, right, tolerance):
            return "this is the reciprocal of what is asked for: the fraction stands on its head."
        if float(ratio.max() - ratio.min()) <= tolerance * abs(float(ratio.mean())):
            return _factor(float(ratio.mean()), right)
    shift = value - right
    if float(shift.max() - shift.min()) <= tolerance * (1e-6 + float(right.abs().max())):
        return f"every value is off by the same constant, {float(shift.mean()):.4g}; a term is missing or stands there twice."
    scale = float((value - right).abs().max() / (1e-12 + right.abs().max()))
    return f"the shape is right, the values are not (largest error {100 * scale:.0f} % of the largest value)."


def _factor(factor: float, right: Tensor) -> str:
    if math.isclose(factor, right.numel(), rel_tol=1e-3) or factor > 8:
        return f"every value is {factor:.4g} times too large; is this a sum where a mean is asked for?"
    if factor < 1 / 8 and factor > 0:
        return f"every value is {1 / factor:.4g} times too small; is this a mean where a sum is asked for?"
    if math.isclose(factor, math.log(10), rel_tol=1e-3) or math.isclose(factor, 1 / math.log(10), rel_tol=1e-3):
        return "the logarithm has the wrong base (natural against base 10)."
    return f"every value is off by the same factor, {factor:.4g}."
