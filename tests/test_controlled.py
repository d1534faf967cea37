"""A frozen U-Net with something beside it: silent at first, heard as a sum, and never changed by what is learned."""

from dataclasses import replace

import pytest
import torch

import tinyldm as tl
from tinyldm.experiments import denoise_loss
from tinyldm.nn import Adapter, Condition, Controlled, ControlNet, UNetConfig
from tinyldm.nn.adapter import sum_residuals


@pytest.fixture
def unet():
    return UNetConfig(channels=(16, 32), tokens=8, classes=0).seeded(0)


@pytest.fixture
def cond():
    g = tl.seeded(1)
    return Condition(tokens=torch.randn(2, 3, 8, generator=g), hint=torch.rand(2, 1, 32, 32, generator=g))


def beside(unet, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        control = ControlNet.copy_of(unet, hint_channels=1, hint_widths=(8, 16, 16))
        return control, Adapter.suiting(unet, hint_channels=1, hint_factor=4)


def awake(module):
    """Every weight moved, so that the zero convolutions speak."""
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p += 0.05 * torch.randn(p.shape, generator=tl.seeded(i))
    return module


X, T = torch.randn(2, 4, 8, 8, generator=tl.seeded(2)), torch.tensor([0.2, 0.9])


def test_fresh_controls_change_nothing_to_the_bit(unet, cond):
    alone = unet(X, T, replace(cond, hint=None))
    assert torch.equal(Controlled(unet, *beside(unet))(X, T, cond), alone)
    assert torch.equal(Controlled(unet, *beside(unet))(X, T, replace(cond, hint=None)), alone)


@pytest.mark.equation("controlnet")
def test_what_is_heard_is_the_sum_written_out(unet, cond):
    control, adapter = (awake(module) for module in beside(unet))
    told = replace(cond, hint=None)
    residuals = sum_residuals(control(X, T, told, cond.hint), adapter(cond.hint))
    heard = Controlled(unet, control, adapter)(X, T, cond)
    assert torch.equal(heard, unet(X, T, replace(told, residuals=residuals)))
    # by hand: the way down, plus the control's zero convolutions of its own way down, then the way up
    emb, context = unet.embed(X, T, told), unet.context(told)
    skips = unet.descend(unet.conv_in(X), emb, context)
    mine = control.descend(control.conv_in(X) + control.hint(cond.hint), control.embed(X, T, told), control.context(told))
    skips = [s + zero(m) for s, zero, m in zip(skips, control.zeros, mine)]
    h = skips.pop()
    for layer in unet.up:
        h = layer(torch.cat([h, skips.pop()], 1), emb, context) if hasattr(layer, "block") else layer(h)
    by_hand = unet.conv_out(torch.nn.functional.silu(unet.norm(h)))
    torch.testing.assert_close(Controlled(unet, control)(X, T, cond), by_hand, rtol=0, atol=1e-6)
    assert not torch.allclose(by_hand, unet(X, T, told), atol=1e-3)


def test_training_changes_the_control_alone(unet, cond):
    before = {name: t.clone() for name, t in unet.state_dict().items()}
    control = beside(unet)[0]
    first = {name: t.clone() for name, t in control.state_dict().items()}
    net = Controlled(unet, control)
    data = tl.data.InMemory({"latent": X, "tokens": cond.tokens, "hint": cond.hint})
    loss = denoise_loss(tl.VP(), "v", 0.1, null=Condition(tokens=torch.zeros(1, 3, 8)))
    tl.train.fit(net, loss, data, tl.train.Budget(3, 2, 1e-3), generator=tl.seeded(0), progress=False)
    assert all(torch.equal(t, before[name]) for name, t in unet.state_dict().items())
    assert any(not torch.equal(t, first[name]) for name, t in control.state_dict().items())


def test_a_hint_passes_through_a_denoiser_and_guidance(unet, cond):
    denoiser = tl.Denoiser(Controlled(unet, awake(beside(unet)[0])), tl.VP(), "v")
    off = cond.drop(torch.ones(2, dtype=torch.bool), Condition(tokens=torch.zeros(1, 3, 8)))
    assert torch.equal(off.hint, cond.hint)
    led = tl.guided(denoiser.given(cond), denoiser.given(off), 3.0)(X, T).x0
    on, away = denoiser(X, T, cond).x0, denoiser(X, T, off).x0
    assert torch.allclose(led, 3 * on - 2 * away, atol=1e-4)


def test_bad_inputs_are_named(unet, cond):
    with pytest.raises(ValueError, match="controls: expected at least one"):
        Controlled(unet)
    net = Controlled(unet, beside(unet)[0])
    with pytest.raises(ValueError, match="hint"):
        net(X, T, replace(cond, hint=torch.rand(2, 1, 16, 16)))
    with pytest.raises(ValueError, match=r"cond\.residuals"):
        net(X, T, replace(cond, residuals=(torch.zeros(2, 1),)))
    with pytest.raises(ValueError, match=r"cond\.hint.*no use for it"):
        unet(X, T, cond)
