"""Which of our tensors is which in the files of others: a table of modules, and of the few names inside them.

Two layouts are known: "diffusers", and "compvis", the files of LDM's own code (Stable Diffusion's and FLUX's too).
A network is described by rows (our module, diffusers' module, CompVis' module), see ``foreign``; its tensors follow.
"""

from collections.abc import Iterable, Mapping

from torch import nn

from ..errors import choose, expect
from .foreign import FAMILIES

LAYOUTS = {"diffusers": 1, "compvis": 2}  # the columns of a row
OWN = "own"  # our names, as they are
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # diffusers' names before its version 0.17
FOREIGN = ("loss.", "model_ema.", "discriminator.")  # what a file of a CompVis autoencoder holds besides


def names(module: nn.Module, layout: str) -> dict[str, str]:
    """Our tensor names -> theirs, for every tensor of ``module``, one to one.

    layout: "diffusers", "compvis", or "own". Raises ``ValueError`` for another layout or a network without a table.
    """
    if layout == OWN:
        return {name: name for name in module.state_dict()}
    column = choose("layout", layout, {**LAYOUTS, OWN: 0})
    family = choose(f"layout {layout!r} of the class", type(module).__name__, FAMILIES)
    modules = {row[0]: row[column] for row in family.rows(module.config)}
    unknown = [ours for ours, theirs in modules.items() if not theirs]
    expect(not unknown, "layout", f"{layout!r}, which has no tensors like those of {', '.join(unknown)}", "another layout")
    return tensor_names(module, modules, family.leaves[layout])


def spoken(module: nn.Module) -> list[str]:
    """The layouts in which every tensor of ``module`` has a name."""
    family = FAMILIES.get(type(module).__name__)
    rows = list(family.rows(getattr(module, "config", None))) if family else []
    return [OWN, *(layout for layout, column in LAYOUTS.items() if rows and all(row[column] for row in rows))]


def tensor_names(module: nn.Module, modules: Mapping[str, str], leaves: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Our tensor names -> theirs, given our module names -> theirs. A tensor without a counterpart is a ``KeyError``."""
    table = {}
    for prefix, part in module.named_modules():
        if prefix in modules:
            inside = leaves.get(type(part).__name__, {})
            for name in part.state_dict():
                head, dot, last = name.rpartition(".")
                table[f"{prefix}.{name}"] = f"{modules[prefix]}.{inside.get(head, head)}{dot}{last}"
    return {name: table[name] for name in module.state_dict()}


def canonical(given: Iterable[str], module: nn.Module, layout: str) -> dict[str, str]:
    """Today's name of every tensor of a file that belongs to ``module`` -> its name in the file.

    A CompVis file of a whole model keeps a network under a prefix; one of an autoencoder also holds its loss networks.
    Old diffusers files have other names inside attention.
    """
    given = [name for name in given if not name.endswith("position_ids")]  # numbers that CLIP's older files count up
    if layout == "diffusers" and type(module).__name__ == "TextEncoder":  # transformers leaves out the tower's name since 5.0
        return {name if name.startswith("text_") else f"text_model.{name}": name for name in given}
    if layout == "diffusers":
        return {".".join(OLD.get(part, part) for part in name.split(".")): name for name in given}
    if layout == "compvis":
        prefix = FAMILIES[type(module).__name__].prefix
        inside = [name for name in given if name.startswith(prefix)]
        found = {name.removeprefix(prefix): name for name in inside or given}
        return {name: file for name, file in found.items() if not name.startswith(FOREIGN)}
    return {name: name for name in given}
