"""Training on digits: every scale is the same program, also the one whose machine is not at hand."""

from dataclasses import replace

import pytest
import torch

from tinyldm import VP, Condition, experiments
from tinyldm.data import InMemory, load
from tinyldm.experiments import denoise_loss, pictures
from tinyldm.experiments import digits as experiment
from tinyldm.nn import AutoencoderConfig, UNetConfig
from tinyldm.runtime import SCALES, seeded
from tinyldm.train import Budget


def test_there_is_a_recipe_for_every_scale(monkeypatch):
    assert tuple(experiment.DIGITS) == SCALES
    for scale in SCALES:
        monkeypatch.setenv("TINYLDM_SCALE", scale)
        assert experiment.digits_recipe() is experiment.DIGITS[scale]
    monkeypatch.setenv("TINYLDM_SCALE", "cpus")
    with pytest.raises(ValueError, match="TINYLDM_SCALE='cpus' is unknown; did you mean 'cpu'"):
        experiment.digits_recipe()


@pytest.mark.parametrize("scale", SCALES)
def test_every_recipe_trains_saves_and_samples_on_the_cpu(scale, monkeypatch, tmp_path):
    """Two updates of each network at full size: the path of a larger scale must hold before its machine is there."""
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    few = InMemory(load("digits")[torch.arange(16)])  # encoding all of them with the largest network is slow
    monkeypatch.setattr(experiment, "load", lambda name: few)
    recipe = experiment.DIGITS[scale]
    short = replace(
        recipe,
        autoencoder_budget=replace(recipe.autoencoder_budget, steps=2, batch=2),
        denoiser_budget=replace(recipe.denoiser_budget, steps=2, batch=2),
    )
    model = experiment.train_digits(short, folder=str(tmp_path), progress=False)
    assert {f.name for f in tmp_path.iterdir()} == {"autoencoder.safetensors", "denoiser.safetensors"}
    images = model.sample(2, steps=2, generator=seeded(0))
    assert images.shape == (2, 1, 32, 32)
    again = experiment.train_digits(short, folder=str(tmp_path), progress=False)  # both runs are finished: nothing is left
    assert torch.equal(again.sample(2, steps=2, generator=seeded(0)), images)


def test_networks_are_drawn_from_their_seed_alone():
    recipe = experiment.Recipe(
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
    drawn = experiment.gaussian_baseline(z, 200_000, seeded(1)).flatten(1).double()
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
    for given, dropout in (({}, 0.1), ({"label_dropout": 0.3}, 0.3), ({"label_dropout": 0}, 0)):
        denoise_loss(VP(), "v", **given)(Spy(), batch, seeded(0))
        share = (seen[-1] == 10).float().mean().item()
        assert abs(share - dropout) <= 4 * (dropout * (1 - dropout) / n) ** 0.5
        kept = seen[-1] != 10
        assert torch.equal(seen[-1][kept], batch["label"][kept])


class Own(torch.nn.Module):
    """A reader's network, without a configuration."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t, cond):
        return self.scale * x


def test_an_own_network_trains_without_labels_and_says_what_it_lacks_for_them():
    batch = {"latent": torch.zeros(3, 2, 4, 4)}
    assert denoise_loss(VP(), "v")(Own(), batch, seeded(0)).isfinite()
    said = r'module: expected config.classes >= 1, or data without "label", got a Own whose config.classes is None'
    with pytest.raises(ValueError, match=said):
        denoise_loss(VP(), "v")(Own(), {**batch, "label": torch.zeros(3, dtype=torch.long)}, seeded(0))
    none = UNetConfig(in_channels=2, channels=(8,), attention=(False,), groups=4, classes=0).build()
    with pytest.raises(ValueError, match=r"config\.classes is 0"):
        denoise_loss(VP(), "v")(none, {**batch, "label": torch.zeros(3, dtype=torch.long)}, seeded(0))
    with pytest.raises(ValueError, match="label_dropout: expected a share from 0 to 1"):
        denoise_loss(VP(), "v", 1.5)


# ---- the reader's own pictures


TINY = experiment.Recipe(
    AutoencoderConfig(latent_channels=2, channels=(4, 8), blocks=1, groups=4),
    Budget(3, 4, 3e-3),
    UNetConfig(channels=(8, 8), attention=(False, True), blocks=1, heads=2, groups=4),
    Budget(3, 4, 2e-3),
)


def own(channels=3, label=True, side=16, classes=(), n=6):
    pixels = torch.rand(n, channels, side, side, generator=seeded(0)) * 2 - 1
    labels = {"label": torch.arange(n) % 2} if label else {}
    return InMemory({"image": pixels, "file": [f"{k}.png" for k in range(n)], **labels}, classes)


@pytest.mark.parametrize(("channels", "label"), [(3, True), (3, False), (1, False), (2, True)])
def test_own_pictures_train_in_one_call(channels, label, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    monkeypatch.setenv("TINYLDM_SCALE", "ci")
    monkeypatch.setitem(pictures.RECIPES, "ci", TINY)
    images = own(channels, label)
    model = experiments.train_pictures(images, seed=0, folder=tmp_path, progress=False)
    assert model.denoiser.net.config.classes == (2 if label else 0)
    assert model.latent == (2, 8, 8)
    cond = Condition(torch.tensor([0, 1])) if label else None
    drawn = model.sample(2, cond, steps=2, generator=seeded(0))
    assert drawn.shape == (2, channels, 16, 16)
    again = experiments.train_pictures(images, seed=0, folder=tmp_path, progress=False)
    assert torch.equal(again.sample(2, cond, steps=2, generator=seeded(0)), drawn)
    with pytest.raises(ValueError, match=r"autoencoder.safetensors is of another run \(generator.seed was 0, is 1"):
        experiments.train_pictures(images, seed=1, folder=tmp_path, progress=False)


def test_named_classes_count_though_some_are_empty(monkeypatch):
    monkeypatch.setenv("TINYLDM_SCALE", "cpu")
    recipe = experiments.pictures_recipe(own(classes=("apes", "bees", "cats")))
    assert (recipe.denoiser.classes, recipe.autoencoder.in_channels) == (3, 3)
    assert recipe.denoiser_budget == experiment.DIGITS["cpu"].denoiser_budget
    assert experiments.pictures_recipe(load("digits")) == experiment.DIGITS["cpu"]  # the digits are one case of it


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (own(side=12), "images: expected sides divisible by 8, got 12x12 pixels"),
        (InMemory({"image": own().tensors["image"] * 255}), r"image: expected values in \[-1"),
        (InMemory({"picture": torch.zeros(2, 3, 8, 8)}), 'images: expected a data set with a column "image"'),
    ],
)
def test_pictures_that_do_not_fit_are_refused_before_training(images, said, monkeypatch):
    monkeypatch.setattr(pictures, "fit", None)
    monkeypatch.setenv("TINYLDM_SCALE", "ci")
    with pytest.raises(ValueError, match=said):
        experiments.train_pictures(images, progress=False)


def test_the_judge_reads_real_digits_as_well_as_stated():
    test = load("digits", "test").tensors
    judge = experiment.digits_judge()
    assert 0.97 < judge.accuracy(test["image"], test["label"]) < 1
    shuffled = test["label"].roll(1)
    assert judge.accuracy(test["image"], shuffled) < 0.3
