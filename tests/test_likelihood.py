"""Floor 4: exact likelihoods of mixtures whose density is known, divergences by autograd, bits of known codes."""

import math

import numpy as np
import pytest
import torch
from oracles import GaussianData, scalar

from tinyldm import (
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    Dynamics,
    GaussianMixture,
    Prediction,
    RectifiedFlow,
    SubVP,
    grid,
    log_likelihood,
    rk45,
    sample,
    seeded,
)
from tinyldm.likelihood import bits_per_dimension, divergence

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas(),
    "Stable Diffusion": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012),
    "zero terminal SNR": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012, zero_terminal_snr=True),
}
WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
MEANS = torch.tensor([[1.0, 0.3], [-0.8, 0.5], [0.1, -1.2]])
COVS = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.3, -0.1], [-0.1, 0.2]], [[0.1, 0.0], [0.0, 0.9]]])
MIXTURES = {
    "isotropic": GaussianMixture(WEIGHTS, MEANS, stds=torch.tensor([0.3, 0.6, 0.45])),
    "full": GaussianMixture(WEIGHTS, MEANS, covs=COVS),
}


# ---- divergence


def field(x):
    """A field in which every entry depends on all others of its sample, and on none of another sample."""
    flat = x.reshape(len(x), -1)
    return (torch.sin(flat * flat.roll(1, 1)) + flat.sum(1, keepdim=True) ** 2 * flat).reshape(x.shape)


@pytest.mark.equation("divergence")
@pytest.mark.parametrize("shape", [(3, 4), (2, 1, 2, 3), (4,)], ids=str)
def test_the_divergence_is_the_trace_of_the_jacobian(shape, rng):
    x = torch.randn(shape, dtype=torch.float64, generator=rng)
    value, found = divergence(field, x)
    torch.testing.assert_close(value, field(x), rtol=0, atol=0)
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda y: field(y[None])[0].flatten(), x[i])
        truth = jacobian.reshape(x[i].numel(), -1).trace()
        torch.testing.assert_close(found[i], truth, rtol=1e-12, atol=1e-12)
    assert not value.requires_grad
    assert not found.requires_grad


@pytest.mark.equation("divergence")
def test_random_signs_give_each_sample_s_quadratic_forms(rng):
    """probe' J probe, a mean over probes; all 2^D signs together give the trace exactly."""
    x = torch.randn(3, 4, dtype=torch.float64, generator=rng)
    signs = torch.tensor([[1 - 2 * (k >> j & 1) for j in range(4)] for k in range(16)], dtype=torch.float64)
    value, found = divergence(field, x, signs[:, None].expand(16, 3, 4))
    torch.testing.assert_close(value, field(x), rtol=0, atol=0)
    torch.testing.assert_close(found, divergence(field, x)[1], rtol=1e-12, atol=1e-12)
    two = torch.stack([signs[[1, 5, 9]], signs[[3, 2, 7]]])
    jacobian = [torch.autograd.functional.jacobian(lambda y: field(y[None])[0], row) for row in x]
    truth = torch.stack([sum(p[i] @ jacobian[i] @ p[i] for p in two) / 2 for i in range(3)])
    torch.testing.assert_close(divergence(field, x, two)[1], truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_fields_that_do_not_depend_on_x_have_none(mode):
    x, c = torch.ones(2, 3), torch.ones((), requires_grad=True)
    with mode():
        for flat in (lambda x: torch.ones(2, 3), lambda x: c * torch.ones(2, 3)):
            for probes in (None, torch.ones(2, 2, 3)):
                assert torch.equal(divergence(flat, x, probes)[1], torch.zeros(2))
        torch.testing.assert_close(divergence(lambda x: 3 * x, x)[1], torch.full((2,), 9.0))


# ---- likelihood


@pytest.mark.equation("change-of-variables")
@pytest.mark.parametrize(("name", "kind"), [(name, "full") for name in PATHS] + [("VP", "isotropic"), ("VE", "isotropic")])
def test_the_likelihood_of_a_mixture_is_its_density(name, kind):
    """To 1e-4 nats, and to 1e-3 far in the tails, where the density is e^-20 to e^-30.

    VE starts with sigma_min already there: the density is that at t = 0. Stable Diffusion's table ends with alpha = 0.068:
    the mixture's third moment, of the order alpha^3 |x|^3, is still to be seen, and its end is not quite a Gaussian.
    """
    path, mixture, loose = PATHS[name], MIXTURES[kind], 5 if name == "Stable Diffusion" else 1
    x = torch.cat([mixture.sample(7, seeded(1)), torch.tensor([[2.5, -2.5]], dtype=torch.float64)])
    truth = mixture.log_prob(x, path, scalar(0.0)) if name == "VE" else mixture.log_prob(x)
    found = log_likelihood(Dynamics(path, mixture.predict(path)), x)
    torch.testing.assert_close(found[:7], truth[:7], rtol=0, atol=loose * 1e-4)
    torch.testing.assert_close(found[7:], truth[7:], rtol=0, atol=loose * 1e-3)


@pytest.mark.equation("change-of-variables")
def test_the_likelihood_of_a_gaussian_on_a_path_that_ends_early():
    """alpha(0.6) = 0.16: the Gaussian with the model's own mean and curvature ends it, not N(0, sigma^2).

    log V = log sigma^2 + log(1 + r), r = alpha^2 s^2 / sigma^2, to first order in r is off by r^2 / 2; the mean likewise.
    """

    class Early(VP):
        t_max = 0.6

    path, data = Early(), GaussianData(0.7, 0.6)
    x = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    r = float((path.alpha(scalar(0.6)) * data.std / path.sigma(scalar(0.6))) ** 2)
    assert r**2 < 1e-4
    truth = torch.distributions.Normal(data.mean, data.std).log_prob(x)[:, 0]
    found = log_likelihood(Dynamics(path, data.predict(path)), x)
    torch.testing.assert_close(found, truth, rtol=0, atol=1.5 * r**2)


def test_types_and_shapes_of_data_are_kept():
    mixture = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[0.5] * 4, [-0.5] * 4]), torch.tensor([0.5, 0.8]))
    x = mixture.sample(3, seeded(0))
    pictures = x.float().reshape(3, 1, 2, 2)
    found = log_likelihood(Dynamics(VP(), mixture.predict(VP())), pictures, rtol=1e-4, atol=1e-4)
    assert (found.dtype, found.shape) == (torch.float32, (3,))
    torch.testing.assert_close(found.double(), mixture.log_prob(x), rtol=0, atol=5e-3)
    assert torch.equal(pictures, x.float().reshape(3, 1, 2, 2))


@pytest.mark.equation("change-of-variables")
def test_random_probes_are_unbiased():
    """40 copies of one point of a full covariance, each with its own sign: within 4 standard errors, and not for free."""
    mixture, n = MIXTURES["full"], 40
    dynamics = Dynamics(VP(), mixture.predict(VP()))
    point = torch.tensor([[0.4, -0.6]], dtype=torch.float64)
    found = log_likelihood(dynamics, point.expand(n, 2), rtol=1e-4, atol=1e-4, hutchinson=1, generator=seeded(0))
    error = found.std().item() / math.sqrt(n)
    assert 0.001 < error < 0.2
    assert abs(found.mean().item() - mixture.log_prob(point).item()) < 4 * error
    assert torch.equal(
        found[:5], log_likelihood(dynamics, point.expand(n, 2), rtol=1e-4, atol=1e-4, hutchinson=1, generator=seeded(0))[:5]
    )
    more = log_likelihood(dynamics, point.expand(n, 2), rtol=1e-4, atol=1e-4, hutchinson=8, generator=seeded(1))
    assert more.std().item() == pytest.approx(found.std().item() / math.sqrt(8), rel=0.5)  # 4.5 standard errors of a std


def test_tolerances_are_those_asked_for():
    """The error falls with them; the coarse one is visible."""
    dynamics = Dynamics(VP(), MIXTURES["isotropic"].predict(VP()))
    x = MIXTURES["isotropic"].sample(4, seeded(2))
    truth = MIXTURES["isotropic"].log_prob(x)
    coarse, fine = (float((log_likelihood(dynamics, x, rtol=tol, atol=tol) - truth).abs().max()) for tol in (1e-2, 1e-5))
    assert 1e-4 < coarse < 1
    assert fine < 1e-3


def test_a_failing_integration_raises():
    def predict(x, t):
        return Prediction(x * math.nan, x * math.nan)

    with pytest.raises(FloatingPointError, match="the likelihood's integration failed"):
        log_likelihood(Dynamics(VP(), predict), torch.zeros(2, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rtol": 0.0}, "rtol, atol: expected numbers > 0"),
        ({"atol": 0.0}, "rtol, atol: expected numbers > 0"),
        ({"atol": -1.0}, "rtol, atol: expected numbers > 0"),
        ({"rtol": math.nan}, "rtol, atol: expected numbers > 0"),
        ({"hutchinson": 0}, "hutchinson: expected None or a number of probes >= 1"),
    ],
)
def test_bad_options_are_refused(options, said):
    dynamics = Dynamics(VP(), GaussianData().predict(VP()))
    with pytest.raises(ValueError, match=said):
        log_likelihood(dynamics, torch.zeros(2, 1), **options)


# ---- bits


@pytest.mark.equation("bits-per-dimension")
def test_a_uniform_picture_of_256_levels_costs_8_bits():
    """Its density on [-1, 1]^D is 2^-D, its levels lie 2/255 apart: log2 of the number of cells, up to 256/255."""
    log_prob = torch.tensor([-12 * math.log(2.0)], dtype=torch.float64)
    assert bits_per_dimension(log_prob, 12, 2 / 255).item() == pytest.approx(math.log2(255), rel=1e-12)
    log_prob = torch.tensor([-12 * math.log(256.0)], dtype=torch.float64)  # on [0, 256]^D, cells of side 1
    assert bits_per_dimension(log_prob, 12).item() == pytest.approx(8, rel=1e-12)


@pytest.mark.equation("bits-per-dimension")
def test_bits_are_the_entropy_of_the_rounded_number():
    """For narrow cells -log2(p(x) width) is on average the entropy of the Gaussian's cells, by the sum over them."""
    width, std, gauss = 0.05, 0.7, torch.distributions.Normal(0.0, 0.7)
    edges = torch.arange(-120, 121, dtype=torch.float64) * width
    shares = gauss.cdf(edges[1:]) - gauss.cdf(edges[:-1])
    entropy = -(shares * torch.log2(shares.clamp(min=1e-300))).sum().item()
    centres = (edges[1:] + edges[:-1]) / 2
    found = (shares * bits_per_dimension(gauss.log_prob(centres), 1, width)).sum().item()
    assert found == pytest.approx(entropy, rel=1e-4)
    assert found == pytest.approx(math.log2(std * math.sqrt(2 * math.pi * math.e) / width), rel=1e-4)


@pytest.mark.equation("bits-per-dimension")
def test_bits_average_over_entries(rng):
    parts = torch.randn(5, 7, dtype=torch.float64, generator=rng)
    found = bits_per_dimension(parts.sum(1), 7, 0.25)
    np.testing.assert_allclose(found, (-parts / math.log(2)).mean(1) + 2, rtol=1e-12)
    for options, said in (((0, 1.0), "entries"), ((3, 0.0), "width"), ((3, -1.0), "width"), ((3, math.nan), "width")):
        with pytest.raises(ValueError, match=f"{said}: expected"):
            bits_per_dimension(parts.sum(1), *options)


def test_a_prediction_that_detaches_is_refused_and_inference_mode_is_not():
    """Autograd would see no change of volume: the result would be wrong by nats, without a word."""
    mixture = GaussianMixture(torch.ones(1), torch.zeros(1, 2), stds=torch.tensor([0.7]))
    predict, x = mixture.predict(VP()), torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    with pytest.raises(ValueError, match="predict: expected a function that autograd can follow"):
        log_likelihood(Dynamics(VP(), torch.no_grad()(predict)), x)
    with torch.inference_mode():
        inside = log_likelihood(Dynamics(VP(), predict), x)
    assert inside.item() == pytest.approx(mixture.log_prob(x).item(), abs=1e-4)


@pytest.mark.equation("change-of-variables")
def test_outliers_in_single_precision_are_followed_though_differences_are_coarse(rng):
    """A thousand deviations away a difference over 1e-3 has two digits: enough to see that nothing was detached."""
    data, x = GaussianData(0.0, 1.0), 1000 + torch.randn(16, 4, generator=rng)
    found = log_likelihood(Dynamics(VE(), data.predict(VE())), x, rtol=1e-4, atol=1e-4)
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(x.double()).sum(1)
    torch.testing.assert_close(found.double(), truth, rtol=1e-3, atol=0)


def test_a_prediction_that_is_not_finite_stops_at_once():
    dynamics = Dynamics(VP(), lambda x, t: Prediction(x * math.nan, x * math.nan))
    with pytest.raises(FloatingPointError, match="not finite at t="):
        sample(dynamics, torch.ones(2, 2), grid(VP(), 3), rk45())
    with pytest.raises((FloatingPointError, ValueError)):
        log_likelihood(dynamics, torch.ones(2, 2))
