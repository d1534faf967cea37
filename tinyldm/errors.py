"""How the library says no: name the argument, what was given, what was expected."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def nearest(name: object, known: Iterable[object]) -> str | None:
    """The known name that looks most like a given one, whatever its case; None where nothing is known."""
    lower = {str(one).lower(): str(one) for one in known}
    near = get_close_matches(str(name).lower(), lower, n=1, cutoff=0.0)
    return lower[near[0]] if near else None


def choose(argument: str, name: object, table: Mapping[str, T]) -> T:
    """Look ``name`` up in ``table``; an unknown name is refused with the nearest known one.

    Raises ``ValueError`` naming ``argument``, what was given and what there is.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    near = nearest(name, table)
    hint = "" if near is None else f"; did you mean {near!r}?"
    raise ValueError(f"{argument}={name!r} is unknown{hint} (known: {', '.join(map(str, table))})")


def expect(condition: bool, argument: str, given: object, expected: str) -> None:
    """Raise ``ValueError`` naming the argument, what was given and what was expected, unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"{argument}: expected {expected}, got {given}")


def whole_number(argument: str, value: object, low: int, high: int | None = None, what: str = "a whole number") -> int:
    """``value`` as an int if it is a whole number from ``low`` on (up to ``high``), Python's or numpy's; a bool is none.

    Raises ``ValueError`` naming ``argument``, what was given and ``what`` was expected.
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    bounds = f">= {low}" if high is None else f"from {low} to {high}"
    if number is None or number < low or (high is not None and number > high):
        raise ValueError(f"{argument}: expected {what} {bounds}, got {value!r}")
    return number


def time_grid(argument: str, ts: Tensor | Sequence[float], rising: bool = False) -> Tensor:
    """A grid of times, a tensor or a list, as float64 on the CPU, (n,).

    Raises ``ValueError`` unless it is a vector of two or more strictly falling (``rising``: rising) numbers.
    """
    given = ts.detach().to("cpu", torch.float64) if isinstance(ts, Tensor) else torch.as_tensor(ts, dtype=torch.float64)
    expect(given.ndim == 1 and len(given) >= 2, argument, f"shape {tuple(given.shape)}", "a vector of at least two times")
    steps = given.diff() if rising else -given.diff()
    if not (steps > 0).all():
        i = int((~(steps > 0)).nonzero()[0])
        found = f"{given[i]:.9g} and then {given[i + 1]:.9g} (numbers {i} and {i + 1} of {len(given)})"
        expect(False, argument, found, f"strictly {'in' if rising else 'de'}creasing times")
    return given


def in_range(argument: str, value: Tensor, low: float, high: float) -> None:
    """Raise ``ValueError`` unless every entry of ``value`` lies in [low, high]; NaN does not.

    Values on an accelerator are not looked at: reading them back would stall it.
    """
    if value.device.type != "cpu" or value.numel() == 0:
        return
    least, most = (float(v) for v in torch.aminmax(value.detach()))
    if not (low <= least and most <= high):
        raise ValueError(f"{argument}: expected values in [{low:g}, {high:g}], got [{least:g}, {most:g}]")


def image_batch(argument: str, x: Tensor, channels: int, factor: int) -> None:
    """Raise ``ValueError`` unless x is (B, channels, H, W) with H and W divisible by ``factor``."""
    expect(x.ndim == 4, argument, f"shape {tuple(x.shape)}", "four dimensions (B, C, H, W)")
    expect(x.shape[1] == channels, argument, f"{x.shape[1]} channels", f"{channels} channels")
    height, width = x.shape[2:]
    expect(
        height % factor == 0 and width % factor == 0 and height > 0 and width > 0,
        argument,
        f"{height}x{width}",
        f"height and width divisible by {factor}",
    )
