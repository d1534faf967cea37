"""Floor 4: the times of a training: their distributions, integrals of known functions, diffusers' shift."""

import math

import numpy as np
import pytest
import torch
from oracles import times
from scipy import stats
from scipy.integrate import quad

from tinyldm import VE, VP, CosineVP, DiscreteVP, RectifiedFlow, SubVP, seeded
from tinyldm.losses import importance_times, logit_normal_times, shift_times, stratified_times

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas(),
}
each_path = pytest.mark.parametrize("name", PATHS)
ZERO = DiscreteVP.from_betas(zero_terminal_snr=True)


def uniform(t, low, high):
    return stats.kstest(np.asarray(t, dtype=float), stats.uniform(low, high - low).cdf).pvalue > 1e-4


@pytest.mark.equation("importance")
@each_path
def test_importance_times_are_uniform_in_the_log_snr(name):
    path = PATHS[name]
    t, _ = importance_times(path, 4096, seeded(0))
    low, high = path.lam(torch.tensor([path.t_max, path.t_min], dtype=torch.float64)).tolist()
    lam = path.lam(t.double())
    assert uniform(lam, low, high)
    slices = ((lam - low) / (high - low) * 64).floor().clamp(0, 63)  # stratified: 64 of them in each 64th of the range
    assert (slices.long().bincount(minlength=64) - 64).abs().max() <= 2  # float32 may carry one over an edge
    assert np.corrcoef(t[:-1], t[1:])[0, 1] == pytest.approx(0, abs=0.07)  # in random order


@pytest.mark.equation("importance")
def test_importance_weights_are_one_over_the_density():
    """-lam' is beta / (2 sigma^2) on VP, 1 / (t (1 - t)) on the straight line and log(sigma_max / sigma_min) on VE."""
    slopes = {
        "VP": lambda t: (0.1 + 19.9 * t) / (2 * (1 - np.exp(-(0.1 * t + 9.95 * t**2)))),
        "RectifiedFlow": lambda t: 1 / (t * (1 - t)),
        "VE": lambda t: np.log(5000) + 0 * t,
    }
    ends = {  # lam at t_max and at t_min
        "VP": [-math.log(math.expm1(0.1 * t + 9.95 * t**2)) / 2 for t in (1, 1e-3)],
        "RectifiedFlow": [math.log((1 - t) / t) for t in (0.999, 1e-3)],
        "VE": [-math.log(0.01) - t * math.log(5000) for t in (1, 1e-5)],
    }
    for name, slope in slopes.items():
        t, weight = importance_times(PATHS[name], 500, seeded(1))
        low, high = ends[name]
        np.testing.assert_allclose(weight, (high - low) / slope(t.double().numpy()), rtol=3e-4)


@pytest.mark.equation("importance")
@each_path
def test_importance_weights_integrate_without_bias(name):
    """mean(weight h(t)) over 30 independent sets of stratified times, within 4.5 of their standard errors."""
    path = PATHS[name]
    drawn = [[v.double().numpy() for v in importance_times(path, 400, seeded(i))] for i in range(30)]
    for h in (np.ones_like, np.square, lambda t: np.cos(5 * t)):
        truth, _ = quad(h, path.t_min, path.t_max)
        estimates = np.array([(weight * h(t)).mean() for t, weight in drawn])
        assert abs(estimates.mean() - truth) < 4.5 * estimates.std() / math.sqrt(30) + 1e-6


@pytest.mark.equation("importance")
def test_importance_makes_the_likelihood_weighting_constant():
    for name, path in PATHS.items():
        t, weight = importance_times(path, 200, seeded(0))
        t = t.double()
        product = weight.double() * path.g2(t) / path.sigma(t) ** 2
        width = path.lam(torch.tensor([path.t_min, path.t_max], dtype=torch.float64)).diff().abs()
        tolerance = 0.02 if name == "DiscreteVP" else 1e-3  # float32 times meet a table's kinks on either side
        torch.testing.assert_close(product, 2 * width.expand(200), rtol=tolerance, atol=0)


def test_importance_refuses_a_path_without_data_at_its_end():
    with pytest.raises(ValueError, match="path: expected a finite lam at both ends"):
        importance_times(ZERO, 4)


@pytest.mark.equation("logit-normal")
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.8, 0.5), (1.0, 0.7)])
def test_logit_normal_times_have_normal_logits(mean, std):
    t = logit_normal_times(RectifiedFlow(), 20_000, mean, std, seeded(0)).double().numpy()
    assert stats.kstest(np.log(t / (1 - t)), stats.norm(mean, std).cdf).pvalue > 1e-4
    density = stats.gaussian_kde(np.log(t / (1 - t)))(mean)[0]
    assert density == pytest.approx(1 / (std * math.sqrt(2 * math.pi)), rel=0.05)


@pytest.mark.equation("logit-normal")
def test_unless_told_otherwise_the_logits_are_standard_normal():
    t = logit_normal_times(RectifiedFlow(), 20_000, generator=seeded(0)).double().numpy()
    assert stats.kstest(np.log(t / (1 - t)), stats.norm.cdf).pvalue > 1e-4


@pytest.mark.equation("logit-normal")
def test_logit_normal_times_stay_in_the_usable_range():
    path = DiscreteVP(torch.linspace(0.99, 0.01, 10))  # t_min = 0.1
    t = logit_normal_times(path, 20_000, std=3.0, generator=seeded(0))
    assert (t.min().item(), t.max().item()) == (pytest.approx(0.1), 1.0 if t.max() == 1 else pytest.approx(1, abs=1e-3))
    share = stats.norm(0, 3).cdf(math.log(0.1 / 0.9))
    assert (t <= 0.1000001).float().mean().item() == pytest.approx(share, abs=0.014)  # 4.5 standard errors
    for std in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="std: expected a number > 0"):
            logit_normal_times(path, 4, std=std)


DRAWS = {
    "stratified": stratified_times,
    "importance": lambda path, n, generator: importance_times(path, n, generator)[0],
    "logit-normal": lambda path, n, generator: logit_normal_times(path, n, generator=generator),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("name", ["VP", "RectifiedFlow", "DiscreteVP"])
def test_times_are_in_range_and_depend_on_the_generator_only(name, draw):
    path = PATHS[name]
    torch.manual_seed(1)
    t = draw(path, 64, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(draw(path, 64, seeded(3)), t)
    assert not torch.equal(draw(path, 64, seeded(4)), t)
    assert (t.dtype, t.shape) == (torch.float32, (64,))
    assert path.t_min * (1 - 1e-6) <= t.min().item() <= t.max().item() <= path.t_max * (1 + 1e-6)


@pytest.mark.equation("time-shift")
@pytest.mark.parametrize("shift", [0.4, 1.0, 3.0, 6.5])
def test_a_shift_lowers_the_log_snr_of_the_straight_line_by_two_logs(shift):
    path = RectifiedFlow()
    t = times(path, 40)
    moved = shift_times(t, shift)
    torch.testing.assert_close(path.log_snr(moved), path.log_snr(t) - 2 * math.log(shift), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(shift_times(moved, 1 / shift), t, rtol=1e-12, atol=0)
    assert shift_times(t.float().reshape(4, 10), shift).shape == (4, 10)
    assert shift_times(t.float(), shift).dtype == torch.float32


@pytest.mark.equation("time-shift")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_shift_leaves_both_ends_where_they_are(dtype):
    """Exactly, also for the inverse shifts 1/3 and 0.2: a time of 1.0000001 is refused by every path."""
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    for shift in (1 / 3, 0.2, 0.4, 1.0, 3.0, 6.5):
        assert torch.equal(shift_times(ends, shift), ends), shift


@pytest.mark.equation("time-shift")
@pytest.mark.filterwarnings("ignore")
def test_the_shift_is_that_of_the_flow_matching_scheduler():
    diffusers = pytest.importorskip("diffusers")
    sigmas = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas
    t = torch.arange(1000, 0, -1, dtype=torch.float64) / 1000
    torch.testing.assert_close(shift_times(t, 3.0), sigmas.double(), rtol=1e-6, atol=0)


@pytest.mark.equation("time-shift")
def test_a_shift_makes_up_for_averaging_pixels(rng):
    """shift^2 = 9 pixels for one: their mean keeps the signal and a third of the noise; shifted, the ratio is as before."""
    path, t = RectifiedFlow(), torch.tensor(0.4, dtype=torch.float64)
    late = shift_times(t, 3.0)
    noise = torch.randn(40_000, 9, dtype=torch.float64, generator=rng)
    level = (path.sigma(late) * noise).mean(1).std() / path.alpha(late)
    assert level.item() == pytest.approx((path.sigma(t) / path.alpha(t)).item(), rel=0.016)  # 4.5 standard errors


def test_bad_shifts_and_times_are_refused():
    for shift in (0.0, -2.0, math.nan):
        with pytest.raises(ValueError, match="shift: expected a number > 0"):
            shift_times(torch.tensor([0.5]), shift)
    for t in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"t: expected values in \[0, 1\]"):
            shift_times(torch.tensor([0.5, t]), 3.0)
