"""The aggregate posterior and the split of the KL penalty, against quadrature, torch.distributions and a closed form."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from tinyldm import DiagonalGaussian, aggregate_log_prob, kl_split, seeded


@pytest.fixture
def posterior(rng):
    return DiagonalGaussian(torch.randn(7, 2, generator=rng), torch.randn(7, 2, generator=rng) - 1)


@pytest.mark.equation("kl-split")
def test_the_aggregate_is_the_mixture_of_all_posteriors(posterior, rng):
    z = torch.randn(50, 2, generator=rng)
    parts = Independent(Normal(posterior.mean.double(), posterior.std.double()), 1)
    theirs = MixtureSameFamily(Categorical(torch.ones(7).double()), parts).log_prob(z.double())
    torch.testing.assert_close(aggregate_log_prob(posterior, z), theirs)


def test_latents_of_any_shape_and_more_of_them_than_fit_at_once(monkeypatch, rng):
    from tinyldm.gaussian import aggregate

    mean, z = torch.randn(5, 2, 3, 3, generator=rng), torch.randn(9, 2, 3, 3, generator=rng)
    whole = aggregate_log_prob(DiagonalGaussian(mean, mean / 4), z)
    monkeypatch.setattr(aggregate, "ENTRIES", 200)
    torch.testing.assert_close(aggregate_log_prob(DiagonalGaussian(mean, mean / 4), z), whole)
    with pytest.raises(ValueError, match="z: expected 18, as in the posterior, got 8"):
        aggregate_log_prob(DiagonalGaussian(mean, mean / 4), torch.zeros(3, 8))


@pytest.mark.equation("kl-split")
def test_the_two_parts_agree_with_quadrature(posterior):
    """Both integrals on a fine grid, from torch's densities alone."""
    side = torch.linspace(-9, 9, 901, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    cell = (side[1] - side[0]) ** 2
    each = torch.stack(
        [
            Independent(Normal(m, s), 1).log_prob(grid)
            for m, s in zip(posterior.mean.double(), posterior.std.double(), strict=True)
        ]
    )
    mixture = torch.logsumexp(each, 0) - math.log(7)
    prior = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1).log_prob(grid)
    information = (each.exp() * (each - mixture)).sum(1).mean() * cell
    marginal = (mixture.exp() * (mixture - prior)).sum() * cell
    assert information + marginal == pytest.approx(posterior.kl().mean().item(), abs=1e-4)

    generator = seeded(1)
    splits = [kl_split(posterior, generator) for _ in range(3000)]
    for name, value in (("information", information), ("marginal", marginal)):
        ours = torch.stack([getattr(split, name).mean() for split in splits])
        assert (ours.mean() - value).abs() < 4 * ours.std() / math.sqrt(3000), name


@pytest.mark.equation("kl-split")
def test_each_sample_s_parts_are_log_ratios_of_torch_s_densities(posterior):
    """Posteriors of unequal widths, each seen at its own sample: mean + std times the generator's noise."""
    assert posterior.logvar.std() > 0.5
    mean, std = posterior.mean.double(), posterior.std.double()
    z = (posterior.mean + posterior.std * torch.randn(7, 2, generator=seeded(4))).double()
    own = Independent(Normal(mean, std), 1)
    together = MixtureSameFamily(Categorical(torch.ones(7).double()), own).log_prob(z)
    prior = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1).log_prob(z)
    split = kl_split(posterior, seeded(4))
    torch.testing.assert_close(split.information, own.log_prob(z) - together, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(split.marginal, together - prior, rtol=1e-6, atol=1e-6)


@pytest.mark.equation("kl-split")
def test_the_parts_add_up_to_the_penalty_in_the_mean(rng):
    posterior = DiagonalGaussian(torch.randn(2000, 3, generator=rng), torch.randn(2000, 3, generator=rng) - 2)
    split = kl_split(posterior, seeded(5))  # noise of its own, not the means' again
    assert split.information.shape == split.marginal.shape == (2000,)
    excess = split.information + split.marginal - posterior.kl()
    assert excess.mean().abs() < 4 * excess.std() / math.sqrt(2000)


@pytest.mark.equation("kl-split")
def test_far_apart_the_information_is_log_n_and_alike_it_is_none():
    apart = DiagonalGaussian(torch.arange(8.0)[:, None] * 100, torch.zeros(8, 1))
    torch.testing.assert_close(kl_split(apart, seeded(0)).information, torch.full((8,), math.log(8)).double())
    alike = kl_split(DiagonalGaussian(torch.zeros(8, 2), torch.zeros(8, 2)), seeded(0))
    assert alike.information.abs().max() < 1e-6  # the posterior collapsed: z says nothing about x
    assert alike.marginal.abs().max() < 1e-6


def test_very_narrow_posteriors_stay_finite():
    narrow = DiagonalGaussian(torch.tensor([[0.0], [1.0]]), torch.full((2, 1), -30.0))
    split = kl_split(narrow, seeded(0))
    torch.testing.assert_close(split.information, torch.full((2,), math.log(2)).double(), atol=1e-3, rtol=0)
    assert split.marginal.isfinite().all()
