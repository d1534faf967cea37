"""Which of our U-Net's tensors is which of diffusers', and how to give both the same numbers. See ``nn.names``."""

import torch

from tinyldm.nn.names import LEAVES, tensor_names


def unet_modules(config):
    """Our module names -> diffusers.UNet2DModel's."""
    modules = {
        "time.linear1": "time_embedding.linear_1",
        "time.linear2": "time_embedding.linear_2",
        "label": "class_embedding",
    }
    modules |= {"conv_in": "conv_in", "norm": "conv_norm_out", "conv_out": "conv_out"}
    for j in (0, 1):
        modules[f"middle.{j}.block"] = f"mid_block.resnets.{j}"
    modules["middle.0.attention"] = "mid_block.attentions.0"
    levels, at = len(config.channels), 0
    for i in range(levels):
        if i > 0:  # theirs ends a level with the downsampler, ours begins the next one with it
            modules[f"down.{at}"] = f"down_blocks.{i - 1}.downsamplers.0"
            at += 1
        for j in range(config.blocks):
            modules[f"down.{at}.block"] = f"down_blocks.{i}.resnets.{j}"
            modules[f"down.{at}.attention"] = f"down_blocks.{i}.attentions.{j}"
            at += 1
    at = 0
    for i in range(levels):  # both count from the deepest level
        for j in range(config.blocks + 1):
            modules[f"up.{at}.block"] = f"up_blocks.{i}.resnets.{j}"
            modules[f"up.{at}.attention"] = f"up_blocks.{i}.attentions.{j}"
            at += 1
        if i < levels - 1:
            modules[f"up.{at}"] = f"up_blocks.{i}.upsamplers.0"
            at += 1
    return modules


def names(module, modules):
    """Our tensor names -> theirs, for all tensors of ``module``."""
    return tensor_names(module, modules, LEAVES["diffusers"])


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
    other = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        assert_same(p.grad, other[table[name]].grad, f"gradient of {name}")
