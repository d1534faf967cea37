"""Autoencoder + scale and shift + denoiser = a latent diffusion model, which may read; saved and loaded as one folder."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .denoiser import Denoiser
from .dynamics import Dynamics
from .errors import choose, expect, in_range, whole_number
from .files import atomic_folder, current, open_safetensors, read_json
from .guidance import Guidance
from .nn import Condition
from .nn.config import Config
from .nn.packing import pack, unpack
from .nn.weights import bare, load_state, open_state
from .path import Path
from .runtime import normal
from .saved import (
    describe_network,
    describe_parametrisation,
    describe_path,
    describe_text,
    digest,
    remake_network,
    remake_path,
    remake_text,
    stored,
)
from .solvers import STEPS, Solver, Step, sample
from .solvers.grids import grid
from .solvers.loop import told
from .space import LatentSpace
from .text import Text

__all__ = ["LatentDiffusion", "LatentSpace", "pack", "unpack"]

Cond = Condition | int | str | Sequence[int] | Sequence[str] | np.ndarray | Tensor | None
FORMER = {"row": "parametrisation"}  # what a field of config.json was called when older files were written


@dataclass(frozen=True)
class LatentDiffusion:
    """A latent diffusion model: ``space`` between images and latents, ``denoiser`` of latents of shape ``latent``, (c, h, w).

    text: what reads, for a model that is asked in words. Raises ``ValueError`` for one where the network has no use for it.
    """

    space: LatentSpace
    denoiser: Denoiser
    latent: tuple[int, int, int]
    text: Text | None = None

    def __post_init__(self) -> None:
        if self.text is not None:
            self.text.slots(self.denoiser.net)

    def to(self, device: torch.device) -> "LatentDiffusion":
        """Move all networks to a device, in place; returns the model."""
        self.space.autoencoder.to(device)
        self.denoiser.net.to(device)
        if self.text is not None:
            self.text.encoder.to(device)
        return self

    def sample(self, n: int, cond: Cond = None, **options: Any) -> Tensor:
        """n images (n, C, H, W) in [-1, 1]: ``sample_latents``, whose options these are, decoded. Raises what it raises.

        >>> model = tl.zoo.load("digits")
        >>> model.sample(4, [3, 1, 4, 1], steps=10, guidance=2.0, generator=tl.seeded(0)).shape
        torch.Size([4, 1, 32, 32])
        """
        return self.space.decode(self.sample_latents(n, cond, **options))

    def sample_latents(
        self,
        n: int,
        cond: Cond = None,
        *,
        steps: int = 25,
        solver: str | Step | Solver = "dpmpp_2m",
        guidance: float | Guidance = 1.0,
        unconditional: Cond = None,
        generator: torch.Generator | None = None,
        kind: str = "lam",
    ) -> Tensor:
        """n latents, (n, c, h, w): noise at t_max, carried by ``solver`` over a grid of ``steps`` intervals, then denoised.

        cond: what to show: None for anything, a ``Condition``, or labels or texts, one for all pictures or n of them in a list
        (labels: an array or a tensor too). guidance: a scale, see ``guided``, or a ``Guidance`` with its interval and form;
        unconditional: what it leads away from, by default the empty condition, where the model reads the empty text.
        solver: a step's name, a step, or a ``Solver``.
        Raises ``ValueError`` for n or steps below 1, labels out of range, a condition that is neither of batch n nor of 1,
        texts with unknown words or to a model that does not read, unknown names, a negative guidance, or nothing to lead away
        from; ``FloatingPointError`` when the result is not finite.
        """
        n = whole_number("n", n, 1)
        steps = whole_number("steps", steps, 1)
        weight = next(self.denoiser.net.parameters(), torch.empty(0))
        on = self._asked("cond", cond, n).to(weight.device)
        off = self._asked("unconditional", unconditional, n).to(weight.device)
        how = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
        if how.scale != 1:
            self._refuse_missing(off)
        step: Step | Solver = choose("solver", solver, STEPS) if isinstance(solver, str) else solver
        if not isinstance(step, Solver):
            step = told(step, generator=generator)
        path = self.denoiser.path
        ts = grid(path, steps, kind)
        noise = normal((n, *self.latent), generator, weight) * path.sigma(ts[0])
        predict = how.lead(path, self.denoiser.given(on), self.denoiser.given(off))
        return sample(Dynamics(path, predict), noise, ts, step)

    def _asked(self, argument: str, cond: Cond, n: int) -> Condition:
        """The condition for n pictures that an argument means, its labels checked."""
        if cond is None and self.text is not None:
            cond = ""  # which a model that reads has learned to take for anything
        if isinstance(cond, str):
            cond = [cond]
        if isinstance(cond, list | tuple) and cond and all(isinstance(text, str) for text in cond):
            if self.text is None:
                raise ValueError(f"{argument}: expected a Condition or labels: this model cannot read, got {cond[0]!r}")
            cond = self.text(cond, self.text.slots(self.denoiser.net))
        if isinstance(cond, Integral) and not isinstance(cond, bool):
            cond = torch.full((n,), int(cond))
        known = cond is None or isinstance(cond, Condition | list | tuple | np.ndarray | Tensor)
        expect(known, argument, repr(cond), "a Condition, a label for all pictures, or a list of labels, one a picture")
        found: Condition = cond if isinstance(cond, Condition) else Condition(cond)  # type: ignore[arg-type]
        batch = len(found) if found else n
        expect(batch in (1, n), argument, f"a batch of {batch}", f"one of {n}, or of 1 for all")
        if found.label is not None:
            name, label, classes = f"{argument}.label", found.label, _classes(self.denoiser.net)
            expect(classes != 0, name, "labels", "none: this model was trained without")
            if classes is not None:
                in_range(name, label, 0, classes - 1)
        return found

    def _refuse_missing(self, off: Condition) -> None:
        """Refuse a condition to lead away from that lacks what the network needs, which would itself call it ``cond``."""
        config = getattr(bare(self.denoiser.net), "config", None)
        if not isinstance(config, Config):
            return  # an own network, which knows for itself what it can do without
        needed = [slot for slot in ("tokens", "vector", "guidance") if getattr(config, slot, 0)]
        needed += ["image"] * (getattr(config, "in_channels", 0) > self.latent[0])
        for slot in needed:
            wanted = "a value: guidance leads away from it, and this network has none of its own for nothing"
            expect(getattr(off, slot) is not None, f"unconditional.{slot}", None, wanted)

    def modules(self) -> dict[str, nn.Module]:
        """The networks by the name under which their weights are stored, out of what may be wrapped around them."""
        reads = {"text": bare(self.text.encoder)} if self.text else {}
        return {"autoencoder": bare(self.space.autoencoder), "denoiser": bare(self.denoiser.net), **reads}

    def save(self, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``, both or neither; ``dtype`` stores the weights in another type.

        Of a path or a network of your own class the name, the numbers and the weights are written, not the code: ``load``
        wants it again. Raises ``ValueError``, before anything is written, for what could not be loaded: a parametrisation
        that is a function, a path that holds anything but numbers, texts and tensors, a tokenizer of your own class.

        >>> model.save("model")
        >>> model = tl.LatentDiffusion.load("model")
        """
        modules = self.modules()
        config = {
            **{part: describe_network(module) for part, module in modules.items() if part != "text"},
            "path": describe_path(self.denoiser.path),
            "parametrisation": describe_parametrisation(self.denoiser.parametrisation),
            **self.space.numbers(),
            "latent": list(self.latent),
            **({"text": describe_text(self.text)} if self.text else {}),
        }
        state = stored(modules, dtype)
        note = {"weights": digest(state)}  # in both files, so that they know each other
        note |= {"tokenizer": self.text.tokenizer.digest} if self.text else {}
        with atomic_folder(folder) as fresh:
            save_file(state, fresh / "model.safetensors", note)
            (fresh / "config.json").write_text(json.dumps({**config, **note}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        path: Path | None = None,
        net: nn.Module | None = None,
        autoencoder: nn.Module | None = None,
        encoder: nn.Module | None = None,
    ) -> "LatentDiffusion":
        """Read a folder that ``save`` wrote, in float32 on the CPU, ready to sample.

        path, net (the denoiser's), autoencoder, encoder (the text's): only for a model that was saved with one of your own
        class, an object of that class with the same numbers; the networks are filled. Raises ``FileNotFoundError`` when a file
        is absent and ``ValueError`` when one is damaged, belongs to another model, or such a part is missing, another or
        superfluous, and for another tokenizer than the model was saved with.

        >>> model = tl.LatentDiffusion.load("model")
        >>> model.sample(4, 7).shape
        torch.Size([4, 1, 32, 32])
        """
        file = current(folder, "config.json")
        config = {FORMER.get(key, key): value for key, value in read_json(file).items()}
        missing = {"autoencoder", "denoiser", "path", "parametrisation", "scale", "shift", "latent"} - config.keys()
        expect(not missing, "config.json", f"no {sorted(missing)}", "all the fields that save() writes")
        weights = current(folder, "model.safetensors")
        coder: Any = remake_network("autoencoder", config["autoencoder"], autoencoder)
        space = LatentSpace(coder, config["scale"], config["shift"], config.get("pack", 1))
        net = remake_network("net", config["denoiser"], net)
        denoiser = Denoiser(net, remake_path(config["path"], path), config["parametrisation"])
        text = remake_text(config.get("text"), encoder)
        model = cls(space, denoiser, tuple(config["latent"]), text)
        with open_safetensors(weights) as opened:
            note = opened.metadata() or {}
        belong = note.get("weights") == config.get("weights")
        expect(belong, "folder", f"{file} of one model and {weights} of another", "files that were saved together")
        tokenizer = text.tokenizer.digest if text else None
        same = tokenizer == note.get("tokenizer")
        expect(same, "text.tokenizer", f"{tokenizer} in {file}", f"the one that {weights} tells of, {note.get('tokenizer')}")
        state = open_state(weights)
        for part, module in model.modules().items():
            load_state(module.eval(), state.part(f"{part}."), "own")
        return model

    def __repr__(self) -> str:
        classes = _classes(self.denoiser.net)
        return (
            f"LatentDiffusion(latents {self.latent}, {classes if classes else 'no'} classes)\n"
            f"  {self.space!r}\n  {self.denoiser!r}" + (f"\n  {self.text!r}" if self.text else "")
        )


def _classes(net: nn.Module) -> int | None:
    """How many labels a network knows; None for one that does not say."""
    return getattr(getattr(bare(net), "config", None), "classes", None)
