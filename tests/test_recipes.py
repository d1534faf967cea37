"""The recipes: every scale is the same program, also the one whose machine is not at hand."""

from dataclasses import replace

import pytest
import torch

from tinyldm.data import InMemory, load
from tinyldm.experiments import digits as recipes
from tinyldm.nn import AutoencoderConfig, UNetConfig
from tinyldm.runtime import SCALES, seeded
from tinyldm.train import Budget


def test_there_is_a_recipe_for_every_scale(monkeypatch):
    assert tuple(recipes.DIGITS) == SCALES
    for scale in SCALES:
        monkeypatch.setenv("TINYLDM_SCALE", scale)
        assert recipes.digits_recipe() is recipes.DIGITS[scale]
    monkeypatch.setenv("TINYLDM_SCALE", "cpus")
    with pytest.raises(ValueError, match="TINYLDM_SCALE='cpus' is unknown; did you mean 'cpu'"):
        recipes.digits_recipe()


@pytest.mark.parametrize("scale", SCALES)
def test_every_recipe_trains_saves_and_samples_on_the_cpu(scale, monkeypatch, tmp_path):
    """Two updates of each network at full size: the path of a larger scale must hold before its machine is there."""
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    few = InMemory(load("digits")[torch.arange(16)])  # encoding all of them with the largest network is slow
    monkeypatch.setattr(recipes, "load", lambda name: few)
    recipe = recipes.DIGITS[scale]
    short = replace(
        recipe,
        autoencoder_budget=replace(recipe.autoencoder_budget, steps=2, batch=2),
        denoiser_budget=replace(recipe.denoiser_budget, steps=2, batch=2),
    )
    model = recipes.train_digits(short, folder=str(tmp_path), progress=False)
    assert {f.name for f in tmp_path.iterdir()} == {"autoencoder.safetensors", "denoiser.safetensors"}
    images = model.sample(2, steps=2, generator=seeded(0))
    assert images.shape == (2, 1, 32, 32)
    again = recipes.train_digits(short, folder=str(tmp_path), progress=False)  # both runs are finished: nothing is left
    assert torch.equal(again.sample(2, steps=2, generator=seeded(0)), images)


def test_networks_are_drawn_from_their_seed_alone():
    recipe = recipes.Recipe(
        AutoencoderConfig(channels=(8,), groups=4),
        Budget(1, 1, 1e-3),
        UNetConfig(channels=(8,), attention=(False,)),
        Budget(1, 1, 1e-3),
    )
    torch.manual_seed(1)
    first, state = recipe.networks(3), torch.get_rng_state()
    torch.manual_seed(2)
    second, other = recipe.networks(3), recipe.networks(4)
    for a, b, c in zip(first, second, other, strict=True):
        weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (a, b, c)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # the global stream is where it was


def test_the_gaussian_rival_has_the_mean_and_covariance_of_the_latents():
    g = seeded(0)
    mixing = torch.randn(12, 12, generator=g, dtype=torch.float64)
    z = (torch.randn(500, 12, generator=g, dtype=torch.float64) @ mixing + 3).float().reshape(-1, 3, 2, 2)
    drawn = recipes.gaussian_baseline(z, 200_000, seeded(1)).flatten(1).double()
    wanted = z.flatten(1).double()
    scale = torch.cov(wanted.T).diag().sqrt()
    assert ((drawn.mean(0) - wanted.mean(0)).abs() / scale).max() < 5 / 200_000**0.5
    error = (torch.cov(drawn.T) - torch.cov(wanted.T)) / (scale[:, None] * scale)
    assert error.abs().max() < 0.02


def test_labels_are_hidden_as_often_as_stated():
    """The denoiser's loss shows the network the null label in about one of ten examples."""
    seen = []

    class Spy(torch.nn.Module):
        config = UNetConfig()

        def forward(self, x, t, cond):
            seen.append(cond.label)
            return x

    n = 4000
    batch = {"latent": torch.zeros(n, 1, 1, 1), "label": torch.arange(n) % 10}
    recipes.denoise_loss(recipes.VP(), "v")(Spy(), batch, seeded(0))
    share = (seen[0] == 10).float().mean().item()
    assert abs(share - recipes.LABEL_DROPOUT) < 4 * (0.1 * 0.9 / n) ** 0.5
    kept = seen[0] != 10
    assert torch.equal(seen[0][kept], batch["label"][kept])


def test_the_judge_reads_real_digits_as_well_as_stated():
    test = load("digits", "test").tensors
    judge = recipes.digits_judge()
    assert 0.97 < judge.accuracy(test["image"], test["label"]) < 1
    shuffled = test["label"].roll(1)
    assert judge.accuracy(test["image"], shuffled) < 0.3
