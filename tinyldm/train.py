"""The training loop: AdamW, a moving average of the weights, checkpoints from which a run resumes exactly."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from .data import InMemory
from .errors import expect
from .files import atomic_file, read_safetensors

Loss = Callable[[Any, dict[str, Tensor], torch.Generator], Tensor]
REPORT_EVERY = 20  # steps between two looks at the loss: each look waits for the device


@dataclass(frozen=True)
class Budget:
    """How long and how hard to train.

    steps: updates. batch: examples an update. lr: the peak learning rate, reached after ``warmup`` steps and followed by
    a half cosine down to zero. ema: decay of the weights' moving average.
    """

    steps: int
    batch: int
    lr: float
    ema: float = 0.995
    warmup: int = 50
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        expect(self.steps >= 1, "steps", self.steps, "at least 1")
        expect(self.batch >= 1, "batch", self.batch, "at least 1")
        expect(self.lr > 0, "lr", self.lr, "a number > 0")
        expect(0 <= self.ema < 1, "ema", self.ema, "a number in [0, 1)")

    def rate(self, step: int) -> float:
        """The learning rate of this step, counted from 0."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = max(0, step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * rise * (1 + math.cos(math.pi * fall)) / 2

    def decay(self, step: int) -> float:
        """The average's decay d at this step, counted from 0. Implements :eq:`ema`: average <- d average + (1 - d) weight.

        Small at first, so that the initial weights are soon forgotten.
        Source: LDM's code, ``LitEma``, which counts its updates from 1.
        """
        return min(self.ema, (2 + step) / (11 + step))


class Run:
    """Everything that changes while a module trains, so that it can be written down and taken up again."""

    def __init__(self, module: nn.Module, budget: Budget, generator: torch.Generator) -> None:
        self.module, self.budget, self.generator = module, budget, generator
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.buffers = dict(module.named_buffers())
        expect(len(self.parameters) > 0, "module", "no parameter that requires a gradient", "something to train")
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=budget.lr, weight_decay=budget.weight_decay)
        self.losses = torch.zeros(budget.steps, device=next(module.parameters()).device)
        self.step = 0

    def update(self, loss: Tensor) -> None:
        """One optimiser step on a loss (), and one step of the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate(self.step)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        weights = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.budget.decay(self.step))
        self.losses[self.step] = loss.detach()
        self.step += 1

    def save(self, path: str | os.PathLike) -> None:
        """Write a checkpoint: all of it or nothing."""
        tensors = {"losses": self.losses, "generator": self.generator.get_state()}
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.buffers.items()}
        for name, p in self.parameters.items():
            tensors[f"weight.{name}"] = p.detach()
            tensors[f"average.{name}"] = self.average[name]
            for key, value in self.optimizer.state[p].items():
                tensors[f"adam.{key}.{name}"] = value
        with atomic_file(path) as temporary:
            save_file(tensors, temporary, {"step": str(self.step), "budget": json.dumps(asdict(self.budget))})

    def load(self, path: str | os.PathLike) -> None:
        """Take up a checkpoint. Raises ``ValueError`` when it is damaged or belongs to another module or budget."""
        tensors, notes = read_safetensors(path)
        expect({"step", "budget"} <= notes.keys(), "checkpoint", path, "a file that fit() wrote")
        _same_budget(json.loads(notes["budget"]), asdict(self.budget))
        shapes = {
            name.removeprefix("weight."): tuple(t.shape) for name, t in tensors.items() if name.startswith("weight.")
        }
        _same_shapes(shapes, {name: tuple(p.shape) for name, p in self.parameters.items()})
        self.step = int(notes["step"])
        self.generator.set_state(tensors["generator"])
        self.losses.copy_(tensors["losses"])
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[f"weight.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
                moments = {key: f"adam.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
                if moments["step"] in tensors:  # a weight without a gradient has no moments
                    self.optimizer.state[p] = {
                        key: tensors[at].to("cpu" if key == "step" else p.device) for key, at in moments.items()
                    }
            for name, buffer in self.buffers.items():
                buffer.copy_(tensors[f"buffer.{name}"])


def _same_budget(saved: dict, now: dict) -> None:
    changed = [f"{name} was {saved.get(name)}, is {value}" for name, value in now.items() if saved.get(name) != value]
    if changed:
        raise ValueError(f"checkpoint: written with another budget ({'; '.join(changed)})")


def _same_shapes(saved: dict, now: dict) -> None:
    differing = sorted(name for name in saved.keys() | now.keys() if saved.get(name) != now.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"checkpoint: from another configuration; {len(differing)} tensors differ, "
            f"first {name}: {saved.get(name, 'absent')} in the file, {now.get(name, 'absent')} in the module"
        )


def fit(
    module: nn.Module,
    loss: Loss,
    data: InMemory,
    budget: Budget,
    *,
    generator: torch.Generator,
    checkpoint: str | os.PathLike | None = None,
    save_every: int = 200,
    label: str = "training",
    progress: bool = True,
) -> Tensor:
    """Train ``module`` in place and leave in it the moving average of its weights. Returns the loss history (steps,).

    Parameters that require no gradient are left alone, to the bit.

    loss: (module, batch, generator) -> (). generator: the only source of chance, on the CPU. checkpoint: a file written
    every ``save_every`` steps and at the end; if it exists, the run goes on from it and ends with the same numbers as
    an uninterrupted one. Raises ``ValueError`` for a checkpoint of another run, ``FloatingPointError`` when the loss is
    no longer finite.
    """
    run = Run(module, budget, generator)
    if checkpoint is not None and FilePath(checkpoint).exists():
        run.load(checkpoint)
    device = run.losses.device
    module.train()
    with tqdm(total=budget.steps, initial=run.step, desc=label, disable=not progress, mininterval=0.5) as bar:
        while run.step < budget.steps:
            chosen = torch.randint(len(data), (budget.batch,), generator=generator)
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in data[chosen].items()}
            run.update(loss(module, batch, generator))
            due = checkpoint is not None and run.step % save_every == 0
            if due or run.step % REPORT_EVERY == 0 or run.step == budget.steps:
                _report(run, bar)
            if checkpoint is not None and (due or run.step == budget.steps):
                run.save(checkpoint)
    with torch.no_grad():
        for name, p in run.parameters.items():
            p.copy_(run.average[name])
    module.eval()
    return run.losses.cpu()


def _report(run: Run, bar: tqdm) -> None:
    recent = run.losses[max(run.step - REPORT_EVERY, 0) : run.step].mean().item()
    if not math.isfinite(recent):
        raise FloatingPointError(
            f"the loss is not finite at step {run.step}: lower lr={run.budget.lr} or look at the data"
        )
    bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
    bar.update(run.step - bar.n)
