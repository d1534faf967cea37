"""Floor 4: steps with fresh noise against the moments that theory gives them."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from oracles import GaussianData, scalar, times

from tinyldm import (
    VE,
    VP,
    DiscreteVP,
    Dynamics,
    ddim,
    ddpm,
    euler,
    euler_maruyama,
    grid,
    invert,
    langevin,
    predictor_corrector,
    sample,
    seeded,
)

DATA = GaussianData(mean=0.7, std=0.6)


def moments(step, dynamics, x, t, s):
    """Mean and standard deviation of one step from x, read off two entries that differ in their noise only."""
    out, _ = step(dynamics, x.repeat(2), t, s, None, generator=seeded(0))
    z = torch.randn(2, dtype=torch.float64, generator=seeded(0))
    std = (out[0] - out[1]) / (z[0] - z[1])
    return float(out[0] - std * z[0]), float(std)


@pytest.mark.equation("euler-maruyama")
@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_a_step_of_the_reverse_sde_is_drift_times_a_negative_time_and_the_root_of_it(eta):
    """On VP, where f = -beta/2 and g^2 = beta are known in closed form."""
    path, x, t, s = VP(), scalar(1.3), scalar(0.6), scalar(0.55)
    beta, (mean, std) = 0.1 + 19.9 * 0.6, DATA.moments(path, t)
    drift = -beta / 2 * x - (1 + eta**2) / 2 * beta * (mean - x) / std**2
    expected = (float(x - 0.05 * drift), eta * math.sqrt(beta * 0.05))
    step = euler_maruyama if eta == 1 else partial(euler_maruyama, eta=eta)  # Anderson's is the default
    assert moments(step, Dynamics(path, DATA.predict(path)), x, t, s) == pytest.approx(expected, rel=1e-9)


@pytest.mark.equation("euler-maruyama")
def test_without_noise_it_is_euler_s_step():
    path, x = VP(), torch.linspace(-1, 1, 5, dtype=torch.float64)
    dynamics = Dynamics(path, DATA.predict(path))
    mine, _ = euler_maruyama(dynamics, x, scalar(0.6), scalar(0.5), None, eta=0.0)
    torch.testing.assert_close(mine, euler(dynamics, x, scalar(0.6), scalar(0.5))[0], rtol=1e-10, atol=1e-10)


@pytest.mark.equation("euler-maruyama")
@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("path", [VP(), VE()], ids=["VP", "VE"])
def test_the_reverse_sde_s_mean_and_variance_follow_their_recursion_to_the_data_s(path, eta, rng):
    """Euler-Maruyama's exact moments for Gaussian data: a linear map and noise in every step. The samples must have them, and
    with more steps they tend to those of x_t itself."""
    ends = []
    for n in (100, 400):
        ts = path.t_of_lam(torch.linspace(-3, 1.5, n + 1, dtype=torch.float64))
        mean, std = DATA.moments(path, ts[0])
        m, v = float(mean), float(std) ** 2
        for t, s in pairwise(ts):
            h, f, g2 = float(s - t), float(path.f(t)), float(path.g2(t))
            centre, spread = (float(value) for value in DATA.moments(path, t))
            pull = (1 + eta**2) / 2 * g2 / spread**2
            m, v = m + h * (f * m - pull * (centre - m)), v * (1 + h * (f + pull)) ** 2 + eta**2 * g2 * abs(h)
        ends.append((m, v))
    centre, spread = (float(value) for value in DATA.moments(path, ts[-1]))
    gaps = [abs(m - centre) + abs(v - spread**2) for m, v in ends]
    assert gaps[1] < 0.35 * gaps[0]  # order 1
    x = mean + std * torch.randn(20_000, dtype=torch.float64, generator=rng)
    ts = path.t_of_lam(torch.linspace(-3, 1.5, 101, dtype=torch.float64))
    step = partial(euler_maruyama, eta=eta, generator=rng)
    end = sample(Dynamics(path, DATA.predict(path)), x, ts, step, denoise=False)
    m, v = ends[0]
    assert end.mean().item() == pytest.approx(m, abs=4 * math.sqrt(v / 20_000))
    assert end.var().item() == pytest.approx(v, rel=4 * math.sqrt(2 / 20_000))


@pytest.mark.equation("langevin")
@pytest.mark.parametrize("t", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("path", [VP(), VE()], ids=["VP", "VE"])
def test_langevin_s_step_climbs_the_score_and_adds_the_noise_that_balances_it(path, t):
    """All at the time s, wherever the grid comes from."""
    x, t, s = scalar(1.3), scalar(t), scalar(0.4)
    (mean, std), size = DATA.moments(path, s), 2 * (0.2 * float(path.sigma(s))) ** 2
    expected = (float(x + size * (mean - x) / std**2), math.sqrt(2 * size))
    step = partial(langevin, snr=0.2)
    assert moments(step, Dynamics(path, DATA.predict(path)), x, t, s) == pytest.approx(expected, rel=1e-9)


@pytest.mark.equation("langevin")
def test_langevin_settles_at_the_variance_of_its_linear_recursion(rng):
    """x <- (1 - a) x + noise of variance 2 a v has the variance v / (1 - a/2), for a = step / v: a little too wide."""
    path, s = VP(), scalar(0.3)
    mean, std = (float(value) for value in DATA.moments(path, s))
    a = 2 * (0.4 * float(path.sigma(s))) ** 2 / std**2
    x = torch.full((20_000,), 3.0, dtype=torch.float64)
    for _ in range(60):
        x, _ = langevin(Dynamics(path, DATA.predict(path)), x, s, s, None, snr=0.4, generator=rng)
    variance = std**2 / (1 - a / 2)
    assert x.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / 20_000))
    assert x.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / 20_000))


def test_the_corrector_works_at_the_time_that_the_predictor_has_reached():
    calls = []

    def predictor(dynamics, x, t, s, memory):
        calls.append(("p", float(t), float(s), memory))
        return x + 1, "kept"

    def corrector(dynamics, x, t, s, memory):
        calls.append(("c", float(t), float(s), memory))
        return 2 * x, None

    ts = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    end = sample(Dynamics(VP(), None), torch.zeros(1), ts, predictor_corrector(predictor, corrector, 2), denoise=False)
    assert end.item() == 20  # ((0 + 1) * 4 + 1) * 4
    assert calls == [
        ("p", 0.9, 0.5, None), ("c", 0.5, 0.5, None), ("c", 0.5, 0.5, None),
        ("p", 0.5, 0.1, "kept"), ("c", 0.1, 0.1, None), ("c", 0.1, 0.1, None),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="n: expected a whole number >= 0"):
        predictor_corrector(predictor, corrector, -1)


def test_langevin_repairs_samples_that_come_from_too_few_steps(rng):
    """DDIM with 4 steps leaves the wrong variance; a chain of corrections at the last time brings it back."""
    path, ts = VP(), times(VP(), 5).flip(0)
    std = float(DATA.moments(path, ts[-1])[1])
    x = float(path.sigma(ts[0])) * torch.randn(8000, dtype=torch.float64, generator=rng)
    dynamics = Dynamics(path, DATA.predict(path))
    correct = partial(langevin, snr=0.3, generator=rng)
    plain = sample(dynamics, x, ts, ddim, denoise=False)
    mended = sample(dynamics, x, ts, predictor_corrector(ddim, correct, 20), denoise=False)
    assert abs(mended.std().item() - std) < 0.5 * abs(plain.std().item() - std)


@pytest.mark.parametrize("step", [ddpm, partial(ddim, eta=1.0), euler_maruyama], ids=["ddpm", "ddim(eta=1)", "sde"])
def test_steps_with_noise_go_towards_data_only(step):
    dynamics = Dynamics(VP(), DATA.predict(VP()))
    with pytest.raises(ValueError, match="s: expected an earlier time"):
        invert(dynamics, torch.zeros(3), grid(VP(), 4), partial(step, generator=seeded(0)))
    with pytest.raises(ValueError, match=r"s: expected an earlier time.*, got 0.5 after t=0.5"):
        step(dynamics, torch.zeros(3), scalar(0.5), scalar(0.5), generator=seeded(0))


@pytest.mark.equation("ddim")
@pytest.mark.equation("posterior")
@pytest.mark.parametrize("step", [ddpm, partial(ddim, eta=1.0)], ids=["ddpm", "ddim(eta=1)"])
def test_where_no_data_is_left_all_noise_is_fresh(step):
    """alpha(1) = 0: x_1 knows nothing of x_s, which is N(alpha_s mean, sigma_s^2) whatever x_1 is; no noise of x_1 is kept."""
    path, s = DiscreteVP.from_betas(zero_terminal_snr=True), scalar(0.6)
    expected = float(path.alpha(s) * DATA.mean), float(path.sigma(s))
    for x in (-3.0, 0.4):
        found = moments(step, Dynamics(path, DATA.predict(path)), scalar(x), scalar(1.0), s)
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("eta", [-1.0, math.nan, 5.0])
def test_noise_levels_that_cannot_be_are_refused(eta):
    with pytest.raises(ValueError, match="eta: expected"):
        ddim(Dynamics(VP(), DATA.predict(VP())), torch.zeros(3), scalar(0.9), scalar(0.8), eta=eta)
    for snr in (-0.1, 0.0):
        with pytest.raises(ValueError, match="snr: expected a number > 0"):
            langevin(Dynamics(VP(), DATA.predict(VP())), torch.zeros(3), scalar(0.9), scalar(0.8), snr=snr)
