"""Autoencoder + scale and shift + denoiser = a latent diffusion model, saved and loaded as one folder."""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path as FilePath
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .denoiser import Denoiser
from .dynamics import Dynamics
from .errors import choose, expect, in_range, whole_number
from .files import atomic_folder, read_json
from .guidance import guided
from .nn import AutoencoderConfig, Condition
from .nn.packing import pack, unpack
from .nn.weights import build, load_state, open_state
from .path import PATHS, Path
from .runtime import normal
from .solvers import STEPS, Solver, Step, sample
from .solvers.grids import grid
from .solvers.loop import told
from .space import LatentSpace

__all__ = ["LatentDiffusion", "LatentSpace", "pack", "unpack"]


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

    def sample(self, n: int, cond: Condition | None = None, **options: Any) -> Tensor:
        """n images (n, C, H, W) in [-1, 1]: ``sample_latents``, whose options these are, decoded."""
        return self.space.decode(self.sample_latents(n, cond, **options))

    def sample_latents(
        self,
        n: int,
        cond: Condition | None = None,
        *,
        steps: int = 25,
        solver: str | Step | Solver = "dpmpp_2m",
        guidance: float = 1.0,
        unconditional: Condition | None = None,
        generator: torch.Generator | None = None,
        kind: str = "lam",
    ) -> Tensor:
        """n latents, (n, c, h, w): noise at t_max, carried by ``solver`` over a grid of ``steps`` intervals, then denoised.

        cond: what to show; None for anything. guidance: see ``guided``; unconditional: what it leads away from, by default
        the empty condition. solver: a step's name, a step, or a ``Solver``.
        Raises ``ValueError`` for n or steps below 1, labels out of range or not n of them, unknown names.
        """
        n = whole_number("n", n, 1)
        steps = whole_number("steps", steps, 1)
        cond = cond or Condition()
        self._check_label(cond.label, n)
        weight = next(self.denoiser.net.parameters())
        on = cond.to(weight.device)
        step: Step | Solver = choose("solver", solver, STEPS) if isinstance(solver, str) else solver
        if not isinstance(step, Solver):
            step = told(step, generator=generator)
        path = self.denoiser.path
        ts = grid(path, steps, kind)
        noise = normal((n, *self.latent), generator, weight) * path.sigma(ts[0])
        off = (unconditional or Condition()).to(weight.device)
        predict = guided(self.denoiser.given(on), self.denoiser.given(off), guidance)
        return sample(Dynamics(path, predict), noise, ts, step)

    def _check_label(self, label: Tensor | None, n: int) -> None:
        if label is None:
            return
        expect(len(label) == n, "cond.label", f"{len(label)} labels", f"{n}, one for each image")
        config: Any = self.denoiser.net.config
        expect(config.classes > 0, "cond.label", "labels", "none: this model was trained without")
        in_range("cond.label", label, 0, config.classes - 1)

    def modules(self) -> dict[str, nn.Module]:
        """The two networks by the name under which their weights are stored."""
        return {"autoencoder": self.space.autoencoder, "denoiser": self.denoiser.net}

    def save(self, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``, both or neither; ``dtype`` stores the weights in another type."""
        path, network = self.denoiser.path, cast(Any, self.denoiser.net)
        config = {
            "autoencoder": self.space.autoencoder.config.as_dict(),
            "denoiser": {"_class_name": type(network).__name__, **network.config.as_dict()},
            "path": {"name": type(path).__name__, **_fields(path)},
            "parametrisation": self.denoiser.parametrisation,
            **self.space.numbers(),
            "latent": list(self.latent),
        }
        state = {
            f"{part}.{name}": t.to(dtype or t.dtype).contiguous()
            for part, m in self.modules().items()
            for name, t in m.state_dict().items()
        }
        with atomic_folder(folder) as fresh:
            save_file(state, fresh / "model.safetensors")
            (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "LatentDiffusion":
        """Read a folder that ``save`` wrote, in float32 on the CPU, ready to sample.

        Raises ``FileNotFoundError`` when a file is absent and ``ValueError`` when one is damaged or the weights
        belong to another configuration.
        """
        folder = FilePath(folder)
        config = read_json(folder / "config.json")
        missing = {"autoencoder", "denoiser", "path", "row", "scale", "shift", "latent"} - config.keys()
        expect(not missing, "config.json", f"no {sorted(missing)}", "all the fields that save() writes")
        path_fields = dict(config["path"])
        kind = choose("path.name", path_fields.pop("name", None), PATHS)
        given = {name: f for name, f in kind.__dataclass_fields__.items() if f.init}
        for field in path_fields:
            choose("path field", field, given)
        path = kind(**path_fields)
        model = cls(
            LatentSpace(
                AutoencoderConfig.from_dict(config["autoencoder"]).build(),
                config["scale"],
                config["shift"],
                config.get("pack", 1),
            ),
            Denoiser(build({"_class_name": "UNet", **config["denoiser"]}), path, config["row"]),
            tuple(config["latent"]),
        )
        state = open_state(folder / "model.safetensors")
        for part, module in model.modules().items():
            load_state(module.eval(), state.part(f"{part}."), "own")
        return model


def _fields(path: Path) -> dict[str, Any]:
    """What a path was made of, for a JSON file: numbers, and tables as lists."""
    values = {field.name: getattr(path, field.name) for field in fields(path) if field.init}
    return {name: v.tolist() if isinstance(v, Tensor) else v for name, v in values.items()}
