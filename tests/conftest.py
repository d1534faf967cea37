"""What every test may use: seeded noise and networks small enough to run in milliseconds."""

import pytest
import torch

from tinyldm import VP, Denoiser, LatentDiffusion, LatentSpace
from tinyldm.nn import AutoencoderConfig, UNetConfig


def pytest_addoption(parser):
    parser.addoption("--ledger", help="write what the tests of the book's equations measured to this file")


def pytest_configure(config):
    if config.getoption("--ledger"):
        from measure import Ledger

        config.pluginmanager.register(Ledger(config.getoption("--ledger")))


torch.set_num_threads(1)  # tensors this small gain nothing from a second thread, and lose much on a busy machine


@pytest.fixture
def rng():
    """The only source of chance in a test."""
    return torch.Generator().manual_seed(0)


def seeded_build(config, seed=0):
    """A freshly initialised module; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build().eval()


@pytest.fixture
def build():
    return seeded_build


@pytest.fixture
def autoencoder_config():
    """8x8 images of one channel to 4x4 latents of two."""
    return AutoencoderConfig(in_channels=1, latent_channels=2, channels=(4, 8), blocks=1, groups=4)


@pytest.fixture
def unet_config():
    return UNetConfig(in_channels=2, channels=(8, 8), attention=(False, True), blocks=1, heads=2, groups=4, classes=3)


@pytest.fixture
def model(autoencoder_config, unet_config):
    """A whole latent diffusion model, untrained."""
    space = LatentSpace(seeded_build(autoencoder_config), scale=1.7, shift=0.3)
    return LatentDiffusion(space, Denoiser(seeded_build(unet_config, 1), VP(), "v"), (2, 4, 4))


@pytest.fixture
def images(rng):
    """Five images (5, 1, 8, 8) in [-1, 1]."""
    return torch.rand(5, 1, 8, 8, generator=rng) * 2 - 1


@pytest.fixture
def verdict(capsys):
    """(id, answer) -> (right or not, the grader's message on one line)."""
    from tinyldm.exercises import EXERCISES, check  # the top floor, needed by few

    def ask(id, answer):
        capsys.readouterr()
        right = check(id, answer)
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        assert f"Exercise {EXERCISES[id].number}, {'correct' if right else 'not yet'}:" in out
        return right, " ".join(out.split())

    return ask
