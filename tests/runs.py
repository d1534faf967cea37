"""Trainings of a second that the tests of checkpoints and of fingerprints share."""

import torch
from torch import nn

from tinyldm import seeded
from tinyldm.data import InMemory
from tinyldm.nn import MLPConfig
from tinyldm.train import Budget, fit

BUDGET = Budget(steps=12, batch=4, lr=1e-2, warmup=3)
WEIGHT = 1.0  # read by a loss


def points(n=30, seed=0):
    x = torch.randn(n, 2, generator=seeded(seed))
    return InMemory({"latent": x, "label": (x[:, 0] > 0).long(), "name": [f"p{k}" for k in range(n)]})


def net(seed=0):
    return MLPConfig(width=4, blocks=1, classes=2).seeded(seed)


def squares(weight=1.0):
    def loss(module, batch, generator):
        noise = torch.randn(batch["latent"].shape, generator=generator)
        return weight * ((module(batch["latent"]) - noise) ** 2).mean()

    return loss


def weighed(module, batch, generator):
    return WEIGHT * squares()(module, batch, generator)


def plain(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))


def frozen(seed, of):
    module = plain(seed)
    module[0].requires_grad_(False).load_state_dict(plain(of)[0].state_dict())
    return module


def run(module=None, loss=None, data=None, budget=BUDGET, seed=0, **options):
    module = plain() if module is None else module
    loss, data = loss or squares(), data or points()
    return fit(module, loss, data, budget, generator=seeded(seed), progress=False, **options)


def advanced(seed):
    generator = seeded(seed)
    torch.randn(1, generator=generator)
    return generator


def swapped():
    data = points()
    data.tensors["label"] = data.tensors["label"].roll(1)
    return data


def one_changed():
    data = points(1000)
    data.tensors["latent"][500] += 0.5
    return data
