"""Floor 1: the forward path against closed forms, quadrature and the moments of its own SDE."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ALL_PATHS, PATHS, scalar, times
from scipy.integrate import quad, solve_ivp

from tinyldm import VP, Path, RectifiedFlow

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
BETAS = [(0.1, 20.0), (0.5, 6.0), (2.0, 2.0)]


@pytest.mark.equation("vp-path")
@pytest.mark.parametrize(("low", "high"), BETAS)
@pytest.mark.parametrize("t", [1e-3, 0.1, 0.5, 1.0])
def test_vp_is_the_exponential_of_the_integrated_rate(low, high, t):
    integral, _ = quad(lambda u: low + u * (high - low), 0, t, epsabs=1e-14)
    path = VP(low, high)
    torch.testing.assert_close(path.alpha(scalar(t)), scalar(math.exp(-integral / 2)), **CLOSE)
    torch.testing.assert_close(path.sigma(scalar(t)), scalar(math.sqrt(1 - math.exp(-integral))), **CLOSE)


def test_vp_sigma_does_not_cancel_near_the_data():
    t = torch.tensor([1e-7, 1e-5, 1e-3])  # float32: 1 - alpha^2 would lose all its digits
    with mpmath.workdps(30):
        exact = [mpmath.sqrt(1 - mpmath.exp(-(mpmath.mpf("0.1") * u + mpmath.mpf("9.95") * u**2))) for u in t.tolist()]
    np.testing.assert_allclose(VP().sigma(t), np.array(exact, dtype=float), rtol=1e-6)


def test_rectified_flow_is_a_straight_line():
    t = times(RectifiedFlow(), 7)
    np.testing.assert_allclose(RectifiedFlow().alpha(t), 1 - t.numpy(), rtol=1e-15)
    np.testing.assert_allclose(RectifiedFlow().sigma(t), t.numpy(), rtol=1e-15)


def closed_forms(name, t):
    """Drift f and squared diffusion g^2 as the literature gives them."""
    if "VP" in name:
        path = PATHS[name]
        beta = path.beta_min + t * (path.beta_max - path.beta_min)
        return -beta / 2, beta
    if name == "RectifiedFlow":
        return -1 / (1 - t), 2 * t / (1 - t)
    return -math.pi / 2 * torch.tan(math.pi / 2 * t), math.pi * torch.tan(math.pi / 2 * t)


@pytest.mark.parametrize("name", PATHS)
def test_drift_and_diffusion_are_derived_from_alpha_and_sigma(name):
    path = PATHS[name]
    t = times(path, 20)
    f, g2 = closed_forms(name, t)
    torch.testing.assert_close(path.f(t), f, **CLOSE)
    torch.testing.assert_close(path.g2(t), g2, rtol=1e-9, atol=1e-10)


@pytest.mark.equation("marginal")
@pytest.mark.parametrize("name", PATHS)
def test_the_sde_has_the_mean_and_variance_of_the_marginal(name):
    """Solve the moments' ODEs m' = f m, v' = 2 f v + g^2 from x0: they must arrive at alpha x0 and sigma^2."""
    path, x0, start, end = PATHS[name], 1.3, 1e-6, 0.9

    def moments(t, y):
        f, g2 = (float(c) for c in closed_forms(name, scalar(t)))
        return [f * y[0], 2 * f * y[1] + g2]

    begin = [float(path.alpha(scalar(start))) * x0, float(path.sigma(scalar(start))) ** 2]
    mean, variance = solve_ivp(moments, (start, end), begin, rtol=1e-10, atol=1e-12).y[:, -1]
    x, t = torch.full((2, 1), x0, dtype=torch.float64), torch.full((2,), end, dtype=torch.float64)
    still, one = path.marginal(x, torch.zeros_like(x), t), path.marginal(x, torch.ones_like(x), t)
    np.testing.assert_allclose(still, mean, rtol=1e-6)
    np.testing.assert_allclose((one - still) ** 2, variance, rtol=1e-6)


@pytest.mark.equation("marginal")
def test_marginal_uses_each_sample_s_own_time(rng):
    path, t = VP(), torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    x0, eps = (torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=rng) for _ in range(2))
    alpha = np.exp(-(0.1 * t.numpy() + 19.9 * t.numpy() ** 2 / 2) / 2)
    for i in range(3):
        expected = alpha[i] * x0[i].numpy() + np.sqrt(1 - alpha[i] ** 2) * eps[i].numpy()
        np.testing.assert_allclose(path.marginal(x0, eps, t)[i], expected, rtol=1e-12, atol=1e-14)


def test_marginal_refuses_what_cannot_be_meant():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="eps: expected the shape of x0"):
        VP().marginal(x, torch.zeros(2, 1), torch.tensor(0.5))
    for bad in (-0.01, 1.01, math.nan):
        with pytest.raises(ValueError, match="t: expected values in"):
            VP().marginal(x, x, torch.tensor([0.5, bad]))
    with pytest.raises(ValueError, match="one value a sample"):
        VP().marginal(x, x, torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.equation("log-snr")
@pytest.mark.parametrize(("low", "high"), BETAS)
def test_log_snr_of_vp(low, high):
    t = times(VP(), 9)
    integral = low * t + (high - low) * t**2 / 2
    torch.testing.assert_close(VP(low, high).log_snr(t), -torch.log(torch.expm1(integral)), **CLOSE)


@pytest.mark.equation("log-snr")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_log_snr_is_a_log_ratio_of_powers(path):
    """The power of signal and noise, measured on x_t itself for data and noise of unit power."""
    t, one, none = times(path, 5), torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    signal, noise = path.marginal(one, none, t) ** 2, path.marginal(none, one, t) ** 2
    torch.testing.assert_close(path.log_snr(t), torch.log(signal / noise), **CLOSE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(PATHS)), u=st.floats(0, 1))
def test_time_is_recovered_from_lam(name, u):
    path = PATHS[name]
    t = scalar(path.t_min + u * (path.t_max - path.t_min))
    torch.testing.assert_close(path.t_of_lam(path.lam(t)), t, rtol=0, atol=1e-12)


def test_lam_falls_and_its_inverse_keeps_shape_and_type():
    for path in PATHS.values():
        lam = path.lam(times(path, 50))
        assert (lam.diff() < 0).all()
        back = path.t_of_lam(lam.float().reshape(5, 10))
        assert back.dtype == torch.float32
        torch.testing.assert_close(back.flatten().double(), times(path, 50), rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", **ALL_PATHS)
def test_derivatives_agree_with_differences(path):
    t, h = times(path, 9), 1e-6
    for function, slope in ((path.alpha, path.d_alpha(t)), (path.sigma, path.d_sigma(t))):
        torch.testing.assert_close(slope, (function(t + h) - function(t - h)) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_derivatives_work_in_every_autograd_mode(mode):
    with mode():
        t = torch.linspace(0.1, 0.9, 3)
        torch.testing.assert_close(RectifiedFlow().d_alpha(t), torch.full((3,), -1.0))
        torch.testing.assert_close(RectifiedFlow().d_sigma(torch.tensor(0.5)), torch.tensor(1.0))
        assert not t.requires_grad


def test_a_path_whose_signal_does_not_fade_is_a_path():
    """Variance exploding: alpha is constant, so f = 0 and g^2 = d(sigma^2)/dt = 2t."""

    class Exploding(Path):
        def alpha(self, t):
            return torch.ones_like(t)

        def sigma(self, t):
            return 1 * t

    t = torch.tensor([0.2, 0.5])
    torch.testing.assert_close(Exploding().f(t), torch.zeros(2))
    torch.testing.assert_close(Exploding().g2(t), 2 * t)


def test_types_and_shapes_are_kept():
    for path in PATHS.values():
        for t in (torch.tensor(0.5), torch.tensor([0.2, 0.5], dtype=torch.float64)):
            for name in ("alpha", "sigma", "d_alpha", "d_sigma", "lam", "f", "g2", "clock"):
                value = getattr(path, name)(t)
                assert (value.dtype, value.shape) == (t.dtype, t.shape), name


def test_the_network_s_clock_runs_from_0_to_1000():
    torch.testing.assert_close(VP().clock(torch.tensor([0.0, 0.25, 1.0])), torch.tensor([0.0, 250.0, 1000.0]))


@pytest.mark.parametrize("betas", [(0.0, 20.0), (-1.0, 20.0), (5.0, 1.0), (math.nan, 1.0)])
def test_vp_refuses_impossible_rates(betas):
    with pytest.raises(ValueError, match="beta_min, beta_max"):
        VP(*betas)


def test_the_base_class_asks_for_alpha_and_sigma():
    for name in ("alpha", "sigma"):
        with pytest.raises(NotImplementedError):
            getattr(Path(), name)(torch.tensor(0.5))
