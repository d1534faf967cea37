"""Vector quantisation against brute force, k-means and automatic differentiation of the paper's formula."""

import math

import pytest
import torch
from sklearn.cluster import KMeans

from tinyldm.nn import QuantizerConfig, VectorQuantizer


def quantizer(rng, codes=7, dim=3, commitment=0.25):
    module = VectorQuantizer(codes, dim, commitment).double()
    module.codebook.data = torch.randn(codes, dim, generator=rng, dtype=torch.float64)
    return module


def latents(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


@pytest.mark.equation("vq")
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 6)])
def test_each_vector_gets_its_nearest_code(shape, rng):
    module, z = quantizer(rng), latents(rng, *shape)
    z_q, indices, loss = module(z)
    vectors = z.movedim(1, -1).reshape(-1, 3)
    distances = torch.linalg.vector_norm(vectors[:, None] - module.codebook, dim=2)
    assert torch.equal(indices.flatten(), distances.argmin(1))
    assert indices.shape == (shape[0], *shape[2:])
    torch.testing.assert_close(z_q.movedim(1, -1).reshape(-1, 3), module.codebook[distances.argmin(1)])
    squares = (distances.min(1).values ** 2).reshape(shape[0], -1).mean(1)
    torch.testing.assert_close(loss, 1.25 * squares, rtol=1e-12, atol=0)


@pytest.mark.equation("vq")
def test_gradients_go_straight_through_and_to_the_codes_from_the_loss_alone(rng):
    module, z = quantizer(rng), latents(rng, 2, 3, 4, 4)
    z_q, indices, loss = module(z)
    upstream = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    to_z, to_codes = torch.autograd.grad((upstream * z_q).sum(), (z, module.codebook), retain_graph=True, allow_unused=True)
    assert torch.equal(to_z, upstream)
    assert to_codes is None
    to_z, to_codes = torch.autograd.grad(loss.sum(), (z, module.codebook))
    difference = (z - module.lookup(indices)).detach()  # z - code
    torch.testing.assert_close(to_z, 2 * 0.25 * difference / 16, rtol=1e-10, atol=1e-14)
    expected = torch.zeros_like(module.codebook)
    expected.index_add_(0, indices.flatten(), -2 * difference.movedim(1, -1).reshape(-1, 3) / 16)
    torch.testing.assert_close(to_codes, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.equation("vq")
def test_the_codes_of_k_means_are_at_rest(rng):
    """The codebook term is k-means' objective: its gradient vanishes where every code is the mean of its vectors."""
    z = latents(rng, 300, 2)
    module = quantizer(rng, 5, 2)
    means = KMeans(5, n_init=1, random_state=0, tol=0).fit(z.detach().numpy())
    module.codebook.data = torch.from_numpy(means.cluster_centers_)
    _, indices, loss = module(z)
    assert indices.tolist() == means.labels_.tolist()
    assert loss.sum().item() == pytest.approx(1.25 * means.inertia_)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), module.codebook)[0], torch.zeros(5, 2).double())


def test_a_lookup_is_a_picture_of_codes(rng):
    module = quantizer(rng)
    picture = module.lookup(torch.tensor([[[0, 1], [2, 6]]]))
    assert picture.shape == (1, 3, 2, 2)
    assert torch.equal(picture[0, :, 1, 1], module.codebook[6])
    assert torch.equal(module.nearest(picture), torch.tensor([[[0, 1], [2, 6]]]))


def test_usage_counts_codes_and_their_information():
    module = VectorQuantizer(8, 2)
    assert module.usage(torch.arange(8).repeat(3)) == (1.0, pytest.approx(8))
    assert module.usage(torch.full((2, 4, 4), 5)) == (1 / 8, pytest.approx(1))
    share, perplexity = module.usage(torch.tensor([0, 0, 1, 3]))
    assert share == 3 / 8
    assert math.log2(perplexity) == pytest.approx(1.5)


def test_codes_that_start_on_data_are_all_in_use(rng):
    z = 5 + torch.randn(2, 3, 8, 8, generator=rng)
    module = VectorQuantizer(64, 3)
    before = module.usage(module.nearest(z))[0]
    module.start_from(z, rng)
    assert before < 0.2
    assert module.usage(module.nearest(z))[0] == 1
    module.start_from(z[:1, :, :2, :2], rng)  # fewer vectors than codes: some twice
    assert len(module.codebook.unique(dim=0)) == 4


def test_the_quantizer_refuses_what_it_cannot_code():
    module = QuantizerConfig(codes=4, dim=3).build()
    assert QuantizerConfig.from_dict(module.config.as_dict()) == module.config
    with pytest.raises(ValueError, match=r"z: expected \(B, 3, \.\.\.\), codes of 3 numbers, got shape \(2, 4, 5\)"):
        module(torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match=r"indices: expected values in \[0, 3\]"):
        module.lookup(torch.tensor([4]))
    for wrong in ({"codes": 0}, {"dim": 0}, {"commitment": -0.1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            QuantizerConfig(**wrong)
