"""Floor 5: a killed run goes on as if nothing had happened; the average, the learning rate and the refusals."""

import math
import os
from contextlib import contextmanager, suppress
from itertools import count, pairwise

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tinyldm import VP, Condition, Denoiser, seeded, train
from tinyldm.data import InMemory
from tinyldm.files import read_safetensors
from tinyldm.losses import denoising_loss, stratified_times
from tinyldm.nn import UNetConfig
from tinyldm.train import Budget, Run, fit

BUDGET = Budget(steps=20, batch=4, lr=1e-2, warmup=5)


def mlp(seed, width=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, 1))


def noisy_regression(module, batch, generator):
    """Uses the generator, so that a run is only reproducible if its state is too."""
    x = batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)
    return ((module(x)[:, 0] - batch["y"]) ** 2).mean()


def unet(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNetConfig(in_channels=1, channels=(8, 8), attention=(False, True), heads=2, groups=4, classes=2).build()


def denoising(module, batch, generator):
    x0 = batch["x"].reshape(-1, 1, 1, 2).tile(1, 1, 2, 1)
    t, eps = stratified_times(VP(), len(x0), generator), torch.randn(x0.shape, generator=generator)
    return denoising_loss(Denoiser(module, VP(), "v"), x0, eps, t, Condition((batch["y"] > 0).long())).mean()


@pytest.fixture
def points(rng):
    x = torch.randn(50, 2, generator=rng)
    return InMemory({"x": x, "y": x[:, 0] * x[:, 1]})


def run(module, points, loss=noisy_regression, seed=0, budget=BUDGET, **options):
    return fit(module, loss, points, budget, generator=seeded(seed), progress=False, **options)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A second an update, so that ``save_every`` counts updates."""
    monkeypatch.setattr(train, "monotonic", count().__next__)


class KilledError(Exception):
    pass


@contextmanager
def killed_at(step):
    """Every run in here is killed in the middle of this step."""
    update = Run.update

    def dying(run, loss):
        if run.step == step:
            raise KilledError
        update(run, loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "update", dying)
        with suppress(KilledError):
            yield
            pytest.fail("the run was not killed")


@pytest.mark.parametrize("death", [5, 8, 19], ids=["just after a save", "between two saves", "in the last step"])
@pytest.mark.parametrize(("make", "loss"), [(mlp, noisy_regression), (unet, denoising)], ids=["mlp", "unet"])
def test_a_killed_run_goes_on_bit_for_bit(make, loss, death, points, tmp_path):
    whole, resumed = make(0), make(1)  # the second one's own weights must not matter
    history = run(whole, points, loss, checkpoint=tmp_path / "whole", save_every=5)
    with killed_at(death):
        run(make(0), points, loss, checkpoint=tmp_path / "cut", save_every=5)
    again = run(resumed, points, loss, checkpoint=tmp_path / "cut", save_every=5)
    assert torch.equal(again, history)
    for name, p in whole.named_parameters():
        assert torch.equal(p, dict(resumed.named_parameters())[name]), name
    (a, notes_a), (b, notes_b) = read_safetensors(tmp_path / "whole"), read_safetensors(tmp_path / "cut")
    assert notes_a == notes_b
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)  # optimiser, average and generator too


@pytest.mark.parametrize("module", ["a frozen part", "running statistics"])
def test_modules_with_more_than_trained_weights_resume_too(module, points, tmp_path):
    def make(seed):
        net = mlp(seed)
        if module == "a frozen part":
            net[0].requires_grad_(False)
            net[0].load_state_dict(mlp(0)[0].state_dict())
            return net
        return nn.Sequential(nn.BatchNorm1d(2), net)

    whole, resumed = make(0), make(1)
    run(whole, points)
    with killed_at(12):
        run(make(0), points, checkpoint=tmp_path / "cut", save_every=5)
    run(resumed, points, checkpoint=tmp_path / "cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_finished_run_is_not_run_again(points, tmp_path):
    module = mlp(0)
    history = run(module, points, checkpoint=tmp_path / "c")
    other = mlp(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "update", None)
        assert torch.equal(run(other, points, checkpoint=tmp_path / "c"), history)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), other.parameters()))


def test_training_trains_and_records_every_loss(points):
    seen = []

    def loss(module, batch, generator):
        assert module.training
        assert len(batch["x"]) == 4
        seen.append(noisy_regression(module, batch, generator))
        return seen[-1]

    module = mlp(0).eval()
    history = run(module, points, loss, budget=Budget(steps=300, batch=4, lr=3e-2))
    assert history.tolist() == [v.item() for v in seen]
    assert history[-50:].mean() < history[:50].mean() / 2
    assert not module.training


@pytest.mark.equation("ema")
def test_the_average_is_the_one_computed_by_hand(points):
    """average <- d average + (1 - d) weights with d = min(ema, (1 + k) / (10 + k)) after update k = 0, 1, ..."""
    module = mlp(0)
    state = Run(module, Budget(steps=40, batch=4, lr=1e-2, ema=0.6), seeded(0))
    expected = {name: p.detach().double().clone() for name, p in module.named_parameters()}
    for k in range(40):
        state.update(noisy_regression(module, points[torch.arange(4)], seeded(k)))
        d = min(0.6, (2 + k) / (11 + k))  # LitEma counts the update first: (1 + n) / (10 + n) with n = k + 1
        for name, p in module.named_parameters():
            expected[name] = d * expected[name] + (1 - d) * p.detach().double()
            torch.testing.assert_close(state.average[name].double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(torch.allclose(state.average[name], p) for name, p in module.named_parameters())


def test_frozen_parameters_are_left_alone_to_the_bit(points):
    module = mlp(0)
    module[0].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    run(module, points)
    for name, p in module.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("0.")
    with pytest.raises(ValueError, match="module: expected something to train"):
        run(module.requires_grad_(False), points)


def test_what_is_left_in_the_module_is_the_average(points, tmp_path):
    module = mlp(0)
    run(module, points, checkpoint=tmp_path / "c")
    tensors, _ = read_safetensors(tmp_path / "c")
    for name, p in module.named_parameters():
        assert torch.equal(p, tensors[f"average.{name}"])
        assert not torch.equal(p, tensors[f"weight.{name}"])


@pytest.mark.parametrize(("steps", "warmup"), [(160, 50), (450, 50), (1000, 1), (100, 0)])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps, warmup):
    """As ``Budget`` says: ``lr`` is the peak, reached after ``warmup`` steps, then half a cosine down to zero."""
    rates = [Budget(steps, 1, 0.2, warmup=warmup).rate(k) for k in range(steps)]
    top = max(range(steps), key=rates.__getitem__)
    assert rates[top] == pytest.approx(0.2, rel=1e-6)
    assert abs(top - warmup) <= 1
    assert all(a < b for a, b in pairwise(rates[:top]))
    assert all(a >= b > 0 for a, b in pairwise(rates[top:]))
    half = top + (steps - top) // 2
    assert rates[half] == pytest.approx(0.1, rel=0.1)  # a cosine is at half its height half way down
    assert rates[-1] < 0.002


def test_the_first_update_is_adam_s():
    """Adam's first step is the rate times the sign of the gradient, whatever its size; AdamW also shrinks the weight."""
    module = nn.Linear(3, 1, bias=False)
    before = module.weight.detach().clone()
    budget = Budget(steps=1000, batch=1, lr=1e-2, warmup=10, weight_decay=0.5)
    Run(module, budget, seeded(0)).update((module.weight * torch.tensor([[1.0, -7.0, 300.0]])).sum())
    expected = before * (1 - 1e-3 * 0.5) - 1e-3 * torch.tensor([[1.0, -1.0, 1.0]])  # a tenth of lr: step 1 of 10
    torch.testing.assert_close(module.weight.detach(), expected, rtol=0, atol=1e-7)


def test_gradients_are_clipped_together(points):
    module = nn.Linear(3, 1, bias=False)
    run_ = Run(module, BUDGET, seeded(0))
    run_.update((module.weight * torch.tensor([[3.0, 4.0, 0.0]])).sum() * 100)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8, 0.0]]), rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(points):
    with pytest.raises(FloatingPointError, match=r"loss is not finite.*lr=0\.01"):
        run(mlp(0), points, lambda module, batch, generator: noisy_regression(module, batch, generator) * math.nan)


def test_a_run_that_diverged_does_not_overwrite_its_last_good_checkpoint(points, tmp_path):
    calls = [0]

    def loss(module, batch, generator):
        calls[0] += 1
        return noisy_regression(module, batch, generator) * (math.nan if calls[0] > 7 else 1.0)

    with pytest.raises(FloatingPointError):
        run(mlp(0), points, loss, checkpoint=tmp_path / "c", save_every=5)
    tensors, _ = read_safetensors(tmp_path / "c")
    assert all(torch.isfinite(t.double()).all() for t in tensors.values())


def test_a_crash_while_a_checkpoint_is_written_leaves_the_last_one(points, tmp_path, monkeypatch):
    history = run(mlp(0), points)
    writes = [0]

    def dying(tensors, path, notes):
        save_file(tensors, path, notes)
        writes[0] += 1
        if writes[0] == 3:
            os.truncate(path, 100)
            raise KilledError

    monkeypatch.setattr(train, "save_file", dying)
    with pytest.raises(KilledError):
        run(mlp(0), points, checkpoint=tmp_path / "c", save_every=5)
    assert read_safetensors(tmp_path / "c")[1]["step"] == "10"
    assert torch.equal(run(mlp(1), points, checkpoint=tmp_path / "c"), history)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 2e-2}, r"budget\.lr was 0\.01, is 0\.02"),
        ({"steps": 30}, "budget.steps was 20, is 30.*extend=True goes on"),
        ({"ema": 0.9}, "ema"),
    ],
)
def test_a_checkpoint_of_another_budget_is_refused(change, said, points, tmp_path):
    run(mlp(0), points, checkpoint=tmp_path / "c")
    module = mlp(1)
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(ValueError, match=f"another run.*{said}"):
        run(
            module,
            points,
            budget=Budget(**{"steps": 20, "batch": 4, "lr": 1e-2, "warmup": 5} | change),
            checkpoint=tmp_path / "c",
        )
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before))


def test_a_checkpoint_of_another_configuration_is_refused(points, tmp_path):
    run(mlp(0), points, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match=r"another configuration; 3 tensors differ.*\(3,\) in the file, \(4,\) in the module"):
        run(mlp(0, width=4), points, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match=r"another configuration.*absent in the module"):
        run(nn.Sequential(nn.Linear(2, 3), nn.SiLU()), points, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(share, points, tmp_path):
    path = tmp_path / "c"
    run(mlp(0), points, checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        run(mlp(0), points, checkpoint=path)


def test_a_model_is_not_a_checkpoint(points, model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"checkpoint: expected a file that fit\(\) wrote"):
        run(mlp(0), points, checkpoint=tmp_path / "model" / "model.safetensors")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"lr": 0.0}, {"lr": math.nan}, {"ema": 1.0}, {"ema": -0.1}])
def test_impossible_budgets_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: expected"):
        Budget(**{"steps": 10, "batch": 2, "lr": 0.1} | wrong)
