"""The training loop: AdamW, a moving average of the weights, checkpoints from which a run resumes exactly."""

import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path as FilePath
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from .data import InMemory
from .errors import expect
from .files import atomic_file, locked, read_safetensors
from .fingerprint import Fact, differences, fingerprint

Loss = Callable[[Any, dict[str, Tensor], torch.Generator], Tensor]
MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight, beside the number of its steps
REPORT_EVERY = 20  # steps between two looks at the loss: each look waits for the device


@dataclass(frozen=True)
class Budget:
    """How long and how hard to train.

    steps: updates. batch: examples an update. lr: the peak learning rate, reached after ``warmup`` steps and followed by
    a half cosine down to zero. ema: decay of the weights' moving average.
    Raises ``ValueError`` for steps or batch < 1, lr <= 0, or ema outside [0, 1).
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
    """Everything that changes while a module trains, so that it can be written down and taken up again.

    The average is kept in float32 at least. Raises ``ValueError`` for a module without a parameter to train.
    """

    def __init__(self, module: nn.Module, budget: Budget, generator: torch.Generator) -> None:
        self.module, self.budget, self.generator = module, budget, generator
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        expect(len(self.parameters) > 0, "module", "no parameter that requires a gradient", "something to train")
        self.average = {name: _precise(p).clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=budget.lr, weight_decay=budget.weight_decay)
        self.device = next(module.parameters()).device
        self.losses = torch.zeros(budget.steps, device=self.device)
        self.sound = torch.ones(2, dtype=torch.bool, device=self.device)  # every loss, every gradient so far
        self.step = 0

    def update(self, loss: Tensor) -> None:
        """One optimiser step on a loss (), and one step of the average.

        On the CPU, raises what ``check`` raises, and takes no step then.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate(self.step)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.sound &= torch.stack([loss.detach().reshape(()), norm.to(loss)]).isfinite()
        if self.device.type == "cpu":  # elsewhere a look waits for the device
            self.check()
        self.optimizer.step()
        weights = [_precise(p) for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.budget.decay(self.step))
        self.losses[self.step] = loss.detach()
        self.step += 1

    def check(self) -> None:
        """Look whether every loss and gradient so far was finite. Raises ``FloatingPointError`` if one was not."""
        for what, sound in zip(("loss", "gradient"), self.sound.tolist()):
            if not sound:
                cure = f"lower lr={self.budget.lr} or look at the data"
                raise FloatingPointError(f"the {what} is not finite at step {self.step}: {cure}")

    def save(self, path: str | os.PathLike, facts: dict[str, Fact]) -> None:
        """Write a checkpoint of the run with these facts: all of it or nothing.

        Raises ``OSError`` where it cannot be written.
        """
        with atomic_file(path) as temporary:
            tensors = {name: t.detach().contiguous() for name, t in self._tensors().items()}
            try:
                save_file(tensors, temporary, {"step": str(self.step), "run": json.dumps(facts)})
            except SafetensorError as error:
                raise OSError(f"checkpoint: {path} cannot be written ({error})") from error

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"losses": self.losses, "generator": self.generator.get_state()}
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.module.named_buffers()}
        for name, p in self.parameters.items():
            tensors |= {f"weight.{name}": p, f"average.{name}": self.average[name]}
            tensors |= {f"adam.{key}.{name}": value for key, value in self.optimizer.state[p].items()}
        return tensors

    def load(self, path: str | os.PathLike, facts: dict[str, Fact], extend: bool) -> None:
        """Take up a checkpoint. Raises ``ValueError`` when it is damaged or that of a run with other facts.

        extend: let its budget have fewer steps.
        """
        tensors, notes = read_safetensors(path)
        expect({"step", "run"} <= notes.keys(), "checkpoint", path, "a file that fit() wrote")
        _same_shapes(path, tensors, self.parameters)
        _same_run(path, json.loads(notes["run"]), facts, extend)
        self.step = int(notes["step"])
        known = self._tensors()  # an optimiser that has not begun has no moments
        begun = [name for name in self.parameters if f"adam.step.{name}" in tensors]  # a weight without a gradient has none
        expected = {*known, *(f"adam.{moment}.{name}" for name in begun for moment in MOMENTS)}
        whole = expected <= tensors.keys() and 0 < self.step <= min(self.budget.steps, len(tensors["losses"]))
        expect(whole, "checkpoint", f"{path}, in which something is missing", "a file that fit() wrote")
        self.generator.set_state(tensors["generator"])
        self.losses[: self.step] = tensors["losses"][: self.step]
        with torch.no_grad():
            for name in known.keys() - {"generator", "losses"}:
                known[name].copy_(tensors[name])
            for name in begun:
                p = self.parameters[name]
                moments = {moment: torch.empty_like(p).copy_(tensors[f"adam.{moment}.{name}"]) for moment in MOMENTS}
                self.optimizer.state[p] = {"step": tensors[f"adam.step.{name}"], **moments}


def _precise(p: Tensor) -> Tensor:
    """The parameter's numbers, in float32 if its own type has fewer digits."""
    return p.detach().to(torch.promote_types(p.dtype, torch.float32))


def _same_shapes(path: str | os.PathLike, tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    saved = {name.removeprefix("weight."): tuple(t.shape) for name, t in tensors.items() if name.startswith("weight.")}
    now = {name: tuple(p.shape) for name, p in parameters.items()}
    differing = sorted(name for name in saved.keys() | now.keys() if saved.get(name) != now.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"checkpoint: {path} is from another configuration; {len(differing)} tensors differ, "
            f"first {name}: {saved.get(name, 'absent')} in the file, {now.get(name, 'absent')} in the module"
        )


def _same_run(path: str | os.PathLike, saved: dict[str, Fact], now: dict[str, Fact], extend: bool) -> None:
    changed = differences(saved, now)
    longer = changed.keys() == {"budget.steps"} and int(str(saved["budget.steps"])) < int(str(now["budget.steps"]))
    if not changed or (longer and extend):
        return
    listed = [f"{name} {change}" for name, change in changed.items()]
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    cure = "extend=True goes on to the larger budget" if longer else "name another file for this run, or delete that one"
    raise ValueError(f"checkpoint: {path} is of another run ({'; '.join(listed[:4])}{more}); {cure}")


def fit(
    module: nn.Module,
    loss: Loss,
    data: InMemory,
    budget: Budget,
    *,
    generator: torch.Generator,
    checkpoint: str | os.PathLike | None = None,
    save_every: float = 15.0,
    seconds: float | None = None,
    extend: bool = False,
    label: str = "training",
    progress: bool = True,
) -> Tensor:
    """Train ``module`` in place and leave in it the moving average of its weights. Returns the loss history (steps,).

    Parameters that require no gradient are left alone, to the bit.

    loss: (module, batch, generator) -> (). generator: the only source of chance, on the CPU. checkpoint: a file written
    every ``save_every`` seconds and at the end; if it exists, the run goes on from it and ends with the same numbers as
    an uninterrupted one. The file knows its run by the ``fingerprint`` of budget, data, loss, generator and module.
    seconds: when this call has lasted that long (one update it always makes), it writes its checkpoint, if there is one, and
    ends as at the end of the budget, with the history so far; another call goes on from there.
    extend: a checkpoint whose budget has fewer steps, and is otherwise of this run, goes on to this budget; the rate rises
    to where the longer schedule has it, so that the end is not that of a fresh run of this length.
    Raises ``ValueError`` for a checkpoint of another run or one that another process is writing, or other data than an
    ``InMemory``, a module without a parameter to train, save_every or seconds <= 0; ``FloatingPointError``, and leaves the
    last good checkpoint, when a loss or a gradient is not finite.
    """
    given = f"a {type(data).__name__}"
    expect(isinstance(data, InMemory), "data", given, 'named columns in memory, such as InMemory({"image": images})')
    expect(save_every > 0, "save_every", save_every, "a number of seconds > 0")
    expect(seconds is None or seconds > 0, "seconds", seconds, "a number of seconds > 0, or None for no limit")
    began = saved = monotonic()
    run, over = Run(module, budget, generator), False
    with nullcontext() if checkpoint is None else locked(checkpoint, "checkpoint"):
        facts = {} if checkpoint is None else fingerprint(module, loss, data.tensors, budget, generator)
        if checkpoint is not None and FilePath(checkpoint).exists():
            run.load(checkpoint, facts, extend)
        module.train()
        with tqdm(total=budget.steps, initial=run.step, desc=label, disable=not progress, mininterval=0.5) as bar:
            while run.step < budget.steps and not over:
                chosen = torch.randint(len(data), (budget.batch,), generator=generator)
                batch = {k: v.to(run.device) if isinstance(v, Tensor) else v for k, v in data[chosen].items()}
                run.update(loss(module, batch, generator))
                now = monotonic()
                over = seconds is not None and now - began >= seconds
                due = over or run.step == budget.steps or (checkpoint is not None and now - saved >= save_every)
                if due or run.step % REPORT_EVERY == 0:
                    run.check()
                    recent = run.losses[max(run.step - REPORT_EVERY, 0) : run.step].mean().item()
                    bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
                    bar.update(run.step - bar.n)
                if due and checkpoint is not None:
                    run.save(checkpoint, facts)
                    saved = monotonic()
    with torch.no_grad():
        for name, p in run.parameters.items():
            p.copy_(run.average[name])
    module.eval()
    return run.losses[: run.step].cpu()
