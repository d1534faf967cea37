"""What a run is: its data, loss, chance, budget and everything it does not train, told in facts that fit in a file."""

import dis
import inspect
import os
import re
from collections.abc import Iterator, Mapping
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
    configs = {name or "whole": part.config for name, part in module.named_modules() if hasattr(part, "config")}
    facts = {
        "budget": asdict(budget),
        "data": data,
        "loss": loss,
        "generator": {"seed": generator.initial_seed(), "state": generator.get_state()},
        "module": {"config": configs, "layers": re.sub(r" at 0x[0-9a-f]+", "", repr(module))},
        "frozen": {name: p for name, p in module.named_parameters() if not p.requires_grad} | dict(module.named_buffers()),
    }
    trained = {"loss": {id(part): part for part in (*module.modules(), *module.parameters())}}  # a loss may hold it
    return {name: fact for part, value in facts.items() for name, fact in _told(part, value, trained.get(part, {}), DEEP)}


def differences(saved: Mapping[str, Fact], now: Mapping[str, Fact]) -> dict[str, str]:
    """What differs between two fingerprints, by name: "was ..., is ..."."""
    changes = {name: _change(saved.get(name), now.get(name)) for name in [*now, *saved]}
    return {name: change for name, change in changes.items() if change}


def _change(one: Fact | None, two: Fact | None) -> str | None:
    sums = [fact for fact in (one, two) if isinstance(fact, list)]
    if one == two or (len(sums) == 2 and all(abs(a - b) <= CLOSE * max(sums[0][0], sums[1][0]) for a, b in zip(*sums))):
        return None
    return "differ" if sums else f"was {one or 'absent'}, is {two or 'absent'}"


def _told(name: str, value: Any, seen: dict[int, Any], deep: int) -> Iterator[tuple[str, Fact]]:
    """What can be said of a value, and of what is inside it; of an object in ``seen``, by its id, nothing again."""
    if isinstance(value, PLAIN):
        yield name, _short(repr(value))
    elif id(value) not in seen and deep > 0:
        seen[id(value)] = value  # held, so that no other takes its id
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            value = torch.tensor(value)
        kind, inside = _opened(value)
        yield name, _short(kind)
        if isinstance(value, Tensor):
            yield f"{name}.values", _numbers(value)
        for key, part in inside.items():
            yield from _told(f"{name}.{key}", part, seen, deep - 1)


def _opened(value: Any) -> tuple[str, Mapping[Any, Any]]:
    """What a value calls itself, and its parts by name."""
    kind = getattr(type(value), "__qualname__", "")
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}", {}
    if isinstance(value, Mapping):
        return kind, value
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        plain = all(isinstance(part, PLAIN) for part in value)
        return (repr(value), {}) if plain else (f"{kind} of {len(value)}", dict(enumerate(value)))
    if isinstance(value, partial):
        return kind, {"of": value.func, "given": value.args, **value.keywords}
    if inspect.ismethod(value):
        return value.__qualname__, {"self": value.__self__}
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {_digest(_code(value.__code__).encode())}", _read(value)
    if isinstance(value, nn.Module):
        return kind, value.state_dict()
    if inspect.ismodule(value) or inspect.isroutine(value) or isinstance(value, type):
        return getattr(value, "__qualname__", value.__name__), {}
    return kind, getattr(value, "__dict__", {})


def _read(function: FunctionType) -> dict[str, Any]:
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
    return f"{code.co_code.hex()} {code.co_names} {[_code(c) if isinstance(c, CodeType) else repr(c) for c in constants]}"


def _numbers(tensor: Tensor) -> Fact:
    """Of whole numbers a digest; of others the norm and four sums with random weights, which rounding does not change."""
    real = torch.atleast_1d(torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach()
    rows = real.reshape(len(real), -1) if real.numel() else real.new_zeros(1, 1)
    if not rows.is_floating_point():
        return _digest(rows.cpu().contiguous().numpy().tobytes())
    chance, total = seeded(0), torch.zeros(5, dtype=torch.float64)
    across = torch.randn(rows.shape[1], 4, generator=chance, dtype=torch.float64)
    for part in rows.split(ROWS):
        exact = part.cpu().double().nan_to_num(0.5)
        down = torch.randn(len(part), 4, generator=chance, dtype=torch.float64)
        total += torch.cat([(exact**2).sum()[None], (down * (exact @ across)).sum(0)])
    return [total[0].sqrt().item(), *total[1:].tolist()]


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def _short(text: str) -> str:
    return text if len(text) <= LONG else _digest(text.encode())
