"""Floor 6: the perceptron of points and the small training that the chapters repeat."""

import pytest
import torch

from tinyldm import VP, Condition, Denoiser, RectifiedFlow, seeded
from tinyldm.data import load
from tinyldm.experiments import points as experiment
from tinyldm.experiments import training
from tinyldm.nn import MLPConfig


@pytest.fixture
def points():
    return load("points", n=600).tensors["point"]


@pytest.mark.parametrize(("dims", "width", "blocks"), [(2, 64, 3), (1, 8, 1), (5, 14, 2)])
def test_a_point_net_gives_a_point_for_a_point(dims, width, blocks, build, rng):
    net = build(MLPConfig(dims, width, blocks))
    x, t = torch.randn(6, dims, generator=rng), torch.linspace(0, 1000, 6)
    y = net(x, t)
    assert (y.shape, y.dtype) == (x.shape, torch.float32)
    for i in range(6):  # each sample by itself, at its own time
        torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1]), y[i : i + 1], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(net(x, t[i])[i], y[i], rtol=1e-4, atol=1e-6)  # one time for all
    assert not torch.allclose(net(x, t.flip(0)), y)
    assert all(p.grad is None for p in net.parameters())
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_labels_matter_and_none_is_a_label_of_its_own(build, rng):
    net = build(MLPConfig(classes=3))
    x, t = torch.randn(4, 2, generator=rng), torch.full((4,), 500.0)
    label = torch.tensor([0, 1, 2, 3])  # 3: hidden
    y = net(x, t, Condition(label))
    for i in range(4):
        torch.testing.assert_close(net(x[i : i + 1], t[:1], Condition(label[i : i + 1]))[0], y[i], rtol=1e-4, atol=1e-6)
    same = net(x[:1].expand(4, 2), t, Condition(label))
    assert len({tuple(row.tolist()) for row in same.round(decimals=4)}) == 4
    for free in (net(x, t), net(x, t, Condition())):
        torch.testing.assert_close(free[3], y[3])
        assert not torch.allclose(free[0], y[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": 0}, "dims: expected at least 1"),
        ({"width": 7}, "width: expected an even number"),
        ({"width": -2}, "width: expected an even number"),
        ({"blocks": 0}, "blocks: expected at least 1"),
        ({"classes": -1}, "classes: expected 0"),
    ],
)
def test_impossible_sizes_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        MLPConfig(**options)


@pytest.mark.parametrize("width", [2, 4, 6, 10])
def test_every_width_that_is_accepted_works(width, build):
    """The sinusoids take half the width, in pairs: 2 is too narrow to have any, and may be refused."""
    try:
        config = MLPConfig(width=width, blocks=1)
    except ValueError:
        assert width == 2
    else:
        assert build(config)(torch.zeros(3, 2), torch.zeros(3)).shape == (3, 2)


@pytest.mark.parametrize("shape", [(3, 3), (3,), (3, 2, 1)], ids=str)
def test_points_of_another_dimension_are_refused(shape, build):
    with pytest.raises(ValueError, match=r"x: expected \(B, 2\)"):
        build(MLPConfig())(torch.zeros(shape), torch.zeros(3))


def test_a_config_survives_its_dictionary():
    config = MLPConfig(3, 32, 2, 5)
    assert MLPConfig.from_dict(config.as_dict()) == config


@pytest.mark.parametrize(("path", "row"), [(VP(), "eps"), (RectifiedFlow(), "flow")], ids=["VP", "RectifiedFlow"])
def test_a_denoiser_of_points_learns(path, row, points):
    """The loss falls well below that of a network that says nothing, E|target|^2 an entry: 1 for noise, 1 + E x0^2 for flow."""
    denoiser, history = experiment.points_denoiser(path, row, points, steps=120, seed=1)
    assert isinstance(denoiser, Denoiser)
    assert (denoiser.path, denoiser.parametrisation, history.shape) == (path, row, (120,))
    silent = 1.0 if row == "eps" else 1 + points.pow(2).mean().item()
    assert history[:5].mean() > 0.8 * silent
    assert history[-30:].mean() < 0.75 * silent


def test_the_same_seed_trains_the_same_network(points):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, losses = experiment.points_denoiser(VP(), "v", points, steps=5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn from the global generator
    torch.manual_seed(2)
    b, again = experiment.points_denoiser(VP(), "v", points, steps=5, seed=3)
    c, others = experiment.points_denoiser(VP(), "v", points, steps=5, seed=4)
    assert torch.equal(losses, again)
    assert not torch.equal(losses, others)
    weights = [torch.cat([p.flatten() for p in d.net.parameters()]) for d in (a, b, c)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_seed_also_decides_batches_times_and_noise(monkeypatch, points):
    seeds = []
    monkeypatch.setattr(training, "fit", lambda *_, generator, **__: seeds.append(generator.initial_seed()))
    for seed in (0, 9):
        experiment.points_denoiser(VP(), "v", points, steps=1, seed=seed)
    assert seeds == [0, 9]


def test_the_scale_decides_how_long(monkeypatch, points):
    monkeypatch.setenv("TINYLDM_SCALE", "ci")
    monkeypatch.setitem(experiment.POINTS, "ci", 7)
    assert len(experiment.points_denoiser(VP(), "x0", points)[1]) == 7
    denoiser, _ = experiment.points_denoiser(VP(), "x0", torch.randn(50, 5, generator=seeded(0)), steps=2)
    assert denoiser.net.config.dims == 5
