"""Floor 4: the perceptual distance and the adversarial losses against cosines, densities and plain gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinyldm.losses import adaptive_weight, hinge_discriminator, hinge_generator, perceptual_distance

F64 = {"dtype": torch.float64}


@pytest.fixture
def features(rng):
    """Two layers of random features."""
    first, second = (torch.randn(shape, generator=rng, **F64) for shape in ((5, 3, 3, 3), (7, 5, 3, 3)))

    def maps(x):
        h = F.softplus(F.conv2d(x, first))  # no pixel without features
        return [h, F.conv2d(h, second, stride=2)]

    return maps


def pictures(rng):
    return (torch.randn(2, 3, 9, 9, generator=rng, **F64) for _ in range(2))


@pytest.mark.equation("perceptual")
def test_without_weights_it_is_two_minus_two_cosines(features, rng):
    x, y = pictures(rng)
    cosines = [F.cosine_similarity(f, g, dim=1).mean((1, 2)) for f, g in zip(features(x), features(y))]
    torch.testing.assert_close(perceptual_distance(features, x, y), sum(2 - 2 * c for c in cosines), rtol=1e-6, atol=0)


@pytest.mark.equation("perceptual")
def test_the_papers_formula_pixel_by_pixel(features, rng):
    x, y = pictures(rng)
    weights = [torch.rand(c, generator=rng, **F64) for c in (5, 7)]  # squared, the paper's w
    found = perceptual_distance(features, x, y, weights)
    for i in range(2):
        total = 0.0
        for w, f, g in zip(weights, features(x), features(y)):
            f, g = f[i].numpy(), g[i].numpy()
            _, height, width = f.shape
            for h, v in np.ndindex(height, width):
                a, b = f[:, h, v], g[:, h, v]
                norms = [max(np.linalg.norm(u), 1e-30) for u in (a, b)]
                total += np.sum((np.sqrt(w.numpy()) * (a / norms[0] - b / norms[1])) ** 2) / (height * width)
        assert found[i].item() == pytest.approx(total, rel=1e-6)


def test_equal_pictures_are_at_distance_zero_and_louder_features_change_nothing(features, rng):
    x, y = pictures(rng)
    assert torch.equal(perceptual_distance(features, x, x), torch.zeros(2, **F64))
    louder = perceptual_distance(lambda v: [7 * f for f in features(v)], x, y)
    torch.testing.assert_close(louder, perceptual_distance(features, x, y), rtol=1e-6, atol=0)


def test_a_pixel_without_features_has_a_gradient():
    """The published code divides by the norm and returns NaN here."""
    y = torch.zeros(1, 3, 4, 4, requires_grad=True)
    distance = perceptual_distance(lambda v: [v.relu()], torch.ones(1, 3, 4, 4), y)
    distance.sum().backward()
    assert torch.isfinite(y.grad).all()


def test_the_perceptual_distance_refuses_what_it_cannot_compare(features, rng):
    x, y = pictures(rng)
    with pytest.raises(ValueError, match="y: expected the shape of x"):
        perceptual_distance(features, x, y[:1])
    with pytest.raises(ValueError, match="x: expected finite values"):
        perceptual_distance(features, x * math.nan, y)
    with pytest.raises(ValueError, match=r"weights: expected one weight a channel, \[\(5,\), \(7,\)\], got shapes \[\(5,\)\]"):
        perceptual_distance(features, x, y, [torch.ones(5)])


@pytest.mark.equation("hinge")
def test_the_best_discriminator_measures_total_variation(rng):
    """On finitely many pictures: gradient descent on the logits ends at 1 - TV, with logits of the sign of p - q."""
    p, q = (torch.softmax(torch.randn(6, generator=rng, **F64), 0) for _ in range(2))
    copies = [torch.repeat_interleave(torch.arange(6), (v * 10_000).round().long()) for v in (p, q)]
    logits = torch.zeros(6, **F64, requires_grad=True)
    for step in range(300):
        loss = hinge_discriminator(logits[copies[0]], logits[copies[1]])
        (gradient,) = torch.autograd.grad(loss, logits)
        logits.data -= 30 / (1 + step) * gradient
    assert loss.item() == pytest.approx(1 - (p - q).abs().sum().item() / 2, abs=2e-3)
    assert torch.equal(logits.sign(), (p - q).sign())


@pytest.mark.equation("hinge")
def test_hinge_losses_in_numbers():
    real, fake = torch.tensor([[-1.0, 0.5], [2.0, 1.0]]), torch.tensor([-3.0, 0.0, 1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx(((2 + 0.5 + 0 + 0) / 4 + (0 + 1 + 2) / 3) / 2)
    assert hinge_discriminator(torch.zeros(3), torch.zeros(5)).item() == 1
    assert hinge_generator(fake).item() == pytest.approx(2 / 3)
    fake.requires_grad_()
    hinge_generator(fake).backward()
    torch.testing.assert_close(fake.grad, torch.full((3,), -1 / 3))


@pytest.mark.equation("adaptive-weight")
def test_it_is_the_ratio_of_two_known_gradients(rng):
    """Losses linear in the weight: their gradients are the coefficients."""
    weight, a, b = (torch.randn(4, 3, generator=rng, **F64) for _ in range(3))
    weight.requires_grad_()
    found = adaptive_weight((a * weight).sum(), (b * weight).sum(), weight)
    assert found.item() == pytest.approx(np.linalg.norm(a.numpy()) / (np.linalg.norm(b.numpy()) + 1e-4), rel=1e-12)
    assert not found.requires_grad


@pytest.mark.equation("adaptive-weight")
def test_weighted_both_losses_pull_equally_hard(rng):
    first, last = torch.nn.Linear(3, 8).double(), torch.nn.Linear(8, 3).double()
    z, x = (torch.randn(5, 3, generator=rng, **F64) for _ in range(2))
    x_hat = last(first(z).tanh())
    reconstruction, generator = (x - x_hat).abs().mean(), 50 * hinge_generator(x_hat**3)
    weight = adaptive_weight(reconstruction, generator, last.weight)
    pulls = [torch.autograd.grad(v, last.weight, retain_graph=True)[0].norm() for v in (reconstruction, weight * generator)]
    torch.testing.assert_close(pulls[1], pulls[0], rtol=1e-3, atol=0)
    (reconstruction + weight * generator).backward()  # the graph is still there
    assert first.weight.grad is not None


@pytest.mark.equation("adaptive-weight")
def test_a_discriminator_without_an_opinion_is_not_followed_to_infinity():
    weight = torch.ones(2, **F64, requires_grad=True)
    assert adaptive_weight(3 * weight.sum(), 0 * weight.sum(), weight).item() == 1e4  # 3 sqrt(2) / 1e-4 is more
    assert adaptive_weight(3 * weight.sum(), 0 * weight.sum(), weight, maximum=20.0).item() == 20
    assert adaptive_weight(0 * weight.sum(), weight.sum(), weight).item() == 0


def test_the_adaptive_weight_refuses_a_weight_that_takes_no_part():
    weight, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="last_weight: expected a weight that generator_loss depends on"):
        adaptive_weight(weight.sum(), other.sum(), weight)
    with pytest.raises(ValueError, match="last_weight: expected a weight that reconstruction_loss depends on"):
        adaptive_weight(weight.sum(), weight.sum(), weight.detach())
    with pytest.raises(ValueError, match="reconstruction_loss: expected a single number"):
        adaptive_weight(weight, weight.sum(), weight)
