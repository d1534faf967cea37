"""Floor 5: what makes a run this run: its budget, data, loss, chance and module, and nothing else."""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import pytest
import runs
import torch
from runs import BUDGET, frozen, net, one_changed, plain, points, run, squares, swapped, weighed
from torch import nn

from tinyldm import VP, CosineVP, DiscreteVP, seeded
from tinyldm.data import InMemory
from tinyldm.experiments import denoise_loss, reconstruct_loss
from tinyldm.experiments.photos import Objective, compression_loss
from tinyldm.fingerprint import differences, fingerprint

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
    monkeypatch.setattr(runs, "WEIGHT", 3.0)
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


def test_a_fingerprint_is_quick():
    """Sixty million numbers, as many as in all of MNIST at 32x32, in a few seconds."""
    columns = {"image": torch.zeros(15_000, 1, 32, 32)}
    start = time.perf_counter()
    fingerprint(plain(), squares(), columns, BUDGET, seeded(0))
    assert time.perf_counter() - start < 10
