"""Floor 5: a checkpoint knows its run, refuses every other, is never spoilt, and belongs to one process at a time."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
import torch
from runs import BUDGET, plain, points, run, squares
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from tinyldm import seeded, train
from tinyldm.data import InMemory
from tinyldm.files import locked, read_safetensors
from tinyldm.train import Budget, Run, fit

# ---- a larger budget


def test_a_finished_run_goes_on_to_a_larger_budget(tmp_path):
    path, longer = tmp_path / "c", replace(BUDGET, steps=20)
    first = run(checkpoint=path)
    module = plain(1)
    history = run(module, budget=longer, checkpoint=path, extend=True)
    assert torch.equal(history[:12], first)
    assert (history[12:] > 0).all()
    tensors, notes = read_safetensors(path)
    assert notes["step"] == "20"
    assert torch.equal(module[0].weight, tensors["average.0.weight"])
    again = plain(2)  # it is now a run of the larger budget like any other
    assert torch.equal(run(again, budget=longer, checkpoint=path), history)
    assert torch.equal(again[0].weight, module[0].weight)
    with pytest.raises(ValueError, match=r"loss\.weight was 1\.0, is 2\.0"):
        run(loss=squares(2.0), budget=replace(BUDGET, steps=30), checkpoint=path, extend=True)
    with pytest.raises(ValueError, match=r"budget\.steps was 20, is 12"):
        run(checkpoint=path, extend=True)


def ticking(monkeypatch, start=0):
    """A clock by which every update takes a second."""
    monkeypatch.setattr(train, "monotonic", count(start).__next__)


def test_a_run_of_limited_time_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole, path = plain(0), tmp_path / "c"
    history = run(whole, checkpoint=tmp_path / "whole")
    for call, steps in enumerate((5, 10, 12), start=1):  # each call has five seconds of its own, on a clock that goes on
        ticking(monkeypatch, 1000 * call)
        module = plain(call - 1)  # of a later call's own weights nothing is left
        assert torch.equal(run(module, checkpoint=path, seconds=5), history[:steps])
        tensors, notes = read_safetensors(path)
        assert notes["step"] == str(steps)
        assert torch.equal(module[0].weight, tensors["average.0.weight"])
        assert not torch.equal(module[0].weight, tensors["weight.0.weight"])
        assert not module.training
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in module.state_dict().items())
    (a, _), (b, _) = read_safetensors(tmp_path / "whole"), read_safetensors(path)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    monkeypatch.setattr(Run, "update", None)  # nothing is left to do
    assert torch.equal(run(plain(9), checkpoint=path, seconds=5), history)


def test_any_time_at_all_is_enough_for_an_update():
    history = run(whole := plain())
    assert torch.equal(run(module := plain(), seconds=1e-9), history[:1])  # without a checkpoint, too
    assert not torch.equal(module[0].weight, whole[0].weight)
    assert not module.training


def test_time_that_suffices_changes_nothing(monkeypatch):
    ticking(monkeypatch)
    assert torch.equal(run(one := plain(), seconds=12), run(two := plain()))
    assert torch.equal(one[0].weight, two[0].weight)


def test_a_run_of_limited_time_may_go_on_to_a_larger_budget(tmp_path, monkeypatch):
    """Stopped after five of 12 updates, finished at 20, then again at 22, on the schedule of each."""
    ticking(monkeypatch)
    longer = replace(BUDGET, steps=20)
    first = run(checkpoint=tmp_path / "c", seconds=5)
    history = run(plain(1), budget=longer, checkpoint=tmp_path / "c", extend=True)
    assert (len(first), len(history)) == (5, 20)
    assert torch.equal(history[:5], first)
    rates = []
    monkeypatch.setattr(Budget, "rate", lambda budget, step: rates.append((budget.steps, step)) or 1e-3)
    run(plain(2), budget=replace(BUDGET, steps=22), checkpoint=tmp_path / "c", extend=True)
    assert rates == [(22, 20), (22, 21)]  # the two that were added, on the longer schedule


# ---- what may go wrong


class HalfBlind(torch.autograd.Function):
    """Its value is finite, its slope is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * math.nan


@pytest.mark.parametrize("death", [6, 12], ids=["at a save", "in the last step"])
def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(death, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "monotonic", count().__next__)
    calls = count(1)

    def loss(module, batch, generator):
        value = squares()(module, batch, generator)
        return HalfBlind.apply(value) if next(calls) == death else value

    module = plain()
    with pytest.raises(FloatingPointError, match=r"the gradient is not finite at step \d+: lower lr=0.01"):
        run(module, loss, checkpoint=tmp_path / "c", save_every=3)
    assert all(torch.isfinite(p).all() for p in module.parameters())
    tensors, notes = read_safetensors(tmp_path / "c")
    assert notes["step"] == ("3" if death == 6 else "9")
    assert all(torch.isfinite(t.double()).all() for t in tensors.values())


def test_a_device_that_is_not_waited_for_is_looked_at_before_a_save(tmp_path, monkeypatch):
    """On an accelerator no step waits for a number: the look before a checkpoint finds what was wrong until then."""
    monkeypatch.setattr(train, "monotonic", count().__next__)
    run_ = Run(plain(), BUDGET, seeded(0))
    run_.device = torch.device("cuda")  # so it believes
    loss = squares()(run_.module, points()[:4], seeded(0))
    run_.update(HalfBlind.apply(loss))
    run_.update(squares()(run_.module, points()[:4], seeded(0)).detach().requires_grad_())
    with pytest.raises(FloatingPointError, match=r"the (loss|gradient) is not finite at step 2"):
        run_.check()


def test_another_memory_format_is_saved_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "monotonic", count().__next__)
    pictures = InMemory({"image": torch.rand(8, 3, 4, 4, generator=seeded(0))})

    def make(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Conv2d(3, 3, 3, padding=1).to(memory_format=torch.channels_last)

    def loss(module, batch, generator):
        return ((module(batch["image"]) - batch["image"]) ** 2).mean()

    def cut(run, loss_):
        if run.step == 7:
            raise KeyboardInterrupt
        update(run, loss_)

    update, whole, resumed = Run.update, make(0), make(1)
    history = run(whole, loss, pictures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            run(make(0), loss, pictures, checkpoint=tmp_path / "c", save_every=3)
    assert torch.equal(run(resumed, loss, pictures, checkpoint=tmp_path / "c"), history)
    assert torch.equal(whole.weight, resumed.weight)
    assert resumed.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_average_of_half_precision_weights_is_kept_in_full():
    """With decay 0.99 an average in bfloat16, of 8 bits, would not move."""
    module = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    module.weight.data.fill_(1.0)
    run_ = Run(module, replace(BUDGET, steps=1000, lr=1e-9, ema=0.999), seeded(0))
    run_.step = 900
    run_.average["weight"].fill_(1.001)
    run_.update(module(torch.ones(1, 1, dtype=torch.bfloat16)).float().sum())
    moved = 1.001 - run_.average["weight"].item()
    assert moved == pytest.approx(0.001 * (1 - 902 / 911), rel=1e-2)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan])
def test_a_time_between_saves_is_above_nothing(wrong):
    with pytest.raises(ValueError, match="save_every: expected a number of seconds > 0"):
        run(save_every=wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan])
def test_a_limit_is_above_nothing(wrong):
    with pytest.raises(ValueError, match="seconds: expected a number of seconds > 0, or None for no limit"):
        run(seconds=wrong)


def test_saves_go_by_the_clock(tmp_path, monkeypatch):
    """Four seconds an update, a save each ten: after updates 3, 6, 9 and at the end."""
    ticks = count()
    monkeypatch.setattr(train, "monotonic", lambda: 4.0 * steps[0])
    steps, saved = [0], []

    def update(run, loss):
        next(ticks)
        steps[0] += 1
        original(run, loss)

    original = Run.update
    monkeypatch.setattr(Run, "update", update)
    monkeypatch.setattr(Run, "save", lambda run, path, facts: saved.append(run.step))
    run(budget=replace(BUDGET, steps=10), checkpoint=tmp_path / "c", save_every=10)
    assert saved == [3, 6, 9, 10]


@pytest.mark.parametrize("data", [TensorDataset(torch.zeros(3, 2)), [{"x": 1}], torch.zeros(3, 2), {"latent": torch.zeros(3, 2)}])
def test_other_data_sets_are_refused_with_the_cure(data):
    with pytest.raises(ValueError, match=r'data: expected .*InMemory\(\{"image": images\}\), got a \w+'):
        fit(plain(), squares(), data, BUDGET, generator=seeded(0), progress=False)


# ---- one process at a time


HOLDER = """
import sys, time
from tinyldm.files import locked
with locked(sys.argv[1], "checkpoint"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_checkpoint_that_another_process_writes_is_refused(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "c"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=rf"checkpoint: .*c is being written by process {other.pid};"):
            run(checkpoint=path)
        other.kill()
    (tmp_path / ".c.abc123").write_text("half a checkpoint")  # what a killed process may leave
    (tmp_path / ".cd.abc123").write_text("another file's")
    run(checkpoint=path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".cd.abc123", "c"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_two_runs_in_one_process_do_not_share_a_file(tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path / "c", "checkpoint"), pytest.raises(ValueError, match="is being written by process"):
        run(checkpoint=tmp_path / "c")
    run(checkpoint=tmp_path / "c")


def test_where_nothing_can_be_written_nothing_is_trained(tmp_path):
    def loss(module, batch, generator):
        pytest.fail("it trains")

    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"checkpoint: nothing can be written in .*file"):
        run(loss=loss, checkpoint=tmp_path / "file" / "c")
    with pytest.raises(ValueError, match=r"checkpoint: expected the name of a file, got .*, a folder"):
        run(loss=loss, checkpoint=tmp_path)


@pytest.mark.parametrize("part", ["adam.exp_avg.0.weight", "weight.0.weight", "generator", "losses"])
def test_a_checkpoint_in_which_something_is_missing_is_refused(part, tmp_path):
    path = tmp_path / "c"
    run(checkpoint=path)
    tensors, notes = read_safetensors(path)
    save_file({name: tensor for name, tensor in tensors.items() if name != part}, path, notes)
    with pytest.raises(ValueError, match="checkpoint"):
        run(checkpoint=path)
