"""The autoencoders of photographs and the feature network, against their cards and against a linear rival."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL as Theirs

from tinyldm import LatentSpace, seeded, zoo
from tinyldm.data import load
from tinyldm.experiments import photos as experiment
from tinyldm.experiments.photos import OBJECTIVE, patch_components
from tinyldm.losses import perceptual_distance
from tinyldm.losses.pretext import damaged, turned
from tinyldm.metrics import psnr

CHANNELS = (4, 8, 16)


@pytest.fixture(scope="module")
def crops():
    return load("photos", "test", n=64, seed=7).tensors["image"]  # other crops than the cards'


@pytest.fixture(scope="module")
def quality(crops):
    spaces = {c: LatentSpace(zoo.load(f"photos-c{c}")) for c in CHANNELS}
    return {c: psnr(crops, space.decode(space.encode(crops))).mean().item() for c, space in spaces.items()}


def test_four_channels_reach_24_db_and_sixteen_three_more(quality):
    assert quality[4] >= 24
    assert quality[16] >= quality[4] + 3
    assert quality[4] < quality[8] < quality[16]


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_cards_tell_the_truth(quality, channels):
    card = zoo.card(f"photos-c{channels}")
    assert card["measures"]["psnr"] == pytest.approx(quality[channels], abs=1.0)  # other crops
    assert list(card["budgets"].values()) == [
        recipe.budget.__dict__ for recipe in experiment.SHIPPED[: experiment.ROUNDS[channels]]
    ]
    assert card["objective"] == OBJECTIVE.__dict__
    assert zoo.load(f"photos-c{channels}").config == experiment.photos_config(channels)
    config = json.loads((Path(zoo.__file__).parent / f"photos-c{channels}" / "config.json").read_text())
    assert (config["scaling_factor"], config["shift_factor"]) == (card["latent"]["scale"], card["latent"]["shift"])


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_card_s_scale_and_shift_make_latents_of_unit_variance(channels):
    numbers = zoo.card(f"photos-c{channels}")["latent"]
    z = LatentSpace(zoo.load(f"photos-c{channels}"), **numbers).encode(load("photos", n=200, seed=3).tensors["image"])
    assert abs(z.mean()) < 0.1
    assert abs(z.std() - 1) < 0.1


def test_diffusers_opens_the_same_folder_and_draws_the_same_pictures(crops):
    theirs = Theirs.from_pretrained(Path(zoo.__file__).parent / "photos-c4").eval()
    ours = zoo.load("photos-c4")
    with torch.no_grad():
        z = ours.encode(crops[:2]).mode()
        torch.testing.assert_close(theirs.encode(crops[:2]).latent_dist.mode(), z, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs.decode(z).sample, ours.decode(z), rtol=1e-4, atol=1e-4)


def test_the_linear_rival_is_the_projection_on_principal_components(crops):
    from sklearn.decomposition import PCA

    rows = crops.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48).double().numpy()
    rival = PCA(5).fit(rows)
    error = ((rival.inverse_transform(rival.transform(rows)) - rows) ** 2).mean()
    ours = ((patch_components(crops, crops, 5) - crops) ** 2).mean().item()
    assert ours == pytest.approx(error, rel=1e-3)


def test_features_tell_damages_apart_on_photographs_they_have_not_seen():
    """The question of the turns stays at chance in so short a training; the card says so."""
    net, g = zoo.load("features"), seeded(0)
    x = load("photos", "test", size=48, n=256, seed=9).tensors["image"]
    quarters, kind = torch.randint(4, (256,), generator=g), torch.randint(5, (256,), generator=g)
    with torch.no_grad():
        _, _, damages = net(damaged(turned(x, quarters), kind, g))
    assert (damages.argmax(1) == kind).float().mean() > 0.5  # guessing: 0.2


def test_the_perceptual_distance_forgives_brightness_more_than_blur(crops):
    """At the same squared error a blurred picture is further away than a brighter one: what the distance is for."""
    net = zoo.load("features")
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(crops, (1, 1, 1, 1), mode="replicate"), 3, 1)
    error = ((blurred - crops) ** 2).mean((1, 2, 3), keepdim=True).sqrt()
    with torch.no_grad():
        blur = perceptual_distance(net.features, crops, blurred)
        bright = perceptual_distance(net.features, crops, crops + error)
    assert (blur > bright).float().mean() > 0.9
