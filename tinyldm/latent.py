"""Autoencoder + scale and shift + denoiser = a latent diffusion model, saved and loaded as one folder."""

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
from .nn.packing import pack, unpack
from .nn.weights import bare, load_state, open_state
from .path import Path
from .runtime import normal
from .saved import describe_network, describe_parametrisation, describe_path, digest, remake_network, remake_path, stored
from .solvers import STEPS, Solver, Step, sample
from .solvers.grids import grid
from .solvers.loop import told
from .space import LatentSpace

__all__ = ["LatentDiffusion", "LatentSpace", "pack", "unpack"]

Cond = Condition | int | Sequence[int] | np.ndarray | Tensor | None
FORMER = {"row": "parametrisation"}  # what a field of config.json was called when older files were written


@dataclass(frozen=True)
class LatentDiffusion:
    """A latent diffusion model: ``space`` between images and latents, ``denoiser`` of latents of shape ``latent``, (c, h, w)."""

    space: LatentSpace
    denoiser: Denoiser
    latent: tuple[int, int, int]

    def to(self, device: torch.device) -> "LatentDiffusion":
        """Move both networks to a device, in place; returns the model."""
        self.space.autoencoder.to(device)
        self.denoiser.net.to(device)
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

        cond: what to show: None for anything, a ``Condition``, or labels, one for all pictures or a list, array or tensor
        of n. guidance: a scale, see ``guided``, or a ``Guidance`` with its interval and form; unconditional: what it leads away
        from, by default the empty condition. solver: a step's name, a step, or a ``Solver``.
        Raises ``ValueError`` for n or steps below 1, labels out of range or not n of them, unknown names or
        a negative guidance; ``FloatingPointError`` when the result is not finite.
        """
        n = whole_number("n", n, 1)
        steps = whole_number("steps", steps, 1)
        weight = next(self.denoiser.net.parameters(), torch.empty(0))
        on = self._asked("cond", cond, n).to(weight.device)
        off = self._asked("unconditional", unconditional, n).to(weight.device)
        step: Step | Solver = choose("solver", solver, STEPS) if isinstance(solver, str) else solver
        if not isinstance(step, Solver):
            step = told(step, generator=generator)
        path = self.denoiser.path
        ts = grid(path, steps, kind)
        noise = normal((n, *self.latent), generator, weight) * path.sigma(ts[0])
        how = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
        predict = how.lead(path, self.denoiser.given(on), self.denoiser.given(off))
        return sample(Dynamics(path, predict), noise, ts, step)

    def _asked(self, argument: str, cond: Cond, n: int) -> Condition:
        """The condition for n pictures that an argument means, its labels checked."""
        if isinstance(cond, Integral) and not isinstance(cond, bool):
            cond = torch.full((n,), int(cond))
        known = cond is None or isinstance(cond, Condition | list | tuple | np.ndarray | Tensor)
        expect(known, argument, repr(cond), "a Condition, a label for all pictures, or a list of labels, one a picture")
        found: Condition = cond if isinstance(cond, Condition) else Condition(cond)  # type: ignore[arg-type]
        if found.label is not None:
            name, label, classes = f"{argument}.label", found.label, _classes(self.denoiser.net)
            expect(len(label) == n, name, f"{len(label)} labels", f"{n}, one for each image")
            expect(classes != 0, name, "labels", "none: this model was trained without")
            if classes is not None:
                in_range(name, label, 0, classes - 1)
        return found

    def modules(self) -> dict[str, nn.Module]:
        """The two networks by the name under which their weights are stored, out of what may be wrapped around them."""
        return {"autoencoder": bare(self.space.autoencoder), "denoiser": bare(self.denoiser.net)}

    def save(self, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``, both or neither; ``dtype`` stores the weights in another type.

        Of a path or a network of your own class the name, the numbers and the weights are written, not the code: ``load``
        wants it again. Raises ``ValueError``, before anything is written, for what could not be loaded: a parametrisation
        that is a function, a path that holds anything but numbers, texts and tensors.

        >>> model.save("model")
        >>> model = tl.LatentDiffusion.load("model")
        """
        modules = self.modules()
        config = {
            **{part: describe_network(module) for part, module in modules.items()},
            "path": describe_path(self.denoiser.path),
            "parametrisation": describe_parametrisation(self.denoiser.parametrisation),
            **self.space.numbers(),
            "latent": list(self.latent),
        }
        state = stored(modules, dtype)
        note = {"weights": digest(state)}  # in both files, so that they know each other
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
    ) -> "LatentDiffusion":
        """Read a folder that ``save`` wrote, in float32 on the CPU, ready to sample.

        path, net (the denoiser's), autoencoder: only for a model that was saved with one of your own class, an object of
        that class with the same numbers; the networks are filled. Raises ``FileNotFoundError`` when a file is absent and
        ``ValueError`` when one is damaged, belongs to another model, or such a part is missing, another or superfluous.

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
        model = cls(space, denoiser, tuple(config["latent"]))
        with open_safetensors(weights) as opened:
            note = (opened.metadata() or {}).get("weights")
        belong = note == config.get("weights")
        expect(belong, "folder", f"{file} of one model and {weights} of another", "files that were saved together")
        state = open_state(weights)
        for part, module in model.modules().items():
            load_state(module.eval(), state.part(f"{part}."), "own")
        return model

    def __repr__(self) -> str:
        classes = _classes(self.denoiser.net)
        return (
            f"LatentDiffusion(latents {self.latent}, {classes if classes else 'no'} classes)\n"
            f"  {self.space!r}\n  {self.denoiser!r}"
        )


def _classes(net: nn.Module) -> int | None:
    """How many labels a network knows; None for one that does not say."""
    return getattr(getattr(bare(net), "config", None), "classes", None)
