"""What of the library is public, and the name under which a reader writes it: ``tl.ddim``, ``tl.losses.free_bits``.

Public is what a package, or a module at the root of the house, lists in ``__all__``; where there is no such list, every
function and class that it defines. A module that a package lists is read in the same way.
"""

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import tinyldm

CHAPTERS = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Entry:
    """A public thing: its shortest name, itself, the module that defines it, and its other names."""

    name: str
    value: Any
    home: str
    aliases: tuple[str, ...] = ()

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


def spoken(module: str) -> str:
    """A module as a reader calls it."""
    return re.sub(r"^tinyldm\b", "tl", module)


def documented(value: Any) -> bool:
    """Whether it is a kind of thing that has a docstring of its own."""
    return inspect.isclass(value) or inspect.isroutine(value)


@cache
def modules() -> dict[str, ModuleType]:
    """Every module of the library but the command lines inside packages, by its full name."""
    found = [m.name for m in pkgutil.walk_packages(tinyldm.__path__, "tinyldm.")]
    found = [name for name in found if not name.endswith("__main__") or name == "tinyldm.__main__"]
    return {name: importlib.import_module(name) for name in ["tinyldm", *found]}


@cache
def doors() -> dict[str, dict[str, Any]]:
    """What each package, module at the root or listed module offers, the shortest names first."""
    every = modules()
    listed = {v.__name__ for m in every.values() for n in getattr(m, "__all__", []) if inspect.ismodule(v := vars(m)[n])}
    found = {}
    for name, module in sorted(every.items(), key=lambda item: (item[0].count("."), item[0])):
        if hasattr(module, "__path__") or name.count(".") == 1 or name in listed:
            own = [n for n, v in vars(module).items() if documented(v) and v.__module__ == name and n[0] != "_"]
            given = {n: getattr(module, n) for n in getattr(module, "__all__", own)}
            found[name] = {n: v for n, v in given.items() if not inspect.ismodule(v)}
    return found


def home(name: str, value: Any) -> str:
    """The module in which something is defined; for a constant, the one whose source assigns it."""
    if documented(value):
        return value.__module__
    here = [m for m in modules().values() if vars(m).get(name) is value]
    return next(m.__name__ for m in here if re.search(rf"^{name}\b.*=", inspect.getsource(m), re.M))


@cache
def entries() -> tuple[Entry, ...]:
    """Everything public, once."""
    names: dict[tuple[str, int], list[str]] = {}
    for door, offered in doors().items():
        for name, value in offered.items():
            names.setdefault((name, id(value)), []).append(door)
    found = []
    for (name, _), offering in names.items():
        value = doors()[offering[0]][name]
        first, *others = dict.fromkeys(f"{spoken(door)}.{name}" for door in (*offering, home(name, value)))
        found.append(Entry(first, value, home(name, value), tuple(others)))
    return tuple(found)


def constant(name: str) -> Entry:
    """The entry of a constant that no list names, by the name a reader writes."""
    module, _, last = name.rpartition(".")
    value = getattr(modules()[re.sub(r"^tl\b", "tinyldm", module)], last)
    return Entry(name, value, home(last, value))


@cache
def known() -> dict[str, str]:
    """Every way to write a public name, methods included -> the name in the reference."""
    table = {}
    for entry in entries():
        for name in (entry.name, *entry.aliases):
            table[name] = entry.name
            if inspect.isclass(entry.value):
                table |= {f"{name}.{m}": f"{entry.name}.{m}" for m in vars(entry.value) if m[0] != "_"}
    return table


@cache
def unprefixed() -> dict[str, str]:
    """The names and methods whose last parts are theirs alone, by these parts."""
    ends: dict[str, set[str]] = {}
    for entry in entries():
        last = entry.last
        inner = [m for m in vars(entry.value) if m[0] != "_"] if inspect.isclass(entry.value) else []
        for end in (last, *(f"{last}.{m}" for m in inner)):
            ends.setdefault(end, set()).add(entry.name.removesuffix(last) + end)
    return {end: names.pop() for end, names in ends.items() if len(names) == 1}


@cache
def chapters() -> dict[str, list[str]]:
    """Name in the reference -> the chapters, as file stems, that write it in their text or code."""
    found: dict[str, list[str]] = {}
    for file in sorted(CHAPTERS.glob("[0-9][0-9]-*.md")):
        for written in sorted(set(re.findall(r"\btl\.[\w.]+\w", file.read_text(encoding="utf-8")))):
            parts = written.split(".")
            for name in {known().get(".".join(parts[:end])) for end in range(2, len(parts) + 1)} - {None}:
                if file.stem not in found.setdefault(str(name), []):
                    found[str(name)].append(file.stem)
    return found
