"""Floor 1: sub-VP, VE and the cosine against closed forms in 30 digits; all paths against their SDEs' moments."""

import math
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from oracles import TABLES, ZERO, times

from tinyldm import VE, VP, CosineVP, Denoiser, LatentDiffusion, RectifiedFlow, SubVP, seeded
from tinyldm.path import PATHS as CLASSES

CONTINUOUS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "gentle SubVP": SubVP(0.5, 6.0),
    "VE": VE(),
    "narrow VE": VE(0.1, 3.0),
    "CosineVP": CosineVP(),
    "CosineVP(0)": CosineVP(0.0),
    "RectifiedFlow": RectifiedFlow(),
}
PATHS = CONTINUOUS | TABLES
continuous = pytest.mark.parametrize("name", CONTINUOUS)
every = pytest.mark.parametrize("name", PATHS)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def literature(path, t):
    """alpha, sigma, f and g^2 at one time as the papers give them, to 30 digits."""
    with mpmath.workdps(30):
        t = mpmath.mpf(float(t))
        if isinstance(path, VP | SubVP):
            low, high = mpmath.mpf(path.beta_min), mpmath.mpf(path.beta_max)
            beta, rate = low + t * (high - low), low * t + t**2 * (high - low) / 2
            if isinstance(path, VP):  # Song et al. (2021), equations 11 and 29
                found = mpmath.exp(-rate / 2), mpmath.sqrt(1 - mpmath.exp(-rate)), -beta / 2, beta
            else:  # their equations 12 and 29
                found = mpmath.exp(-rate / 2), 1 - mpmath.exp(-rate), -beta / 2, beta * (1 - mpmath.exp(-2 * rate))
        elif isinstance(path, VE):  # their equations 29 and 30
            low, ratio = mpmath.mpf(path.sigma_min), mpmath.mpf(path.sigma_max) / mpmath.mpf(path.sigma_min)
            found = mpmath.mpf(1), low * ratio**t, mpmath.mpf(0), 2 * (low * ratio**t) ** 2 * mpmath.log(ratio)
        elif isinstance(path, CosineVP):  # Nichol and Dhariwal (2021), equation 17, with alpha-bar = alpha^2
            s = mpmath.mpf(path.offset)
            speed = mpmath.pi / 2 / (1 + s)
            alpha = mpmath.cos((t + s) * speed) / mpmath.cos(s * speed)
            beta = 2 * speed * mpmath.tan((t + s) * speed)
            found = alpha, mpmath.sqrt(1 - alpha**2), -beta / 2, beta
        else:
            found = 1 - t, t, -1 / (1 - t), 2 * t / (1 - t)
        return [float(v) for v in found]


def truths(path, t):
    return [torch.tensor(v, dtype=torch.float64) for v in zip(*(literature(path, u) for u in t), strict=True)]


@pytest.mark.equation("subvp-path")
@pytest.mark.equation("ve-path")
@pytest.mark.equation("cosine-path")
@continuous
def test_alpha_and_sigma_are_those_of_the_papers(name):
    path = PATHS[name]
    t = torch.cat([times(path, 20), torch.tensor([path.t_min, path.t_max])])
    alpha, sigma, _, _ = truths(path, t)
    torch.testing.assert_close(path.alpha(t), alpha, rtol=1e-11, atol=0)
    torch.testing.assert_close(path.sigma(t), sigma, rtol=1e-11, atol=0)
    torch.testing.assert_close(path.lam(t), torch.log(alpha / sigma), rtol=1e-11, atol=1e-11)


@pytest.mark.equation("drift")
@pytest.mark.equation("diffusion")
@continuous
def test_drift_and_diffusion_are_those_of_the_papers(name):
    path = PATHS[name]
    t = torch.cat([times(path, 20), torch.tensor([path.t_min, path.t_max])])
    _, _, f, g2 = truths(path, t)
    torch.testing.assert_close(path.f(t), f, **CLOSE)
    torch.testing.assert_close(path.g2(t), g2, **CLOSE)


@pytest.mark.parametrize("name", ["VP", "SubVP", "VE", "CosineVP", "RectifiedFlow"])
def test_single_precision_is_kept_near_both_ends(name):
    """float32 has 24 bits, a relative 6e-8; what cancels loses more than the few units allowed here."""
    path = PATHS[name]
    t = torch.tensor([1e-7, 1e-5, 1e-3, 0.3, 0.9, 0.99, path.t_max], dtype=torch.float32)
    for value, truth in zip((path.alpha(t), path.sigma(t)), truths(path, t)):
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value, truth, rtol=2e-6)


@pytest.mark.equation("drift")
@pytest.mark.equation("diffusion")
@every
def test_the_sde_carries_the_moments_of_the_path(name):
    """m' = f m and v' = 2 f v + g^2 have the solutions m = m_s exp(int f) and v = m^2 (v_s / m_s^2 + int g^2 / m^2).

    With the path's f and g^2, from (alpha, sigma^2) at one time, they must arrive at (alpha, sigma^2) at every other.
    """
    path = PATHS[name]
    ends = torch.linspace(0.1, 0.9, 801 if name in TABLES else 201, dtype=torch.float64)  # a table's: its entries
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(8))
    width = ends.diff()[:, None] / 2
    t = ends[:-1, None] + width * (1 + nodes)  # Gauss's nodes in each piece
    known = np.array([literature(path, u)[:2] if name in CONTINUOUS else (path.alpha(u), path.sigma(u)) for u in ends])
    alpha, variance = torch.from_numpy(known[:, 0]), torch.from_numpy(known[:, 1] ** 2)
    drift = (width * weights * path.f(t)).sum(1).cumsum(0)
    torch.testing.assert_close(alpha[0] * drift.exp(), alpha[1:], rtol=1e-8, atol=0)
    spread = (width * weights * path.g2(t) / path.alpha(t) ** 2).sum(1).cumsum(0)
    torch.testing.assert_close(alpha[1:] ** 2 * (variance[0] / alpha[0] ** 2 + spread), variance[1:], rtol=1e-8, atol=0)


@every
def test_slopes_agree_with_differences(name):
    path = PATHS[name]
    t, h = times(path, 9) + 1e-4, 1e-7  # 1e-4: away from the entries, where a cubic's second derivative jumps
    for function, slope in ((path.alpha, path.d_alpha(t)), (path.sigma, path.d_sigma(t))):
        torch.testing.assert_close(slope, (function(t + h) - function(t - h)) / (2 * h), rtol=1e-5, atol=1e-7)


@every
def test_lam_falls_and_gives_back_the_time(name):
    path = PATHS[name]
    t = torch.cat([torch.tensor([path.t_min]).double(), times(path, 400)])
    assert (path.lam(t).diff() < 0).all()
    torch.testing.assert_close(path.t_of_lam(path.lam(t)), t, rtol=0, atol=1e-11)
    assert path.t_of_lam(path.lam(t)[:6].reshape(2, 3)).shape == (2, 3)


@every
def test_types_and_shapes_are_kept(name):
    for t in (torch.tensor(0.5), torch.tensor([0.2, 0.5], dtype=torch.float64)):
        for what in ("alpha", "sigma", "d_alpha", "d_sigma", "lam", "f", "g2", "clock"):
            value = getattr(PATHS[name], what)(t)
            assert (value.dtype, value.shape) == (t.dtype, t.shape), what


def test_variance_preserving_paths_preserve_it_and_sub_vp_stays_below():
    for name, path in PATHS.items():
        t = times(path, 50)
        total = path.alpha(t) ** 2 + path.sigma(t) ** 2
        if name in TABLES or name.startswith(("VP", "Cosine")):
            torch.testing.assert_close(total, torch.ones_like(t), rtol=0, atol=1e-12)
            torch.testing.assert_close(path.g2(t), -2 * path.f(t), rtol=1e-7, atol=1e-9)  # both are beta
    assert (SubVP().sigma(t) < VP().sigma(t)).all()


def test_exploding_input_is_shown_at_unit_size(rng):
    path, t = VE(), torch.tensor([1e-5, 0.3, 1.0])
    x0, eps = (torch.randn(3, 1, 200, 200, generator=rng) for _ in range(2))
    seen = path.network_input(path.marginal(x0, eps, t), t)
    torch.testing.assert_close(seen.flatten(1).var(1), torch.ones(3), rtol=0.03, atol=0)  # standard error 0.7%
    assert torch.equal(SubVP().network_input(x0, t), x0)


# ---- what is refused, what is stored


@pytest.mark.parametrize(
    ("make", "said"),
    [
        *((partial(SubVP, *b), "beta_min, beta_max") for b in [(0.0, 20.0), (5.0, 1.0), (math.nan, 1.0)]),
        *((partial(VE, *s), "sigma_min, sigma_max") for s in [(0.0, 1.0), (2.0, 2.0), (3.0, 2.0), (0.1, math.nan)]),
        *((partial(CosineVP, o), "offset") for o in (-0.01, 1.0, math.nan)),
    ],
)
def test_impossible_paths_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


OTHERS = {"SubVP": SubVP(0.2, 15.0), "VE": VE(0.02, 7.0), "CosineVP": CosineVP(0.01), "DiscreteVP": ZERO}


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_model_comes_back_on_its_path(name, model, tmp_path):
    path = OTHERS.get(name) or CLASSES[name]()
    LatentDiffusion(model.space, Denoiser(model.denoiser.net, path, "v"), model.latent).save(tmp_path / "m")
    back = LatentDiffusion.load(tmp_path / "m")
    there, t = back.denoiser.path, times(path, 33)
    assert type(there) is type(path)
    assert torch.equal(there.alpha(t), path.alpha(t))
    assert torch.equal(there.sigma(t), path.sigma(t))
    before = LatentDiffusion(model.space, Denoiser(model.denoiser.net, path, "v"), model.latent)
    a, b = (m.sample_latents(2, steps=3, kind="t", generator=seeded(0)) for m in (before, back))
    assert torch.equal(a, b)
