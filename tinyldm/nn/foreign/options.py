"""Reading other people's configuration files: absent options have their defaults, unknown ones are refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import choose, expect


def options(given: Mapping[str, Any], defaults: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a diffusers configuration, the absent ones from ``defaults``. Unknown ones are refused by name."""
    own = {name: value for name, value in given.items() if not name.startswith("_")}
    for name in own:
        choose("config option", name, {**defaults, **facts})
    return {**defaults, **{name: value for name, value in own.items() if name in defaults}}


def same(values: Mapping[str, Any], name: str, other: object, why: str) -> None:
    """Refuse an option that is not what our networks do; None, False and 0 are the same "no"."""
    fits = values[name] == other or not (values[name] or other)
    expect(fits, name, repr(values[name]), f"{other!r} ({why})")


def levels(values: Mapping[str, Any], name: str, count: int) -> tuple[Any, ...]:
    """An option that is one value, or one for each of ``count`` levels, as the latter."""
    value = values[name]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (value,) * count
    expect(len(value) == count, name, value, f"{count}, one a level")
    return tuple(value)
