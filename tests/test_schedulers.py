"""Floor 4: our steps follow diffusers' schedulers step by step, on the very same noise levels."""

from functools import partial

import pytest
import torch

from tinyldm import Dynamics, Path, ddim, ddpm, dpmpp_2m, resolve, sample, seeded

diffusers = pytest.importorskip("diffusers")

N = 10
SHAPE = (2, 3, 4, 4)
BETAS = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
}


class Table(Path):
    """A table of alphas_cumprod as a path: entry k lies at t = (k + 1) / 1000, in between its logarithm is interpolated."""

    t_min = 1e-3

    def __init__(self, alphas_cumprod):
        self.log = alphas_cumprod.double().log()

    def alpha(self, t):
        place = t.double() * 1000 - 1
        k = place.floor().clamp(0, 998)
        low, high = self.log[k.long()], self.log[k.long() + 1]
        return torch.exp((low + (place - k) * (high - low)) / 2)

    def sigma(self, t):
        return torch.sqrt(1 - self.alpha(t) ** 2)


def network(x, k):
    """A nonlinear stand-in for a trained network: some noise in x, depending on the entry k of the table."""
    return torch.tanh(1.3 * x + 0.2 * x.roll(1, -1) - 0.001 * k)


def ours(scheduler, step, x):
    """The states after each of our steps on the scheduler's own noise levels, and the x0 that closes the grid."""
    path = Table(scheduler.alphas_cumprod)
    seen = []
    last = sample(
        Dynamics(path, lambda x, t: resolve("eps", path, x, t, network(x, 1000 * t - 1))),
        x,
        (scheduler.timesteps + 1).double() / 1000,
        step,
        callback=lambda i, s, x: seen.append(x),
    )
    return [*seen, last]


def theirs(scheduler, x, **options):
    states = []
    for k in scheduler.timesteps:
        x = scheduler.step(network(x, k.double()), k, x, **options).prev_sample
        states.append(x)
    return states


def prepared(kind, **options):
    if kind is diffusers.DPMSolverMultistepScheduler:
        options |= {k: v for k, v in BETAS.items() if k != "clip_sample"}
    else:
        options |= BETAS
    scheduler = kind(**options)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(N)
    assert len(scheduler.timesteps) == N
    return scheduler


@pytest.fixture
def noise():
    return torch.randn(SHAPE, dtype=torch.float64, generator=seeded(1))


@pytest.mark.equation("ddim")
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_follows_the_ddim_scheduler(eta, noise):
    scheduler = prepared(diffusers.DDIMScheduler, set_alpha_to_one=True, steps_offset=0, timestep_spacing="leading")
    a = ours(scheduler, partial(ddim, eta=eta, generator=seeded(2)), noise)
    b = theirs(scheduler, noise, eta=eta, generator=seeded(2))
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_ddpm_follows_the_ddpm_scheduler(noise):
    scheduler = prepared(diffusers.DDPMScheduler, variance_type="fixed_small", timestep_spacing="leading")
    a = ours(scheduler, partial(ddpm, generator=seeded(2)), noise)
    b = theirs(scheduler, noise, generator=seeded(2))
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
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
    a, b = ours(scheduler, dpmpp_2m, noise), theirs(scheduler, noise)
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other.double(), rtol=1e-5, atol=1e-5)
