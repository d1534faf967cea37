"""What a run is: its data, loss, chance, budget and everything it does not train, told in facts that fit in a file."""

import dis
import inspect
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .runtime import seeded

Fact = str | list[float]
PLAIN = (type(None), bool, int, float, complex, str, bytes, os.PathLike, torch.dtype, torch.device)
CLOSE = 1e-4  # of a tensor's norm: numbers that were computed again, with other threads, are the same; a changed row is not
DEEP = 6  # objects inside objects that are looked at
LONG = 80  # characters of a fact; of longer ones the digest is kept
ROWS = 1024  # of a tensor, at once


def fingerprint(
    module: nn.Module, loss: Any, data: Mapping[str, Any], budget: Any, generator: torch.Generator
) -> dict[str, Fact]:
    """The facts of a run that is about to begin, flat: dotted name -> text, or sums of numbers.

    data: columns. Of the module: its configuration, how it prints, and the weights and buffers that no gradient changes;
    the weights to be trained may start anywhere, as a checkpoint replaces them. Of the loss: name, code, and the values that
    it closes over, holds or reads by a global name: numbers, texts, tensors, networks, and objects made of them. Left out
    are plain functions that it calls by a global name (but for that name) and whatever else has no attributes to look at.
    """
    still = {name: p for name, p in module.named_parameters() if not p.requires_grad} | dict(module.named_buffers())
    configs = {name or "whole": part.config for name, part in module.named_modules() if hasattr(part, "config")}
    layers = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    facts = {
        "budget": asdict(budget),
        "data": data,
        "loss": loss,
        "generator": {"seed": generator.initial_seed(), "state": generator.get_state()},
        "module": {"config": configs, "layers": layers},
        "frozen": still,
    }
    known = {"loss": {id(part): part for part in (*module.modules(), *module.parameters())}}
    return {name: fact for part, value in facts.items() for name, fact in told(part, value, known.get(part, {}))}


def differences(saved: Mapping[str, Fact], now: Mapping[str, Fact]) -> dict[str, str]:
    """What differs between two fingerprints, by name: "was ..., is ..."."""
    names = [*now, *(name for name in saved if name not in now)]
    return {name: _change(saved.get(name), now.get(name)) for name in names if not _same(saved.get(name), now.get(name))}


def told(name: str, value: Any, seen: dict[int, Any], deep: int = DEEP) -> Iterator[tuple[str, Fact]]:
    """What can be said of a value, and of what is inside it; of an object in ``seen``, by its id, nothing again."""
    if isinstance(value, PLAIN):
        yield name, short(repr(value))
        return
    if id(value) in seen or deep == 0:
        return
    seen[id(value)] = value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        value = torch.tensor(value)
    if isinstance(value, Tensor):
        yield from _numbers(name, value)
        return
    kind, inside = _opened(value)
    yield name, short(kind)
    for key, part in inside.items():
        yield from told(f"{name}.{key}", part, seen, deep - 1)


def _opened(value: Any) -> tuple[str, Mapping[str, Any]]:
    """What a value calls itself, and its parts by name."""
    kind = getattr(type(value), "__qualname__", "")
    if isinstance(value, Mapping):
        return kind, {str(key): part for key, part in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        if all(isinstance(part, PLAIN) for part in value):
            return repr(value), {}
        return f"{kind} of {len(value)}", {str(k): part for k, part in enumerate(value)}
    if isinstance(value, partial):
        return kind, {"of": value.func, "given": value.args, **value.keywords}
    if inspect.ismethod(value):
        return value.__qualname__, {"self": value.__self__}
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {short(_code(value.__code__), 0)}", _reads(value)
    if isinstance(value, nn.Module):
        return kind, dict(value.state_dict())
    if inspect.ismodule(value) or inspect.isroutine(value) or isinstance(value, type):
        return getattr(value, "__qualname__", value.__name__), {}
    return kind, getattr(value, "__dict__", {})


def _reads(function: FunctionType) -> dict[str, Any]:
    """The values that a function's code reads from outside, by name; of a global function that holds none, its name alone."""
    code, outside = function.__code__, function.__globals__
    reads = {name: outside[name] for name in sorted(_global_names(code)) if name in outside}
    named = {name: v.__qualname__ if isinstance(v, FunctionType) and not v.__closure__ else v for name, v in reads.items()}
    free = {name: cell.cell_contents for name, cell in zip(code.co_freevars, function.__closure__ or ())}
    defaults = {"defaults": function.__defaults__, "options": function.__kwdefaults__}
    return {**named, **free, **{name: value for name, value in defaults.items() if value}}


def _global_names(code: CodeType) -> set[str]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    return own.union(*(_global_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def _code(code: CodeType) -> str:
    """A function's instructions, the names in them and the constants, as text: a docstring counts, a comment does not."""
    constants = [sorted(c, key=repr) if isinstance(c, frozenset) else c for c in code.co_consts]
    inside = [_code(c) if isinstance(c, CodeType) else repr(c) for c in constants]
    return f"{code.co_code.hex()} {code.co_names} {inside}"


def _numbers(name: str, tensor: Tensor) -> Iterator[tuple[str, Fact]]:
    """A tensor's type and shape; of whole numbers a digest; of others the norm and four sums with random weights."""
    yield name, f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    flat = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    rows = flat.detach().reshape(len(flat) if flat.ndim else 1, -1) if flat.numel() else flat.new_zeros(1, 1)
    parts = (rows[k : k + ROWS].cpu() for k in range(0, len(rows), ROWS))
    yield f"{name}.values", _sums(parts, *rows.shape) if flat.is_floating_point() else _digest(parts)


def _sums(parts: Iterable[Tensor], height: int, width: int) -> list[float]:
    chance = seeded(0)
    across = torch.randn(width, 4, generator=chance, dtype=torch.float64)
    total = torch.zeros(5, dtype=torch.float64)
    for part in parts:
        exact = part.double().nan_to_num(0.5)
        down = torch.randn(len(exact), 4, generator=chance, dtype=torch.float64)
        total += torch.cat([(exact**2).sum()[None], (down * (exact @ across)).sum(0)])
    return [math.sqrt(total[0]), *total[1:].tolist()]


def _digest(parts: Iterable[Tensor]) -> str:
    digest = sha256()
    for part in parts:
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def short(text: str, length: int = LONG) -> str:
    """The text, or if it is longer its digest."""
    return text if len(text) <= length else sha256(text.encode()).hexdigest()[:12]


def _same(one: Fact | None, two: Fact | None) -> bool:
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two) > 0:
        return all(abs(a - b) <= CLOSE * max(one[0], two[0]) for a, b in zip(one, two))
    return one == two


def _change(one: Fact | None, two: Fact | None) -> str:
    if isinstance(one, list) or isinstance(two, list):
        return "differ"
    return f"was {one or 'absent'}, is {two or 'absent'}"
