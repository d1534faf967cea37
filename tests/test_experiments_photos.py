"""Floor 6: one backward pass of the duel gives each network its own gradient; what is frozen stays; the adversary waits."""

import pytest
import torch
from torch.nn.functional import conv2d

from tinyldm import seeded
from tinyldm.data import InMemory
from tinyldm.experiments.photos import AutoencoderGAN, Objective, adversarial_loss, compression_loss, train_autoencoder
from tinyldm.losses import adaptive_weight, hinge_discriminator, hinge_generator, perceptual_distance
from tinyldm.nn import AutoencoderConfig, DiscriminatorConfig
from tinyldm.train import Budget, fit

CONFIG = AutoencoderConfig(in_channels=3, latent_channels=2, channels=(8, 8), groups=4)
BUDGET = Budget(steps=6, batch=4, lr=1e-2, warmup=1)


def pictures(n=12, side=16):
    return InMemory({"image": torch.rand(n, 3, side, side, generator=seeded(0)) * 2 - 1})


def duel(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderGAN(CONFIG.build(), DiscriminatorConfig(3, width=8, layers=1).build())


def edges(x):
    """A feature network without parameters: differences of neighbouring pixels."""
    kernel = torch.tensor([[-1.0, 1.0]]).expand(3, 1, 1, 2)
    return [conv2d(x, kernel, groups=3)]


def test_one_backward_pass_gives_each_network_the_gradient_of_its_own_loss():
    pair, x = duel(), pictures().tensors["image"][:4]
    objective = Objective(adversarial=0.5)

    def parts():
        x_hat = pair.autoencoder.decode(pair.autoencoder.encode(x).mode())
        return x_hat, ((x - x_hat) ** 2).mean()

    x_hat, error = parts()
    (error + adversarial_loss(pair, x, x_hat, error, objective)).backward()
    together = {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}

    x_hat, error = parts()
    fool = hinge_generator(pair.discriminator(x_hat))
    weight = 0.5 * adaptive_weight(error, fool, pair.autoencoder.decoder.conv_out.weight)
    own = dict(pair.autoencoder.named_parameters())
    apart = torch.autograd.grad(error + weight * fool, own.values(), allow_unused=True)
    for name, gradient in zip(own, apart, strict=True):
        if gradient is not None:
            torch.testing.assert_close(together[f"autoencoder.{name}"], gradient, rtol=1e-4, atol=1e-6)
    tell = hinge_discriminator(pair.discriminator(x), pair.discriminator(x_hat.detach()))
    own = dict(pair.discriminator.named_parameters())
    for name, gradient in zip(own, torch.autograd.grad(tell, own.values()), strict=True):
        torch.testing.assert_close(together[f"discriminator.{name}"], gradient, rtol=1e-4, atol=1e-6)


def test_the_adversary_waits_for_its_start():
    pair, x = duel(), pictures().tensors["image"][:4]
    for step in range(4):
        x_hat = pair.autoencoder.decode(pair.autoencoder.encode(x).mode())
        extra = adversarial_loss(pair, x, x_hat, ((x - x_hat) ** 2).mean(), Objective(adversarial=1.0, start=2))
        assert (extra.item() != 0) == (step >= 2)


def test_the_loss_is_the_sum_of_its_named_parts():
    autoencoder, batch = duel().autoencoder, {"image": pictures().tensors["image"][:3]}
    objective = Objective(pixel="l1", kl_weight=0.1, perceptual=2.0)
    loss = compression_loss(objective, edges)(autoencoder, batch, seeded(5))
    posterior = autoencoder.encode(batch["image"])
    x_hat = autoencoder.decode(posterior.sample(seeded(5)))
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    )
    expected = (batch["image"] - x_hat).abs().mean() + 0.1 * kl.mean()
    expected = expected + 2 * perceptual_distance(edges, batch["image"], x_hat).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "features"),
    [
        (Objective("l1"), None),
        (Objective("l2", perceptual=0.1), edges),
        (Objective("l1", 1e-6, 0.1, adversarial=0.1, start=2), edges),
    ],
)
def test_every_objective_trains_and_a_seed_means_one_network(objective, features):
    runs = [
        train_autoencoder(CONFIG, objective, pictures(), BUDGET, seed=s, features=features, progress=False) for s in (0, 0, 1)
    ]
    assert torch.isfinite(runs[0][1]).all()
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][1], runs[2][1])
    assert all(p.requires_grad for p in runs[0][0].parameters())


def test_with_a_frozen_encoder_the_latents_stay_the_same_to_the_bit():
    first, _ = train_autoencoder(CONFIG, Objective(), pictures(), BUDGET, progress=False)
    second, _ = train_autoencoder(
        CONFIG, Objective("l1"), pictures(), BUDGET, seed=1, start_from=first, freeze_encoder=True, progress=False
    )
    x = pictures().tensors["image"]
    with torch.no_grad():
        one, two = first.encode(x), second.encode(x)
        assert torch.equal(one.mean, two.mean)
        assert torch.equal(one.logvar, two.logvar)
        assert not torch.equal(first.decode(one.mode()), second.decode(one.mode()))


def test_a_killed_duel_goes_on_to_the_same_numbers(tmp_path):
    """The count of updates is saved too: the adversary enters the resumed run when it would have entered the whole one."""
    loss = compression_loss(Objective(adversarial=0.1, start=4))

    def killed(module, batch, generator):
        if module.step == 3:
            raise KeyboardInterrupt
        return loss(module, batch, generator)

    def run(loss, **options):
        pair = duel()
        return pair, fit(pair, loss, pictures(), BUDGET, generator=seeded(0), progress=False, **options)

    whole, history = run(loss)
    at = {"checkpoint": tmp_path / "duel.safetensors", "save_every": 2}
    with pytest.raises(KeyboardInterrupt):
        run(killed, **at)
    resumed, same = run(loss, **at)
    assert torch.equal(history, same)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Objective(kl_weight=-1.0), "kl_weight: expected a number >= 0, got -1.0"),
        (lambda: Objective(adversarial=-1.0), "adversarial: expected a number >= 0"),
        (lambda: Objective("l3"), "pixel='l3' is unknown"),
        (lambda: compression_loss(Objective(perceptual=1.0)), "features: expected a feature network"),
        (
            lambda: train_autoencoder(CONFIG, Objective(), InMemory({"image": torch.full((4, 3, 8, 8), 2.0)}), BUDGET),
            r"image: expected values in \[-1",
        ),
        (lambda: train_autoencoder(CONFIG, Objective(), InMemory({"x": torch.zeros(4, 3, 8, 8)}), BUDGET), "data: expected"),
    ],
)
def test_what_does_not_fit_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
