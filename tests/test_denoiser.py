"""Floor 3: network + path + row = prediction, and classifier-free guidance against products of densities."""

import math

import pytest
import torch
from oracles import ALL_PATHS, GaussianData, scalar, times
from torch.distributions import Normal

from tinyldm import PARAMETRISATIONS, VP, Condition, Denoiser, Dynamics, RectifiedFlow, guided, target


class Recorder(torch.nn.Module):
    """A network that remembers what it was asked and answers ``answer``."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.calls = answer, []

    def forward(self, x, t, cond):
        self.calls.append((x, t, cond))
        return self.answer


@pytest.mark.parametrize("row", PARAMETRISATIONS)
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_a_network_that_knows_its_target_predicts_data_and_noise(path, row, rng):
    t = times(path, 4)
    x0, eps = (torch.randn(4, 3, dtype=torch.float64, generator=rng) for _ in range(2))
    x = path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] * eps
    p = Denoiser(Recorder(target(row, path, x0, eps, t)), path, row)(x, t)
    torch.testing.assert_close(p.x0, x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.eps, eps, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [torch.tensor(0.25, dtype=torch.float64), torch.full((3,), 0.25, dtype=torch.float64), 0.25])
def test_the_network_sees_its_clock_once_a_sample_and_in_its_own_type(t):
    net = Recorder(torch.zeros(3, 2))
    Denoiser(net, VP(), "v")(torch.zeros(3, 2), t)
    _, clock, cond = net.calls[0]
    assert clock.dtype == torch.float32
    assert clock.tolist() == [250.0] * 3
    assert cond.label is None  # no condition given: an empty one


def test_output_is_the_network_s_own_number(rng):
    y = torch.randn(2, 3, generator=rng)
    assert Denoiser(Recorder(y), VP(), "eps").output(torch.zeros(2, 3), torch.tensor(0.5)) is y


def test_given_fixes_the_condition():
    net, cond = Recorder(torch.zeros(2, 3)), Condition(torch.tensor([1, 0]))
    denoiser = Denoiser(net, RectifiedFlow(), "flow")
    x, t = torch.ones(2, 3), torch.tensor(0.5)
    fixed, direct = denoiser.given(cond)(x, t), denoiser(x, t, cond)
    assert net.calls[0][2] is cond
    assert torch.equal(fixed.x0, direct.x0)
    assert torch.equal(fixed.eps, direct.eps)


def test_a_condition_of_one_sample_serves_any_batch(build, unet_config, rng):
    denoiser, x = Denoiser(build(unet_config), VP(), "v"), torch.randn(3, 2, 4, 4, generator=rng)
    t, one = torch.tensor(0.5), Condition([2])
    velocity = denoiser.dynamics(one).velocity
    for ask in (lambda x: denoiser.output(x, t, one), lambda x: denoiser(x, t, one).x0, lambda x: velocity(x, t)):
        torch.testing.assert_close(ask(x), torch.cat([ask(alone[None]) for alone in x]))
    assert not torch.allclose(denoiser.output(x, t, one), denoiser.output(x, t))
    with pytest.raises(ValueError, match="cond: expected one of 3, or of 1 for all, got a batch of 2"):
        denoiser(x, t, Condition([0, 1]))


def test_a_row_may_be_a_function_and_an_unknown_name_is_refused_at_once():
    rows = Denoiser(Recorder(torch.ones(1, 2)), VP(), lambda path, t: (torch.ones_like(t), torch.zeros_like(t)))
    assert rows(torch.zeros(1, 2), torch.tensor(0.5)).x0.tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match=r"parametrisation='velocity' is unknown"):
        Denoiser(Recorder(None), VP(), "velocity")


@pytest.mark.equation("cfg")
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 7.5])
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_guidance_is_the_score_of_a_tilted_density(path, scale, rng):
    """The guided score is the gradient of log p(x)^(1 - scale) p(x | c)^scale: at 1 the conditional, at 0 the other."""
    conditional, anything = GaussianData(1.2, 0.3), GaussianData(-0.4, 0.9)
    t = scalar(0.4)
    x = torch.randn(6, dtype=torch.float64, generator=rng).requires_grad_()
    tilted = (1 - scale) * anything.density(path, t).log_prob(x) + scale * conditional.density(path, t).log_prob(x)
    (expected,) = torch.autograd.grad(tilted.sum(), x)
    predict = guided(conditional.predict(path), anything.predict(path), scale)
    torch.testing.assert_close(Dynamics(path, predict).score(x.detach(), t), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("cfg")
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_guided_predictions_still_make_up_x(scale, rng):
    path, t = VP(), times(VP(), 5)
    x = torch.randn(5, dtype=torch.float64, generator=rng)
    p = guided(GaussianData(1.0, 0.5).predict(path), GaussianData(0.0, 1.5).predict(path), scale)(x, t)
    torch.testing.assert_close(path.alpha(t) * p.x0 + path.sigma(t) * p.eps, x)
    # for one more independent number: Ho and Salimans' (1 + w) eps_c - w eps_u with w = scale - 1
    w, on, off = (scale - 1, GaussianData(1.0, 0.5).predict(path)(x, t).eps, GaussianData(0.0, 1.5).predict(path)(x, t).eps)
    torch.testing.assert_close(p.eps, (1 + w) * on - w * off)


@pytest.mark.parametrize(("scale", "asked"), [(0.0, "off"), (1.0, "on")])
def test_guidance_does_not_compute_what_it_does_not_use(scale, asked):
    calls = []

    def answering(name):
        def predict(x, t):
            calls.append(name)
            return GaussianData().predict(VP())(x, t)

        return predict

    guided(answering("on"), answering("off"), scale)(torch.zeros(2), torch.tensor(0.5))
    assert calls == [asked]


@pytest.mark.parametrize("bad", [-0.5, math.nan])
def test_guidance_refuses_negative_scales(bad):
    with pytest.raises(ValueError, match="scale: expected a number >= 0"):
        guided(None, None, bad)


def test_guidance_sharpens_in_the_case_that_has_a_closed_form():
    """N(m, 1) against N(0, 1) on the same path: the tilted density is N(scale * m, 1), the mean moves, the width stays."""
    path, t = RectifiedFlow(), scalar(0.5)
    predict = guided(GaussianData(1.0, 1.0).predict(path), GaussianData(0.0, 1.0).predict(path), 3.0)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    mean, std = GaussianData(3.0, 1.0).moments(path, t)
    torch.testing.assert_close(Dynamics(path, predict).score(x, t), (mean - x) / std**2)
    assert Normal(mean, std).mean.item() == pytest.approx(1.5)
