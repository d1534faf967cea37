"""Codebooks and generators without an encoder, against k-means, closed forms and maps that can be inverted by hand."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

import tinyldm as tl
from tinyldm.experiments.rivals import Codebook, codebook, codebook_loss, invert_generator, points_codebook, points_gan
from tinyldm.nn import PointCoderConfig, VectorQuantizer


@pytest.fixture
def coder(build):
    return build(PointCoderConfig(width=16, layers=2))


@pytest.fixture
def points(rng):
    return torch.randn(300, 2, generator=rng)


def test_what_is_encoded_is_the_vector_before_the_codes(coder, points):
    module = codebook(coder, points, 8)
    posterior = module.encode(points)
    torch.testing.assert_close(posterior.mean, coder.encode(points).mean)
    assert posterior.std.max() < 1e-6


def test_every_latent_is_decoded_from_its_nearest_code(coder, points, rng):
    module = codebook(coder, points, 8)
    z = 3 * torch.randn(50, 2, generator=rng)
    codes = module.quantizer.codebook.detach()
    nearest = torch.stack([min(codes, key=lambda code: float((code - one).norm())) for one in z])  # one by one
    torch.testing.assert_close(module.decode(z), coder.decode(nearest))
    assert len(module.decode(z).detach().round(decimals=4).unique(dim=0)) <= 8


def test_codes_begin_in_use(coder, points):
    module = codebook(coder, points, 16, seed=3)
    used, _ = module.quantizer.usage(module.quantizer.nearest(coder.encode(points).mean))
    assert used == 1


@pytest.mark.equation("vq")
def test_a_codebook_alone_becomes_k_means(rng):
    """With an encoder and a decoder that do nothing the loss is that of k-means, and training ends at sklearn's centres."""
    centers = torch.tensor([[-3.0, 0.0], [3.0, 1.0], [0.0, 4.0]])
    points = centers.repeat(100, 1) + 0.2 * torch.randn(300, 2, generator=rng)

    class Nothing(nn.Module):
        config = PointCoderConfig()

        def encode(self, x):
            return tl.DiagonalGaussian(x, torch.zeros_like(x))

        def decode(self, z):
            return z

    quantizer = VectorQuantizer(3, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(centers + 0.5)
    module = Codebook(Nothing(), quantizer)
    stepper = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(400):
        stepper.zero_grad()
        codebook_loss("point")(module, {"point": points}, tl.seeded(0)).backward()
        stepper.step()
    theirs = torch.tensor(KMeans(3, init=centers.numpy(), n_init=1).fit(points.numpy()).cluster_centers_)
    torch.testing.assert_close(quantizer.codebook.detach(), theirs.float(), atol=0.01, rtol=0)


def test_the_loss_is_the_error_of_the_code_and_the_quantiser_s(coder, points):
    module = codebook(coder, points, 8)
    loss = codebook_loss("point")(module, {"point": points}, tl.seeded(0))
    z = coder.encode(points).mean
    least = torch.cdist(z, module.quantizer.codebook).min(1).values ** 2
    expected = (module.decode(z) - points).square().mean() + 1.25 * least.mean()
    torch.testing.assert_close(loss, expected)


def test_points_are_learned_and_the_same_seed_gives_the_same_codebook():
    points = tl.data.six_gaussians().sample(500, tl.seeded(1)).float()
    module, history = points_codebook(points, 16, steps=400, seed=2)
    again, _ = points_codebook(points, 16, steps=400, seed=2)
    assert torch.equal(module.quantizer.codebook, again.quantizer.codebook)
    assert len(history) == 300  # the other quarter went to the plain autoencoder
    with torch.no_grad():
        error = (module.decode(module.encode(points).mean) - points).square().sum(1).mean()
    assert error < 0.2 * points.var(0).sum()


def test_a_generator_comes_nearer_to_the_data_and_is_the_same_for_the_same_seed():
    points = torch.tensor([2.0, -1.0]) + 0.1 * torch.randn(500, 2, generator=tl.seeded(1))
    white = torch.randn(500, 2, generator=tl.seeded(2))
    early, late, again = (points_gan(points, steps=n, seed=1)(white).detach() for n in (1, 300, 300))
    assert torch.equal(late, again)
    assert (late.mean(0) - points.mean(0)).norm() < 0.3 * (early.mean(0) - points.mean(0)).norm()


def test_the_search_inverts_a_linear_map(rng):
    """The truth is the solution of a linear system."""
    make = nn.Linear(2, 2)
    with torch.no_grad():
        make.weight.copy_(torch.tensor([[2.0, 0.5], [-0.3, 1.0]]))
    x = torch.randn(6, 2, generator=rng)
    z, miss = invert_generator(make, x, 2, tries=2, steps=400)
    truth = torch.linalg.solve(make.weight.detach(), (x - make.bias.detach()).T).T
    torch.testing.assert_close(z, truth, atol=1e-3, rtol=0)
    assert miss.max() < 1e-3


def test_the_search_reports_how_far_the_nearest_output_is(rng):
    """A map onto the unit circle misses a point by its distance from the circle; the best of several starts is returned."""

    class Circle(nn.Module):
        def __init__(self):
            super().__init__()
            self.radius = nn.Parameter(torch.ones(1))

        def forward(self, z):
            return self.radius * torch.cat([z.cos(), z.sin()], 1)

    x = 2 * torch.randn(8, 2, generator=rng)
    z, miss = invert_generator(Circle(), x, 1, tries=6, steps=300)
    assert z.shape == (8, 1)
    torch.testing.assert_close(miss, (x.norm(dim=1) - 1).abs(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("tries", "steps"), [(0, 5), (5, 0)])
def test_a_search_of_nothing_is_refused(tries, steps):
    with pytest.raises(ValueError, match="tries, steps"):
        invert_generator(nn.Linear(2, 2), torch.zeros(1, 2), 2, tries=tries, steps=steps)
