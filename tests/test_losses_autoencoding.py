"""Floor 4: the autoencoder's losses against torch.distributions, quadrature, a search, and gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from tinyldm import DiagonalGaussian, kl_diagonal_gaussians
from tinyldm.losses import (
    autoencoder_loss,
    best_variance,
    beta_loss,
    effective_beta,
    free_bits,
    gaussian_nll,
    negative_elbo,
    reconstruction_error,
)

F64 = {"dtype": torch.float64}


def pair(rng, *shape):
    return (torch.randn(shape, generator=rng, **F64) for _ in range(2))


@pytest.mark.equation("gaussian-decoder")
@pytest.mark.parametrize("form", ["number", "()", "(B,)", "an entry"])
def test_the_gaussian_decoder_is_a_density(form, rng):
    x, x_hat = pair(rng, 3, 2, 4, 4)
    each = torch.rand(x.shape, generator=rng, **F64) + 0.1
    variance = {"number": 0.3, "()": each[0, 0, 0, 0], "(B,)": each[:, 0, 0, 0], "an entry": each}[form]
    std = torch.as_tensor(variance, **F64).sqrt()
    std = std.reshape(3, 1, 1, 1) if form == "(B,)" else std
    truth = -Independent(Normal(x_hat, std.expand_as(x)), 3).log_prob(x)
    torch.testing.assert_close(gaussian_nll(x, x_hat, variance), truth, rtol=1e-12, atol=0)


@pytest.mark.equation("best-variance")
def test_the_mean_squared_error_is_the_most_likely_variance(rng):
    x, x_hat = pair(rng, 5, 2, 4, 4)
    found = minimize_scalar(lambda s: float(gaussian_nll(x, x_hat, math.exp(s)).mean()), options={"xtol": 1e-10})
    assert best_variance(x, x_hat).item() == pytest.approx(math.exp(found.x), rel=1e-6)
    entries = 32
    left = entries / 2 * (math.log(2 * math.pi * math.e) + best_variance(x, x_hat).log().item())
    assert found.fun == pytest.approx(left, rel=1e-12)


@pytest.mark.equation("best-variance")
def test_a_learned_variance_is_led_there(rng):
    """The gradient of the likelihood with respect to log sigma^2 vanishes at the mean squared error, and only there."""
    x, x_hat = pair(rng, 5, 7)
    log_variance = best_variance(x, x_hat).log()
    slopes = []
    for shift in (-0.5, 0.0, 0.5):
        s = (log_variance + shift).requires_grad_()
        slopes.append(torch.autograd.grad(gaussian_nll(x, x_hat, s.exp()).mean(), s)[0].item())
    assert slopes[1] == pytest.approx(0, abs=1e-12)
    assert slopes[0] < 0 < slopes[2]


WEIGHT, NOISE = 1.7, 0.4  # p(z) = N(0, 1), p(x|z) = N(WEIGHT z, NOISE): everything about it is known
EVIDENCE = torch.tensor([0, math.sqrt(WEIGHT**2 + NOISE)], **F64)  # mean and standard deviation of p(x)


def mean_elbo(x, mean, std):
    """The posterior average of ``negative_elbo`` by Gauss-Hermite quadrature, exact for polynomials."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(20))
    q = DiagonalGaussian(mean.expand(20, 1), torch.full((20, 1), 2 * math.log(std), **F64))
    values = negative_elbo(x.expand(20, 1), WEIGHT * q.sample_with(nodes[:, None]), q, NOISE)
    return (weights / weights.sum() * values).sum()


@pytest.mark.equation("vae-elbo")
@pytest.mark.parametrize("x", [-1.3, 0.0, 2.4])
def test_with_the_exact_posterior_the_bound_is_the_likelihood(x):
    x = torch.tensor([[x]], **F64)
    mean, variance = WEIGHT * x / (WEIGHT**2 + NOISE), NOISE / (WEIGHT**2 + NOISE)
    truth = -Normal(*EVIDENCE).log_prob(x).squeeze()
    torch.testing.assert_close(mean_elbo(x, mean, math.sqrt(variance)), truth, rtol=1e-12, atol=1e-12)


@pytest.mark.equation("vae-elbo")
def test_the_gap_is_the_divergence_to_the_posterior():
    x, q = torch.tensor([[0.9]], **F64), (torch.tensor([[-0.2]], **F64), 0.7)
    mean, variance = WEIGHT * x / (WEIGHT**2 + NOISE), NOISE / (WEIGHT**2 + NOISE)
    nll = -Normal(*EVIDENCE).log_prob(x).squeeze()
    gap = kl_diagonal_gaussians(q[0], torch.tensor([[2 * math.log(q[1])]], **F64), mean, torch.tensor([[variance]], **F64).log())
    assert gap > 0.5
    torch.testing.assert_close(mean_elbo(x, *q) - nll, gap.squeeze(), rtol=1e-12, atol=0)


@pytest.mark.equation("vae-elbo")
def test_unless_told_otherwise_the_decoder_has_unit_variance(rng):
    x, x_hat, mean, logvar = batch(rng)
    nll = -Normal(x_hat, 1.0).log_prob(x).sum((1, 2, 3))
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(negative_elbo(x, x_hat, DiagonalGaussian(mean, logvar)), nll + kl, rtol=1e-12, atol=0)


def batch(rng):
    """Images of 32 entries, reconstructions, and a posterior over 8, as leaves that take gradients."""
    x = torch.randn(3, 2, 4, 4, generator=rng, **F64)
    x_hat = torch.randn(x.shape, generator=rng, **F64).requires_grad_()
    mean, logvar = (torch.randn(3, 2, 2, 2, generator=rng, **F64).requires_grad_() for _ in range(2))
    return x, x_hat, mean, logvar


@pytest.mark.equation("beta-loss")
@pytest.mark.parametrize(("reduction", "D", "d"), [("sum_sum", 1, 1), ("mean_mean", 32, 8), ("mean_sum", 32, 1)])
def test_beta_loss_reduces_as_it_says(reduction, D, d, rng):  # noqa: N803
    x, x_hat, mean, logvar = batch(rng)
    loss = beta_loss(x, x_hat, DiagonalGaussian(mean, logvar), 0.3, reduction)
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    error = torch.linalg.vector_norm((x - x_hat).flatten(1), dim=1) ** 2
    torch.testing.assert_close(loss, error / D + 0.3 * kl / d, rtol=1e-12, atol=0)


def test_chapter_00s_loss_is_the_mean_mean_dialect(rng):
    x, x_hat, mean, logvar = batch(rng)
    q = DiagonalGaussian(mean, logvar)
    torch.testing.assert_close(autoencoder_loss(x, x_hat, q, 0.3), beta_loss(x, x_hat, q, 0.3, "mean_mean"))


@pytest.mark.equation("effective-beta")
@pytest.mark.parametrize("given", ["sum_sum", "mean_mean", "mean_sum", "variance"])
def test_the_four_dialects_pull_in_the_same_direction(given, rng):
    """Their gradients differ by one factor, the same for reconstruction, means and variances."""
    x, x_hat, mean, logvar = batch(rng)
    q = DiagonalGaussian(mean, logvar)
    beta = effective_beta(32, 8, **{given: 0.37})
    assert getattr(beta, given) == 0.37
    losses = [beta_loss(x, x_hat, q, getattr(beta, name), name) for name in ("sum_sum", "mean_mean", "mean_sum")]
    losses.append(negative_elbo(x, x_hat, q, beta.variance))
    gradients = [torch.autograd.grad(loss.sum(), (x_hat, mean, logvar), retain_graph=True) for loss in losses]
    rows = torch.stack([torch.cat([g.flatten() for g in three]) for three in gradients])
    factors = rows @ rows[0] / (rows[0] @ rows[0])
    torch.testing.assert_close(rows, factors[:, None] * rows[0], rtol=1e-10, atol=1e-10)
    expected = torch.tensor([1, 1 / 32, 1 / 32, 1 / (2 * beta.variance)], **F64)
    torch.testing.assert_close(factors, expected, rtol=1e-10, atol=0)


@pytest.mark.equation("effective-beta")
def test_latent_diffusions_weight_in_the_other_dialects():
    """1e-6, both summed, on 256x256 pictures and 32x32x4 latents: 2.08e-8 with two means, 5.1e-12 with a mean and a sum."""
    beta = effective_beta(3 * 256**2, 4 * 32**2, sum_sum=1e-6)
    assert beta.mean_mean == pytest.approx(1e-6 * 4096 / 196608)
    assert f"{beta.mean_mean:.2e} {beta.mean_sum:.1e} {beta.variance:.0e}" == "2.08e-08 5.1e-12 5e-07"
    assert effective_beta(10, 2, mean_sum=0.0).variance == 0  # no KL: the limit of a decoder without noise


@pytest.mark.equation("effective-beta")
@pytest.mark.parametrize(("pixels", "latents", "mean_sum", "mean_mean"), [(5, 1, 0.4, 0.4), (1, 1, 2.0, 2.0), (1, 4, 2.0, 8.0)])
def test_one_pixel_and_one_latent_are_sizes_too(pixels, latents, mean_sum, mean_mean):
    """sum_sum = 2 variance = D mean_sum = (D / d) mean_mean, at the smallest D and d."""
    beta = effective_beta(pixels, latents, sum_sum=2.0)
    assert (beta.sum_sum, beta.variance) == (2.0, 1.0)
    assert (beta.mean_sum, beta.mean_mean) == pytest.approx((mean_sum, mean_mean))


@pytest.mark.equation("free-bits")
def test_each_entry_pays_its_floor(rng):
    _, _, mean, logvar = batch(rng)
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0))
    loss = free_bits(DiagonalGaussian(mean, logvar), 0.5)
    assert (kl < 0.5).any()
    assert (kl > 0.5).any()
    torch.testing.assert_close(loss, torch.maximum(kl, torch.full_like(kl, 0.5)).flatten(1).sum(1), rtol=1e-12, atol=0)
    free = torch.autograd.grad(loss.sum(), mean, retain_graph=True)[0]
    assert torch.equal(free == 0, kl < 0.5)
    paid = torch.autograd.grad(kl.sum(), mean)[0]
    torch.testing.assert_close(free[kl > 0.5], paid[kl > 0.5])


@pytest.mark.equation("free-bits")
def test_a_channel_pays_on_average_over_the_batch(rng):
    _, _, mean, logvar = batch(rng)
    q = DiagonalGaussian(mean, logvar)
    channels = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).sum((2, 3)).mean(0)
    floor = channels.mean().item()  # one of the two channels is below
    expected = sum(max(floor, c) for c in channels.tolist())
    torch.testing.assert_close(free_bits(q, floor, "channel"), torch.full((3,), expected, **F64), rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(free_bits(q, floor, "channel").mean(), mean)[0]
    assert [bool((gradient[:, c] != 0).any()) for c in range(2)] == (channels > floor).tolist()
    points = DiagonalGaussian(mean[:, 0, 0], logvar[:, 0, 0])  # (B, 2): a channel is a coordinate
    assert free_bits(points, 0.0, "channel")[0].item() == pytest.approx(points.kl().mean().item())


def test_without_a_floor_free_bits_are_the_divergence(rng):
    _, _, mean, logvar = batch(rng)
    q = DiagonalGaussian(mean, logvar)
    torch.testing.assert_close(free_bits(q, 0.0), q.kl())


def test_the_reconstruction_error_is_a_mean_over_entries(rng):
    x, x_hat = pair(rng, 3, 2, 4, 4)
    laplace = -Laplace(x_hat, 1.0).log_prob(x) - math.log(2)
    gauss = -2 * Normal(x_hat, 1.0).log_prob(x) - math.log(2 * math.pi)
    torch.testing.assert_close(reconstruction_error(x, x_hat, "l1"), laplace.flatten(1).mean(1))
    torch.testing.assert_close(reconstruction_error(x, x_hat), gauss.flatten(1).mean(1))


def test_losses_refuse_what_means_nothing(rng):
    x, x_hat, mean, logvar = batch(rng)
    q = DiagonalGaussian(mean, logvar)
    broken = x.clone()
    broken[1, 0, 2, 3] = math.nan
    calls = [
        lambda x, y: gaussian_nll(x, y, 1.0),
        best_variance,
        lambda x, y: negative_elbo(x, y, q),
        lambda x, y: beta_loss(x, y, q, 1.0),
        lambda x, y: autoencoder_loss(x, y, q, 1.0),
        reconstruction_error,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"x_hat: expected the shape of x, \(3, 2, 4, 4\), got shape \(3, 2, 4\)"):
            call(x, x_hat[..., 0])
        with pytest.raises(ValueError, match=r"x: expected finite values, got values in \[nan, nan\]"):
            call(broken, x_hat)
    for variance in (0.0, -1.0, math.nan, torch.tensor([1.0, 0.0, 2.0])):
        with pytest.raises(ValueError, match="variance: expected a number > 0"):
            gaussian_nll(x, x_hat, variance)
    with pytest.raises(ValueError, match="posterior: expected 3, as many as x, got 2 samples"):
        negative_elbo(x, x_hat, DiagonalGaussian(mean[:2], logvar[:2]))
    for beta in (-1e-6, math.nan):
        with pytest.raises(ValueError, match="beta: expected a number >= 0"):
            beta_loss(x, x_hat, q, beta)
    with pytest.raises(ValueError, match="reduction='sum_mean' is unknown; did you mean"):
        beta_loss(x, x_hat, q, 1.0, "sum_mean")
    with pytest.raises(ValueError, match="floor: expected a number of nats >= 0, got -1"):
        free_bits(q, -1)
    with pytest.raises(ValueError, match="group='channels' is unknown; did you mean 'channel'"):
        free_bits(q, 1.0, "channels")
    with pytest.raises(ValueError, match="kind='L2' is unknown; did you mean 'l2'"):
        reconstruction_error(x, x_hat, "L2")


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ((10, 2), {}, "weight: expected exactly one of sum_sum, mean_mean, mean_sum, variance, got none"),
        ((10, 2), {"sum_sum": 1.0, "variance": 1.0}, "exactly one of .*, got sum_sum and variance"),
        ((10, 2), {"mean_mean": -1.0}, "mean_mean: expected a number >= 0, got -1"),
        ((10, 2), {"variance": 0.0}, "variance: expected a number > 0, got 0"),
        ((10, 2), {"sum_sum": math.nan}, "sum_sum: expected a number >= 0, got nan"),
        ((0, 2), {"sum_sum": 1.0}, "pixels: expected at least 1, got 0"),
        ((10, 0), {"sum_sum": 1.0}, "latents: expected at least 1, got 0"),
    ],
)
def test_the_converter_refuses_what_it_cannot_translate(sizes, weights, message):
    with pytest.raises(ValueError, match=message):
        effective_beta(*sizes, **weights)
