"""Other people's configuration files as tables that are read in both directions: an option of theirs, a field of ours.

Absent options have their defaults; unknown ones, and values that we do not have, are refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import choose, expect, whole_number


@dataclass(frozen=True)
class Option:
    """default: what diffusers takes an absent option to be. ours: our field that says the same, "" if none does.

    read, write: their value -> ours, ours -> theirs. positive: a whole number that cannot be 0, which says "absent" in ours.
    why: the reason for which we have no other value than the default.
    """

    default: Any
    ours: str = ""
    read: Callable[[Any], Any] = lambda theirs: tuple(theirs) if isinstance(theirs, list) else theirs
    write: Callable[[Any], Any] = lambda ours: list(ours) if isinstance(ours, tuple) else ours
    positive: bool = False
    why: str = ""


Table = Mapping[str, Option]


def fixed(why: str, **values: Any) -> dict[str, Option]:
    """Options that can be nothing else."""
    return {name: Option(value, why=why) for name, value in values.items()}


def options(given: Mapping[str, Any], table: Table, facts: Sequence[str] = ()) -> dict[str, Any]:
    """The value of every option of the table in a diffusers configuration. facts: options that are known, but not needed."""
    own = {name: value for name, value in given.items() if not name.startswith("_")}
    for name in own:
        choose("config option", name, {**table, **dict.fromkeys(facts)})
    values = {name: own.get(name, option.default) for name, option in table.items()}
    for name, option in table.items():
        if option.why:
            same(values, name, option.default, option.why)
        if option.positive:
            whole_number(name, values[name], 1)
    return values


def read(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Our fields, from the values of their options; as many channels out as in are not said twice."""
    fields = {option.ours: option.read(values[name]) for name, option in table.items() if option.ours}
    if "out_channels" in fields and fields["out_channels"] == fields["in_channels"]:
        fields["out_channels"] = None
    return fields


def write(config: Any, table: Table) -> dict[str, Any]:
    """Their options, from our fields: those that say the same, and those that can be nothing else."""
    said = {name: option.write(getattr(config, option.ours)) for name, option in table.items() if option.ours}
    return said | {name: option.default for name, option in table.items() if option.why}


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


def alike(values: Mapping[str, Any], name: str, count: int, what: str) -> Any:
    """An option that may be given for each of ``count`` levels, but not differently."""
    found = set(levels(values, name, count))
    expect(len(found) == 1, name, values[name], f"the same {what} at every level")
    return found.pop()
