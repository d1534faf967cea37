"""Networks from files and to files: one way in, one way out, for diffusers' folders, CompVis' single files and our own.

Nothing is unpickled, nothing is filled before everything fits, and there is never more than one copy of the weights.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import choose, expect
from ..files import atomic_folder, current, open_safetensors, read_json
from .adapter import AdapterConfig
from .classifier import ClassifierConfig
from .clip import CLIPConfig
from .config import Config
from .controlnet import ControlNetConfig
from .discriminator import DiscriminatorConfig
from .features import FeatureNetConfig
from .foreign import FAMILIES, READERS
from .mmdit import MMDiTConfig
from .names import OWN, canonical, names, spoken
from .points import MLPConfig, PointCoderConfig
from .quantizer import QuantizerConfig
from .text import TextConfig
from .tokenizer import Tokenizer
from .unet import UNetConfig

CLASSES: dict[str, type[Config]] = {  # our own networks by class, saved with our own names
    "Adapter": AdapterConfig,
    "CLIP": CLIPConfig,
    "Classifier": ClassifierConfig,
    "ControlNet": ControlNetConfig,
    "FeatureNet": FeatureNetConfig,
    "MMDiT": MMDiTConfig,
    "PatchDiscriminator": DiscriminatorConfig,
    "PointCoder": PointCoderConfig,
    "MLP": MLPConfig,
    "TextEncoder": TextConfig,
    "UNet": UNetConfig,
    "VectorQuantizer": QuantizerConfig,
}
FORMER = {"PointNet": "MLP"}  # what a class was called when older files were written
WRAPPINGS = {  # what trains or runs a network from around it, and the attribute under which that network lies
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "AveragedModel": "module",
}
ONE_OPENING = 2**24  # bytes: what has been read from a file counts as memory in use until the file is closed
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
REASON = "a safetensors file; a pickle can run any program when it is opened (convert it where you trust it)"


def build(config: Mapping[str, Any]) -> nn.Module:
    """A freshly initialised network from what ``config.json`` holds: ``_class_name``, or ``architectures``, says which.

    Raises ``ValueError`` naming an unknown class, an unknown option or a value that our networks do not have.
    """
    kind = _kind(config)
    read = choose("_class_name", kind, {**READERS, **{name: own.from_dict for name, own in CLASSES.items()}})
    return read({name: value for name, value in config.items() if not name.startswith("_")}).build()


def _kind(config: Mapping[str, Any]) -> Any:
    """The class that a configuration is of: diffusers and we write one name, transformers a list of one."""
    kind = config.get("_class_name", next(iter(config.get("architectures") or ()), None))
    return FORMER.get(str(kind), kind)


def bare(module: nn.Module) -> nn.Module:
    """The network itself, out of what ``torch.compile``, ``DistributedDataParallel`` or an average of weights put around it."""
    while type(module).__name__ in WRAPPINGS:
        module = getattr(module, WRAPPINGS[type(module).__name__])
    return module


def described(module: Any) -> str:
    """A network in a few words: its class and how many parameters it has; a plain function as it prints."""
    module = bare(module)
    if not isinstance(module, nn.Module):
        return repr(module)
    return f"{type(module).__name__} of {sum(p.numel() for p in module.parameters()):,} parameters"


def load_state(module: nn.Module, state: Mapping[str, Tensor], layout: str = "diffusers") -> None:
    """Fill ``module``, in its own dtype and place, with tensors named as in ``layout``: "diffusers", "compvis" or "own".

    A module on the meta device gets memory first. Raises ``ValueError`` listing by name every tensor that is missing,
    unknown or misshapen; the module is then untouched.
    """
    table, found = names(module, layout), canonical(state, module, layout)
    expected = {table[name]: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(state[file].shape) for name, file in found.items()}
    wrong = [
        f"{found.get(name, name)}: {given.get(name, 'absent')}, expected {expected.get(name, 'no such tensor')}"
        for name in sorted(expected.keys() | given.keys())
        if not _fits(given.get(name), expected.get(name))
    ]
    if wrong:
        listed = "; ".join(wrong)
        raise ValueError(f"state: {len(wrong)} tensors do not fit this configuration: {listed}{_hint(module, state, layout)}")
    if any(t.is_meta for t in module.state_dict().values()):
        module.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            tensor.copy_(state[found[table[name]]].reshape(tensor.shape))


def _fits(given: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> bool:
    """The same shape, where a convolution that sees each patch once is as good as the linear map that it is."""
    a, b = given or (), expected or ()
    return given == expected or ({len(a), len(b)} == {2, 4} and a[0] == b[0] and math.prod(a) == math.prod(b))


def _hint(module: nn.Module, state: Mapping[str, Tensor], layout: str) -> str:
    """Another layout whose names these are, if there is one."""
    known = {kind: len(set(names(module, kind).values()) & canonical(state, module, kind).keys()) for kind in spoken(module)}
    best = max(known, key=lambda kind: known[kind])
    return f". These look like the names of layout={best!r}" if known[best] > known[layout] else ""


class State(Mapping[str, Tensor]):
    """The tensors of safetensors files, each read when it is asked for. where: name -> (file, name in the file).

    A file stays open from one tensor to the next, as finding them anew takes a time that grows with their number.
    """

    def __init__(self, where: dict[str, tuple[FilePath, str]]) -> None:
        self.where = where
        self.opened, self.path, self.read = ExitStack(), FilePath(), 0

    def __getitem__(self, name: str) -> Tensor:
        path, inside = self.where[name]
        if path != self.path or self.read > ONE_OPENING:
            self.opened.close()
            self.file = self.opened.enter_context(open_safetensors(path))
            self.path, self.read = path, 0
        tensor = self.file.get_tensor(inside)
        self.read += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)

    def part(self, prefix: str) -> "State":
        """The tensors whose names begin with ``prefix``, under what follows it."""
        return State({n.removeprefix(prefix): place for n, place in self.where.items() if n.startswith(prefix)})


def open_state(path: str | os.PathLike) -> State:
    """The tensors of a safetensors file, or of the files that an ``index.json`` lists, without reading them yet.

    Raises ``FileNotFoundError`` for a file that is absent, ``ValueError`` for a damaged one or a pickle.
    """
    path = FilePath(path).expanduser()
    expect(path.suffix not in PICKLES, "path", path, REASON)
    if path.suffix != ".json":
        with open_safetensors(path) as file:
            return State({name: (path, name) for name in list(file.keys())})
    files = read_json(path).get("weight_map", {})
    for file in set(files.values()):
        expect(FilePath(file).name == file, "weight_map", file, "the name of a file in the same folder")
        with open_safetensors(path.with_name(file)):  # all there and whole, before anything is filled
            pass
    return State({name: (path.with_name(file), name) for name, file in files.items()})


def from_pretrained(folder: str | os.PathLike, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network of a folder with ``config.json`` and safetensors, in one file or in shards; on the CPU, evaluating.

    The folder is diffusers' (one network of a pipeline: ``vae``) or from ``save_pretrained``. Raises
    ``FileNotFoundError`` for what is absent; ``ValueError`` for a pickle, a damaged file, an option or a tensor that
    does not fit, by name.
    """
    folder = FilePath(folder).expanduser()
    expect(folder.suffix not in PICKLES, "folder", folder, REASON)
    config = read_json(current(folder, "config.json"))
    with torch.device("meta"):
        module = build(config).to(dtype)
    load_state(module, open_state(_weights(folder)), "diffusers" if _kind(config) in READERS else OWN)
    return module.eval()


def save_pretrained(
    module: nn.Module,
    folder: str | os.PathLike,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    **facts: Any,
) -> None:
    """Write ``config.json`` and one safetensors file, all or nothing; diffusers can load its own kinds of network.

    dtype: store the weights in another type. tokenizer: the one that a network which reads has been trained with, written
    beside it, for ``tokenizer_of``. facts: what diffusers' configuration says besides, such as
    ``scaling_factor`` (without it, diffusers takes an autoencoder's to be 0.18215). Raises ``ValueError`` for a class
    that is not known, another fact, or a folder that holds other weights.
    """
    module = bare(module)
    family, config = FAMILIES.get(type(module).__name__), _written(module)
    for fact in facts:
        choose("fact", fact, dict.fromkeys(family.facts if family else ()))
    layout = "diffusers" if _kind(config) in READERS else OWN
    file = "diffusion_pytorch_model.safetensors" if config.get("_class_name") in READERS else "model.safetensors"
    others = sorted(p.name for p in FilePath(folder).expanduser().glob("*.safetensors*") if p.name != file)
    expect(not others, "folder", f"{others} in {folder}", "no other weights there")
    table = names(module, layout)
    shapes = family.shapes(module.config) if family and layout == "diffusers" else {}
    state = {
        table[name]: t.detach().to("cpu", dtype or t.dtype).reshape(shapes.get(name, t.shape)).contiguous()
        for name, t in module.state_dict().items()
    }
    with atomic_folder(folder) as fresh:
        save_file(state, fresh / file, {"format": "pt"} | ({"tokenizer": tokenizer.digest} if tokenizer else {}))
        text = json.dumps({**config, **facts}, indent=2)
        (fresh / "config.json").write_text(text + "\n", encoding="utf-8")
        if tokenizer:
            (fresh / "tokenizer.json").write_text(json.dumps(tokenizer.as_dict()) + "\n", encoding="utf-8")


def tokenizer_of(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer that ``save_pretrained`` wrote beside a network.

    Raises ``FileNotFoundError`` when there is none, ``ValueError`` for one that these weights have not been saved with.
    """
    file, weights = current(folder, "tokenizer.json"), _weights(FilePath(folder).expanduser())
    tokenizer = Tokenizer.from_dict(read_json(file))
    with open_safetensors(weights) as opened:
        saved = (opened.metadata() or {}).get("tokenizer")
    expect(tokenizer.digest == saved, "tokenizer", f"{tokenizer.digest} in {file}", f"the one that {weights} tells of, {saved}")
    return tokenizer


def _written(module: nn.Module) -> dict[str, Any]:
    """The configuration in diffusers' words if it has them, else in ours."""
    kind = type(module).__name__
    choose("class of the module", kind, {**FAMILIES, **CLASSES})
    own: Any = module.config
    foreign = FAMILIES[kind].write(own) if kind in FAMILIES else None
    return foreign or {"_class_name": kind, **own.as_dict()}


def _weights(folder: FilePath) -> FilePath:
    """The file in a folder that holds the weights, or that says which files do."""
    for stem in ("diffusion_pytorch_model", "model"):
        for end in (".safetensors", ".safetensors.index.json"):
            if (file := current(folder, f"{stem}{end}")).is_file():
                return file
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    expect(not pickles, "folder", f"only {pickles} in {folder}", REASON)
    raise FileNotFoundError(f"folder: no diffusion_pytorch_model.safetensors or model.safetensors in {folder}")
