"""Floor 5: a checkpoint knows its run, refuses every other, is never spoilt, and belongs to one process at a time."""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from tinyldm import VP, CosineVP, DiscreteVP, seeded, train
from tinyldm.data import InMemory
from tinyldm.experiments import denoise_loss, reconstruct_loss
from tinyldm.experiments.photos import Objective, compression_loss
from tinyldm.files import locked, read_safetensors
from tinyldm.fingerprint import differences, fingerprint
from tinyldm.nn import MLPConfig
from tinyldm.train import Budget, Run, fit

BUDGET = Budget(steps=12, batch=4, lr=1e-2, warmup=3)
WEIGHT = 1.0  # read by a loss


def points(n=30, seed=0):
    x = torch.randn(n, 2, generator=seeded(seed))
    return InMemory({"latent": x, "label": (x[:, 0] > 0).long(), "name": [f"p{k}" for k in range(n)]})


def net(seed=0):
    return MLPConfig(width=4, blocks=1, classes=2).seeded(seed)


def squares(weight=1.0):
    def loss(module, batch, generator):
        noise = torch.randn(batch["latent"].shape, generator=generator)
        return weight * ((module(batch["latent"]) - noise) ** 2).mean()

    return loss


def weighed(module, batch, generator):
    return WEIGHT * squares()(module, batch, generator)


def plain(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))


def frozen(seed, of):
    module = plain(seed)
    module[0].requires_grad_(False).load_state_dict(plain(of)[0].state_dict())
    return module


def run(module=None, loss=None, data=None, budget=BUDGET, seed=0, **options):
    module = plain() if module is None else module
    loss, data = loss or squares(), data or points()
    return fit(module, loss, data, budget, generator=seeded(seed), progress=False, **options)


def advanced(seed):
    generator = seeded(seed)
    torch.randn(1, generator=generator)
    return generator


def swapped():
    data = points()
    data.tensors["label"] = data.tensors["label"].roll(1)
    return data


def one_changed():
    data = points(1000)
    data.tensors["latent"][500] += 0.5
    return data


OTHERS = [
    ({}, {"data": points(31)}, r"data\.latent was float32 \(30, 2\), is float32 \(31, 2\)"),
    ({}, {"data": points(seed=1)}, r"data\.latent\.values differ"),
    ({"data": points(1000)}, {"data": one_changed()}, r"data\.latent\.values differ"),
    ({}, {"data": swapped()}, r"\(data\.label\.values was"),
    ({}, {"data": InMemory({"latent": points().tensors["latent"]})}, r"data\.label was .*, is absent"),
    ({}, {"loss": squares(2.0)}, r"loss\.weight was 1\.0, is 2\.0"),
    ({}, {"loss": weighed}, r"loss was squares\.<locals>\.loss .*, is weighed "),
    ({}, {"loss": partial(squares())}, r"loss was squares.*, is partial"),
    ({}, {"seed": 1}, r"generator\.seed was 0, is 1"),
    ({"module": frozen(0, 0)}, {"module": frozen(0, 1)}, r"\(frozen\.0\.weight\.values differ; frozen\.0\.bias"),
    ({}, {"module": frozen(0, 0)}, r"another configuration; 2 tensors differ"),
    ({}, {"module": nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))}, r"module\.layers"),
    ({}, {"budget": replace(BUDGET, steps=11)}, r"\(budget\.steps was 12, is 11\); name another file"),
]


@pytest.mark.parametrize(("first", "other", "said"), OTHERS)
def test_a_checkpoint_of_another_run_is_refused(first, other, said, tmp_path):
    path = tmp_path / "c"
    run(**{name: value for name, value in first.items() if name != "module"}, checkpoint=path)
    if "module" in first:
        path.unlink()
        run(**first, checkpoint=path)
    content = path.read_bytes()
    module = other.get("module") or plain(5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=said) as refused:
        run(**{**first, **other, "module": module}, checkpoint=path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert path.read_bytes() == content
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_number_that_the_loss_reads_by_a_global_name_counts(tmp_path, monkeypatch):
    run(loss=weighed, checkpoint=tmp_path / "c")
    monkeypatch.setitem(globals(), "WEIGHT", 3.0)
    with pytest.raises(ValueError, match=r"loss\.WEIGHT was 1\.0, is 3\.0"):
        run(loss=weighed, checkpoint=tmp_path / "c")


def test_the_configuration_counts_where_no_shape_tells(tmp_path):
    """The number of heads leaves every weight's shape as it is."""
    from tinyldm.nn import UNetConfig

    config = UNetConfig(in_channels=1, channels=(8,), attention=(True,), heads=2, groups=4, classes=0)
    facts = [fingerprint(replace(config, heads=heads).seeded(0), squares(), {}, BUDGET, seeded(0)) for heads in (1, 2)]
    assert differences(*facts)["module.config.whole.heads"] == "was 1, is 2"


@dataclass(frozen=True)
class Objected:
    weight: float

    def loss(self, module, batch, generator):
        return self.weight * squares()(module, batch, generator)


LOSSES = [
    (lambda: denoise_loss(VP(), "v"), lambda: denoise_loss(VP(beta_max=18.0), "v"), "loss.path.beta_max"),
    (lambda: denoise_loss(VP(), "v"), lambda: denoise_loss(CosineVP(), "v"), "loss.path"),
    (lambda: denoise_loss(VP(), "v"), lambda: denoise_loss(VP(), "eps"), "loss.parametrisation"),
    (lambda: denoise_loss(VP(), "v"), lambda: denoise_loss(VP(), "v", 0.2), "loss.label_dropout"),
    (
        lambda: denoise_loss(DiscreteVP.from_betas(), "v"),
        lambda: denoise_loss(DiscreteVP.from_betas(beta_end=0.03), "v"),
        "loss.path.alphas_cumprod.values",
    ),
    (lambda: reconstruct_loss(1e-4), lambda: reconstruct_loss(1e-3), "loss.kl_weight"),
    (lambda: compression_loss(Objective()), lambda: compression_loss(Objective(kl_weight=1e-3)), "loss.objective.kl_weight"),
    (lambda: Objected(1.0).loss, lambda: Objected(2.0).loss, "loss.self.weight"),
    (lambda: partial(weighed, scale=1), lambda: partial(weighed, scale=2), "loss.scale"),
    (lambda: partial(weighed, net()), lambda: partial(weighed, net(1)), "loss.given.0."),
]


@pytest.mark.parametrize(("make", "other", "name"), LOSSES)
def test_a_loss_is_what_it_is_made_of(make, other, name):
    def facts(loss):
        return fingerprint(plain(), loss, points().tensors, BUDGET, seeded(0))

    assert not differences(facts(make()), facts(make()))
    changed = differences(facts(make()), facts(other()))
    assert all(key.startswith("loss") for key in changed)
    assert any(key.startswith(name) for key in changed)


def test_a_loss_whose_code_was_changed_is_another():
    def made(code):
        space = {}
        exec(f"def loss(module, batch, generator):\n    return {code}", space)
        return fingerprint(plain(), space["loss"], {}, BUDGET, seeded(0))

    assert not differences(made("2.0 * module.a"), made("2.0 * module.a  # twice"))
    for other in ("3.0 * module.a", "2.0 + module.a", "2.0 * module.b"):
        assert list(differences(made("2.0 * module.a"), made(other))) == ["loss"]


def test_the_module_in_training_may_be_closed_over():
    def facts(module):
        return fingerprint(module, lambda m, batch, generator: module(batch).mean(), {}, BUDGET, seeded(0))

    assert not differences(facts(plain(0)), facts(plain(1)))


PROGRAM = """
import json, sys, torch
from tinyldm import DiscreteVP, seeded
from tinyldm.experiments import denoise_loss
from tinyldm.fingerprint import fingerprint
from tinyldm.nn import MLPConfig
from tinyldm.train import Budget
def loss(module, batch, generator, kinds={"a", "b", "c"}):
    return inner(module) if batch["k"] in {"x", "y", "z"} else None
inner = denoise_loss(DiscreteVP.from_betas(), "v")
module = MLPConfig().seeded(int(sys.argv[1]))
print(json.dumps(fingerprint(module, loss, {"x": torch.arange(6.0)}, Budget(3, 1, 0.1), seeded(0))))
"""  # two sets of texts, whose order is another in each process


def test_another_process_finds_the_same_fingerprint():
    found = [
        subprocess.run([sys.executable, "-c", PROGRAM, seed], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    one, two = (json.loads(done.stdout) for done in found)
    assert one == two
    assert "loss.inner.path.alphas_cumprod.values" in one


def test_data_that_were_computed_again_are_the_same(tmp_path):
    """Another number of threads, or another device, moves the last digit of a latent."""
    run(checkpoint=tmp_path / "c")
    again = points()
    again.tensors["latent"] *= 1 + 1e-6 * torch.randn(30, 2, generator=seeded(1))
    run(data=again, checkpoint=tmp_path / "c")


def test_values_that_are_no_numbers_can_be_compared():
    columns = {"x": torch.tensor([math.nan, 1.0]), "c": torch.tensor([1 + 2j]), "e": torch.zeros(0, 3)}
    facts = [fingerprint(plain(), squares(), columns, BUDGET, seeded(0)) for _ in range(2)]
    assert not differences(*facts)


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


def test_a_fingerprint_is_quick():
    """Sixty million numbers, as many as in all of MNIST at 32x32, in a few seconds."""
    columns = {"image": torch.zeros(15_000, 1, 32, 32)}
    start = time.perf_counter()
    fingerprint(plain(), squares(), columns, BUDGET, seeded(0))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("part", ["adam.exp_avg.0.weight", "weight.0.weight", "generator", "losses"])
def test_a_checkpoint_in_which_something_is_missing_is_refused(part, tmp_path):
    path = tmp_path / "c"
    run(checkpoint=path)
    tensors, notes = read_safetensors(path)
    save_file({name: tensor for name, tensor in tensors.items() if name != part}, path, notes)
    with pytest.raises(ValueError, match="checkpoint"):
        run(checkpoint=path)
