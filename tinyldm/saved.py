"""A model's parts in words: what ``config.json`` says of each, and the part made again from it.

The library's own parts are made from their numbers. Code does not travel: of a part of the user's own class the file
has the name and the numbers, and whoever loads it hands over an equal one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import choose, expect
from .nn import AutoencoderConfig, AutoencoderKL, Tokenizer
from .nn.config import Config
from .nn.weights import CLASSES, bare, build
from .path import PATHS, Path
from .prediction import PARAMETRISATIONS, Row
from .text import Text

PLAIN = (bool, int, float, str, type(None))  # what a number of an own path may be, besides tensors and lists of these


def describe_path(path: Path) -> dict[str, Any]:
    """The class and the numbers of a path; everything that an own one holds. Raises ``ValueError`` for what is no number."""
    kind = type(path).__name__
    if PATHS.get(kind) is type(path):
        known: Any = path
        return {"name": kind, **{f.name: _plain(f.name, getattr(path, f.name)) for f in fields(known) if f.init}}
    return {"own": kind, **{name: _plain(f"path.{name}", value) for name, value in vars(path).items()}}


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(name, entry) for entry in value]
    expect(isinstance(value, PLAIN), name, repr(value), "numbers, texts or tensors: nothing else can be saved")
    return value


def describe_network(module: nn.Module) -> dict[str, Any]:
    """The class and the configuration of a network, out of its wrappings."""
    module = bare(module)
    kind, config = type(module).__name__, getattr(module, "config", None)
    plain = config.as_dict() if isinstance(config, Config) else {}
    if type(module) is AutoencoderKL:
        return plain
    ours = kind in CLASSES and type(module).__module__ == CLASSES[kind].__module__
    return {"_class_name" if ours else "own": kind, **plain}


def describe_parametrisation(parametrisation: str | Row) -> str:
    """Its name. Raises ``ValueError`` for a function, which no file can hold."""
    named = isinstance(parametrisation, str)
    expect(named, "parametrisation", repr(parametrisation), f"one of {', '.join(PARAMETRISATIONS)}: a function cannot be saved")
    return str(parametrisation)


def describe_text(text: Text) -> dict[str, Any]:
    """Its encoder and its tokenizer. Raises ``ValueError`` for an own class of tokenizer."""
    kind = type(text.tokenizer)
    expect(kind is Tokenizer, "text.tokenizer", kind.__name__, "the library's own Tokenizer: another one cannot be saved")
    return {"encoder": describe_network(text.encoder), "tokenizer": text.tokenizer.as_dict()}


def remake_path(said: Mapping[str, Any], given: Path | None) -> Path:
    """The path that ``describe_path`` described: made, or if it is an own one the ``given`` one, checked against it.

    Raises ``ValueError`` for an own path when none or one with other numbers is given, for a path given in place of one of the
    library's, and for names or numbers that the library does not have.
    """
    if "own" in said:
        return _checked("path", said, given, describe_path, Path)
    numbers = dict(said)
    kind = choose("path.name", numbers.pop("name", None), PATHS)
    expect(given is None, "path", repr(given), f"None: this model was saved with the library's own {kind.__name__}")
    known = {name: f for name, f in kind.__dataclass_fields__.items() if f.init}
    for field in numbers:
        choose("path field", field, known)
    return kind(**numbers)


def remake_network(argument: str, said: Mapping[str, Any], given: nn.Module | None) -> nn.Module:
    """The network that ``describe_network`` described: made, or if it is an own one the ``given`` one; to be filled.

    argument: its name in messages. Raises ``ValueError`` for an own network when none or another one is given, for one given in
    place of one of the library's, and for a class or an option that the library does not have.
    """
    if "own" in said:
        return bare(_checked(argument, said, given, describe_network, nn.Module))
    kind = said.get("_class_name", "AutoencoderKL" if argument == "autoencoder" else "UNet")  # what is said of others
    expect(given is None, argument, type(given).__name__, f"None: this model was saved with the library's own {kind}")
    return AutoencoderConfig.from_dict(said).build() if kind == "AutoencoderKL" else build({**said, "_class_name": kind})


def remake_text(said: Mapping[str, Any] | None, given: nn.Module | None) -> Text | None:
    """The part that reads which ``describe_text`` described, if there is one; its encoder is to be filled.

    given: an own encoder. Raises ``ValueError`` as ``remake_network`` and ``Text`` do.
    """
    if said is None:
        expect(given is None, "encoder", type(given).__name__, "None: this model was saved without a part that reads")
        return None
    expect(said.keys() == {"encoder", "tokenizer"}, "text", sorted(said), "an encoder and a tokenizer")
    return Text(Tokenizer.from_dict(said["tokenizer"]), remake_network("encoder", said["encoder"], given))


def _checked(argument: str, said: Mapping[str, Any], given: Any, describe: Callable[[Any], dict], base: type) -> Any:
    """``given`` if it says of itself what the saved part said. Raises ``ValueError`` telling the two apart."""
    numbers = [f"{name}={str(value)[:60]}" for name, value in said.items() if name != "own"]
    saved = f"{argument}={said['own']}({', '.join(numbers)})"
    wanted = f"{saved}, an object of your own class: this model was saved with one"
    expect(isinstance(given, base), argument, given if given is None else type(given).__name__, wanted)
    found = json.loads(json.dumps(describe(given)))
    differ = [f"{name}={str(value)[:60]}" for name, value in found.items() if said.get(name) != value]
    differ += [f"no {name}" for name in said if name not in found]
    expect(not differ, argument, ", ".join(differ), saved)
    return given


def stored(modules: Mapping[str, nn.Module], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The weights of all networks as one file holds them, real numbers in ``dtype``; none shares its memory."""
    state: dict[str, Tensor] = {}
    seen = set()
    for part, module in modules.items():
        for name, t in module.state_dict().items():
            kept = t.detach().to("cpu", dtype if dtype and t.is_floating_point() else t.dtype).contiguous()
            place = kept.untyped_storage().data_ptr()
            state[f"{part}.{name}"] = kept.clone() if place in seen else kept
            seen.add(place)
    return state


def digest(state: Mapping[str, Tensor]) -> str:
    """Tells one set of weights from another: 16 hexadecimal digits of a hash of their names and bytes."""
    total = sha256()
    for name, tensor in state.items():
        total.update(name.encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]
