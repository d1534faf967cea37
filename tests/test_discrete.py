"""Floor 1: DDPM's tables against diffusers and released models, at their entries, between them and at their ends."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from oracles import TABLES, ZERO, scalar
from scipy.interpolate import PchipInterpolator

from tinyldm import DiscreteVP, resolve, target

CONFIGS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "SD": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero terminal": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_tables_are_those_of_the_ddpm_scheduler(name):
    """Theirs is in float32: a product of 1000 factors, of which the last of the cosine's is 1 - 0.999."""
    diffusers = pytest.importorskip("diffusers")
    table = diffusers.DDPMScheduler(num_train_timesteps=1000, **CONFIGS[name]).alphas_cumprod.double()
    ours = TABLES[name].alphas_cumprod
    np.testing.assert_allclose(ours[:-2], table[:-2], rtol=1e-4)
    np.testing.assert_allclose(ours, table, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "values"),  # alpha-bar of entries 0, 1, 500, 999, and sigma/alpha of entry 998, as released
    [
        ("linear", (0.99989998, 0.99978006, 0.07779665, 4.0358304e-5, 155.825183)),
        ("SD", (0.99914998, 0.99829602, 0.27633247, 0.004660098513077238, 14.5262806)),
        ("zero terminal", (0.99914998, 0.99823350, 0.24101864, 0.0, 2254.1949)),
        ("cosine", (0.99995869, 0.99991256, 0.49228504, 2.4287349e-9, 641.66243)),
    ],
)
def test_tables_have_the_numbers_of_released_models(name, values):
    path = TABLES[name]
    t = (torch.tensor([0, 1, 500, 999], dtype=torch.float64) + 1) / 1000
    np.testing.assert_allclose(path.alpha(t) ** 2, values[:4], rtol=2e-5, atol=1e-15)
    assert math.exp(-path.lam(scalar(0.999))) == pytest.approx(values[4], rel=2e-4)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_met_at_its_entries_and_interpolated_monotonically_between(name):
    path = TABLES[name]
    entries = torch.arange(path.steps)
    t = (entries.double() + 1) / path.steps
    torch.testing.assert_close(path.alpha(t), path.alphas_cumprod.sqrt(), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(path.sigma(t), (1 - path.alphas_cumprod).sqrt(), rtol=1e-9, atol=0)
    assert (path.t_min, path.t_max) == (1 / path.steps, 1.0)
    torch.testing.assert_close(path.clock(t), entries.double(), rtol=0, atol=1e-9)
    assert (path.alpha(scalar(0.0)).item(), path.sigma(scalar(0.0)).item()) == (1, 0)
    fine = torch.linspace(0, 1, 7 * path.steps + 1, dtype=torch.float64)
    truth = PchipInterpolator(np.linspace(0, 1, path.steps + 1), [1.0, *path.alphas_cumprod.sqrt().tolist()])
    np.testing.assert_allclose(path.alpha(fine), truth(fine), rtol=0, atol=1e-13)
    assert (path.alpha(fine).diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_terminal_snr_leaves_nothing_and_only_v_knows_what_to_do(dtype, rng):
    t = torch.ones((), dtype=dtype)
    assert ZERO.alphas_cumprod[-1] == 0
    assert (ZERO.alpha(t).item(), ZERO.sigma(t).item()) == (0, 1)
    x0, eps = (torch.randn(2, 3, dtype=dtype, generator=rng) for _ in range(2))
    for when in (t, t.expand(2)):
        x = ZERO.marginal(x0, eps, when)
        for row in ("eps", "score"):
            with pytest.raises(ValueError, match="does not determine x0 and eps"):
                resolve(row, ZERO, x, when, target(row, ZERO, x0, eps, when))
        p = resolve("v", ZERO, x, when, target("v", ZERO, x0, eps, when))
        torch.testing.assert_close(p.x0, x0)
        torch.testing.assert_close(p.eps, eps)


def test_single_precision_of_a_table_is_kept_near_the_data():
    path = TABLES["linear"]
    t = torch.tensor([1e-6, 1e-4, 1e-3, 2.5e-3, 0.02], dtype=torch.float32)
    np.testing.assert_allclose(path.sigma(t), path.sigma(t.double()), rtol=1e-6)
    assert path.sigma(torch.tensor(1e-3)).item() == pytest.approx(0.01, rel=1e-6)  # sqrt(beta_1), DDPM's first level


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(DiscreteVP, torch.tensor([0.5])), "alphas_cumprod: expected a vector"),
        (partial(DiscreteVP, torch.full((2, 2), 0.5)), "alphas_cumprod: expected a vector"),
        *(
            (partial(DiscreteVP, torch.tensor(v)), r"alphas_cumprod: expected falling values in \[0, 1\)")
            for v in ([0.5, 0.5], [0.3, 0.5], [1.0, 0.5], [0.9, 0.5, -0.1], [0.9, math.nan], [math.nan, 0.5], [0.9, 0.0, 0.0])
        ),
        *((partial(DiscreteVP.from_betas, steps=n), "steps: expected") for n in (1, 0, 10.0)),
        *(
            (partial(DiscreteVP.from_betas, "linear", *b), "beta_start, beta_end")
            for b in [(0.0, 0.02), (0.02, 0.01), (0.01, 1.0), (math.nan, 0.02)]
        ),
        (partial(DiscreteVP.from_betas, "scaled"), "kind='scaled' is unknown; did you mean 'scaled_linear'"),
    ],
)
def test_impossible_tables_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_table_may_come_as_a_list_or_in_single_precision():
    values = [0.9, 0.5, 0.1]
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    for given in (values, np.array(values), torch.tensor(values)):
        path = DiscreteVP(given)
        assert path.alphas_cumprod.dtype == torch.float64
        torch.testing.assert_close(path.alpha(t), DiscreteVP(torch.tensor(values).double()).alpha(t), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine"])
@pytest.mark.parametrize("steps", [2, 3, 7, 10, 50, 100, 129, 1001])
def test_a_zero_terminal_table_ends_at_exactly_zero(kind, steps):
    path = DiscreteVP.from_betas(kind, steps=steps, zero_terminal_snr=True)
    for dtype in (torch.float32, torch.float64):
        assert path.alpha(torch.ones((), dtype=dtype)) == 0
    t = torch.linspace(0, 1, 2000, dtype=torch.float64)[1:]
    assert (path.alpha(t).diff() < 0).all()
    assert (path.g2(t[:-1]) >= 0).all()
