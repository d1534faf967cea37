"""Floor 4: our steps follow diffusers' schedulers step by step, on the very same noise levels."""

import logging
import warnings
from functools import partial

import pytest
import torch

from tinyldm import (
    DiscreteVP,
    Dynamics,
    RectifiedFlow,
    ddim,
    ddpm,
    dpmpp_2m,
    euler,
    heun,
    resolve,
    sample,
    seeded,
    timesteps,
    unipc,
)
from tinyldm.losses import shift_times

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

N = 10
SHAPE = (2, 3, 4, 4)
SD = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
PATH = DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012)


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def noise():
    return torch.randn(SHAPE, dtype=torch.float64, generator=seeded(1))


def network(x, k):
    """A nonlinear stand-in for a trained network: some noise in x, depending on the entry k of the table."""
    return torch.tanh(1.3 * x + 0.2 * x.roll(1, -1) - 0.001 * k)


def ours(path, ts, step, x, row="eps"):
    """The states after each of our steps, and the x0 that closes the grid."""
    seen = []
    dynamics = Dynamics(path, lambda x, t: resolve(row, path, x, t, network(x, path.clock(t))))
    last = sample(dynamics, x, ts, step, callback=lambda i, s, x: seen.append(x))
    return [*seen, last]


def entries(scheduler):
    """The times at which the scheduler asks its network."""
    return (scheduler.timesteps.double() + 1) / 1000


def theirs(scheduler, x, last=None, **options):
    states = []
    for k in scheduler.timesteps[:last]:
        x = scheduler.step(network(x, k.double()), k, x, **options).prev_sample
        states.append(x)
    return states


def prepared(kind, n=N, **options):
    """A scheduler with its table in double precision, as far as it keeps it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = kind(**SD, **options)
        scheduler.alphas_cumprod = PATH.alphas_cumprod.clone()
        scheduler.set_timesteps(n)
    assert len(scheduler.timesteps) == n
    return scheduler


def assert_same_states(mine, other, tolerance):
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.equation("ddim")
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("row", ["eps", "v", "x0"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_follows_the_ddim_scheduler(eta, row, spacing, noise):
    name = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[row]
    options = {"clip_sample": False, "set_alpha_to_one": True, "prediction_type": name}
    scheduler = prepared(diffusers.DDIMScheduler, timestep_spacing=spacing, **options)
    a = ours(PATH, entries(scheduler), partial(ddim, eta=eta, generator=seeded(2)), noise, row)
    assert_same_states(a, theirs(scheduler, noise, eta=eta, generator=seeded(2)), 1e-9)


@pytest.mark.equation("posterior")
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddpm_follows_the_ddpm_scheduler(spacing, noise):
    scheduler = prepared(diffusers.DDPMScheduler, variance_type="fixed_small", timestep_spacing=spacing, clip_sample=False)
    a = ours(PATH, entries(scheduler), partial(ddpm, generator=seeded(2)), noise)
    assert_same_states(a, theirs(scheduler, noise, generator=seeded(2)), 1e-9)


def in_double(scheduler, ts):
    """The noise levels of a multistep scheduler in float64, so that what differs is the method alone."""
    scheduler.sigmas = torch.cat([torch.exp(-PATH.lam(ts)), torch.zeros(1, dtype=torch.float64)])
    return scheduler


@pytest.mark.equation("dpmpp-2m")
@pytest.mark.equation("exponential-step")
@pytest.mark.parametrize("spacing", ["linspace", "trailing", "leading"])
def test_dpmpp_2m_follows_the_multistep_scheduler(spacing, noise):
    """DPM-Solver++(2M), midpoint, with the final step to sigma = 0, which is our closing denoise. Its state is float32."""
    scheduler = prepared(
        diffusers.DPMSolverMultistepScheduler,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="zero",
        timestep_spacing=spacing,
    )
    ts = entries(scheduler)
    a = ours(PATH, ts, dpmpp_2m, noise)
    assert_same_states(a, theirs(in_double(scheduler, ts), noise), 1e-6)


@pytest.mark.equation("unipc")
@pytest.mark.equation("exp-weights")
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_follows_the_unipc_scheduler(order, noise):
    """B(h) = e^h - 1. Without its last jump to sigma = 0, where its order 3 has a singular matrix."""
    scheduler = prepared(
        diffusers.UniPCMultistepScheduler,
        solver_order=order,
        solver_type="bh2",
        lower_order_final=False,
        final_sigmas_type="zero",
        timestep_spacing="trailing",
    )
    ts = entries(scheduler)
    a = ours(PATH, ts, partial(unipc, order=order), noise)
    assert_same_states(a[:-1], theirs(in_double(scheduler, ts), noise, last=-1), 1e-6)


@pytest.mark.equation("euler")
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_follows_the_flow_matching_scheduler(shift, noise):
    """Stable Diffusion 3's: it starts at t = 1, where no data is left, and its last step goes to t = 0, our denoise."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(N)
    sigmas = scheduler.sigmas.double()
    path = RectifiedFlow()
    unshifted = torch.linspace(1, 0.001 if shift == 1 else float(shift_times(torch.tensor(0.001), shift)), N).double()
    torch.testing.assert_close(shift_times(unshifted, shift), sigmas[:-1], rtol=1e-5, atol=1e-6)
    a = ours(path, sigmas[:-1], euler, noise, "flow")
    states, x = [], noise
    for k in scheduler.timesteps:
        x = scheduler.step(network(x, k.double()), k, x).prev_sample.double()
        states.append(x)
    assert_same_states(a, states, 1e-6)


class Karras(RectifiedFlow):
    """alpha = 1, sigma = 20 t: time is the noise level."""

    t_max = 1.0

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return 20 * t


@pytest.mark.equation("euler")
@pytest.mark.equation("heun")
@pytest.mark.parametrize(("kind", "step"), [("EulerDiscreteScheduler", euler), ("HeunDiscreteScheduler", heun)])
def test_euler_and_heun_follow_their_schedulers_in_karras_s_variables(kind, step, noise):
    scheduler = getattr(diffusers, kind)(**SD, timestep_spacing="trailing")
    scheduler.set_timesteps(N)
    levels = scheduler.sigmas.double()
    every = 2 if step is heun else 1
    unique = torch.cat([levels[:1], levels[1:-1:every]]) if every == 2 else levels[:-1]  # heun's are listed twice
    path = Karras()
    seen = []
    dynamics = Dynamics(path, lambda x, t: resolve("eps", path, x, t, network(x, 0.0)))
    sample(dynamics, noise, unique / 20, step, denoise=False, callback=lambda i, s, x: seen.append(x))
    x, other = noise, []
    for i, k in enumerate(scheduler.timesteps):
        scheduler.is_scale_input_called = True
        x = scheduler.step(network(x, 0.0), k, x).prev_sample.double()
        if every == 1 or i % 2 == 1:
            other.append(x)
    assert_same_states(seen, other[: len(seen)], 1e-6)
    assert len(seen) >= N - 1


# ---- which entries of the table


@pytest.mark.parametrize("n", [1, 4, 7, 10, 50, 333, 1000])
@pytest.mark.parametrize("spacing", ["linspace", "trailing", "leading"])
def test_timesteps_are_those_of_the_ddim_scheduler(spacing, n):
    scheduler = diffusers.DDIMScheduler(**SD, timestep_spacing=spacing)
    scheduler.set_timesteps(n)
    mine = PATH.clock(timesteps(PATH, n, spacing))
    if spacing == "linspace" and n == 1:
        assert mine.tolist() == pytest.approx([999.0])  # theirs asks for entry 0, where there is nothing to denoise
        return
    torch.testing.assert_close(mine, scheduler.timesteps.double(), rtol=0, atol=1e-9)


def test_an_offset_past_the_table_is_refused():
    """diffusers' leading spacing with Stable Diffusion's steps_offset = 1 asks for entry 1000 of 1000 at N = 1000."""
    scheduler = diffusers.DDIMScheduler(**SD, timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(1000)
    assert scheduler.timesteps.max() == 1000
    with pytest.raises(ValueError, match="offset: expected an offset that keeps entry 1000 inside the table of 1000"):
        timesteps(PATH, 1000, "leading", offset=1)
    assert PATH.clock(timesteps(PATH, 50, "leading", offset=1)).round().tolist()[:2] == [981, 961]


@pytest.mark.parametrize("spacing", ["linspace", "trailing", "leading"])
def test_no_entry_comes_twice(spacing):
    """diffusers' multistep schedulers repeat rounded entries at large N, and divide by the zero between them."""
    for n in (3, 17, 600, 997, 999, 1000):
        assert (timesteps(PATH, n, spacing).diff() < 0).all()
    with pytest.raises(ValueError, match="n: expected a whole number of steps from 1 to 1000"):
        timesteps(PATH, 1001, spacing)


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_the_previous_time_is_the_grid_s_next_entry(spacing, noise):
    """diffusers' DDIM goes to t - 1000 // N instead, which on these grids is another entry than the one it asks next."""
    n = 7
    scheduler = prepared(diffusers.DDIMScheduler, n, timestep_spacing=spacing, clip_sample=False)
    ts = timesteps(PATH, n, spacing)
    assert ((scheduler.timesteps[:-1] - 1000 // n) != scheduler.timesteps[1:]).any()
    visited = []
    dynamics = Dynamics(PATH, lambda x, t: resolve("eps", PATH, x, t, network(x, PATH.clock(t))))
    sample(dynamics, noise, ts, ddim, callback=lambda i, s, x: visited.append(float(s)))
    assert visited == ts[1:].tolist()
