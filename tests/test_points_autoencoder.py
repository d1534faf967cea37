"""The coder of points and the two small autoencoder trainings: against what theory says of their optima."""

import math

import pytest
import torch

from tinyldm import experiments, seeded
from tinyldm.data import load
from tinyldm.nn import PointCoderConfig


def cloud(n=4000, spreads=(1.0, 0.5, 0.1)):
    return torch.randn(n, len(spreads), generator=seeded(3)) * torch.tensor(spreads)


@pytest.mark.equation("beta-loss")
@pytest.mark.parametrize(("spread", "rate"), [(1.0, 0.5 * math.log(10)), (0.6, 0.5 * math.log(3.6)), (0.2, 0.0)])
def test_a_linear_coder_spends_the_rate_of_the_closed_form(spread, rate):
    """beta = 2 sigma^2: a direction of variance v is coded with 1/2 ln(v / sigma^2) nats, or not at all if v < sigma^2."""
    points, variance = cloud(spreads=(spread,)), 0.1
    module, _ = experiments.points_autoencoder(
        points, 2 * variance, config=PointCoderConfig(dims=1, latents=1, layers=0), steps=2500
    )
    with torch.no_grad():
        posterior = module.encode(points)
        error = ((module.decode(posterior.mode()) - points) ** 2).mean()
    assert posterior.kl().mean().item() == pytest.approx(rate, abs=0.03)
    exact = (  # the mean of the posterior is shrunk by 1 - sigma^2 / v
        spread**2 if rate == 0 else variance**2 / spread**2
    )
    assert error.item() == pytest.approx(exact, rel=0.3, abs=1e-3)


def test_without_noise_and_kl_it_is_an_autoencoder_and_with_noise_it_becomes_one():
    points = cloud(spreads=(1.0, 0.5))
    plain, history = experiments.points_autoencoder(points, 0.0, stochastic=False, steps=400)
    assert history[-20:].mean() < 0.01 * history[:20].mean()
    few = experiments.points_autoencoder(points, 0.0, steps=100)[0].encode(points).std.mean()
    many = experiments.points_autoencoder(points, 0.0, steps=600)[0].encode(points).std.mean()
    assert many < few / 2 < 0.5
    assert plain.encode(points).mean.shape == (4000, 2)


def test_a_seed_means_one_network():
    points = cloud(200)
    a, b, c = (
        experiments.points_autoencoder(points, 0.1, config=PointCoderConfig(dims=3), steps=5, seed=s)[1] for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_digits_are_rebuilt_better_with_a_small_weight_than_with_a_large_one():
    errors = []
    for weight in (1e-5, 10.0):
        module, history = experiments.digits_autoencoder(weight, steps=40, progress=False)
        assert module.config.latent_channels == 4
        x = load("digits", "test").tensors["image"][:64]
        with torch.no_grad():
            errors.append(((module.decode(module.encode(x).mode()) - x) ** 2).mean().item())
        assert history.shape == (40,)
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: PointCoderConfig(dims=0), "dims: expected at least 1, got 0"),
        (lambda: PointCoderConfig(latents=0), "latents: expected at least 1, got 0"),
        (lambda: PointCoderConfig(layers=-1), r"layers: expected 0 \(linear\) or more, got -1"),
        (lambda: PointCoderConfig().build().encode(torch.zeros(3)), r"x: expected \(B, 2\)"),
        (lambda: PointCoderConfig().build().decode(torch.zeros(3, 5)), r"z: expected \(B, 2\), got shape \(3, 5\)"),
        (lambda: experiments.points_autoencoder(torch.zeros(8, 2), -1.0, steps=1), "beta: expected a number >= 0"),
    ],
)
def test_what_does_not_fit_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
