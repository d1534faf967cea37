"""How to give one of our networks and one of diffusers' the same numbers, and how to compare what they do with them."""

import torch

from tinyldm.nn import weights
from tinyldm.nn.names import names


def twins(theirs):
    """Our network of the same configuration and with the same numbers as one of diffusers', and the table of names."""
    ours = weights.build(dict(theirs.config) | {"_class_name": type(theirs).__name__})
    weights.load_state(ours, theirs.state_dict(), "diffusers")
    return ours, names(ours, "diffusers")


def tie(ours, theirs, table):
    """Copy our numbers into their module, after checking that the table pairs all tensors one to one and shape by shape."""
    mine, other = dict(ours.named_parameters()), theirs.state_dict()
    assert set(mine) == set(table)
    assert sorted(table.values()) == sorted(other), sorted(set(table.values()) ^ set(other))
    theirs.load_state_dict({table[name]: p.detach().clone() for name, p in mine.items()})
    return theirs


def perturb(module, rng):
    """Random numbers also where initialisation puts ones and zeros, so that every tensor matters."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng))
    return module


def assert_same(mine, other, what):
    """To 1e-5 of the largest entry."""
    scale = max(1.0, float(other.detach().abs().max()))
    torch.testing.assert_close(mine / scale, other / scale, rtol=0, atol=1e-5, msg=lambda m: f"{what}: {m}")


def assert_same_gradients(ours, theirs, table):
    """Of every parameter; one that took no part has none in either."""
    other = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        reference = other[table[name]].grad
        assert (p.grad is None) == (reference is None), name
        if reference is not None:
            assert_same(p.grad, reference.reshape(p.shape), f"gradient of {name}")
