"""An adapter is diffusers' network of that name, changes nothing when fresh, learns, and stands beside a ControlNet."""

from dataclasses import replace

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import assert_same, perturb

from tinyldm import Condition
from tinyldm.nn import Adapter, AdapterConfig, ControlNet, UNetConfig, sum_residuals, weights

CONFIG = UNetConfig(2, (8, 16, 16), (0, 0, 1), blocks=2, heads=2, groups=4, classes=0)


@pytest.fixture
def unet(rng):
    return perturb(seeded_build(CONFIG), rng)


@pytest.fixture
def given(rng):
    """x (2, 2, 4, 8) and a hint (2, 1, 8, 16)."""
    return torch.randn(2, 2, 4, 8, generator=rng), torch.rand(2, 1, 8, 16, generator=rng)


@torch.no_grad()
def test_what_it_sees_is_what_diffusers_adapter_sees(rng):
    models = pytest.importorskip("diffusers.models.adapter")
    ours = perturb(seeded_build(AdapterConfig((8, 8, 16), 1, 3, 2)), rng)
    theirs = models.FullAdapter(3, [8, 8, 16], num_res_blocks=2, downscale_factor=2)
    for mine, other in zip([ours.conv_in, *ours.levels], [theirs.conv_in, *theirs.body], strict=True):
        pairs = [(p, q) for p, q in zip(mine.parameters(), other.parameters(), strict=True)]
        assert all(p.shape == q.shape for p, q in pairs)
        for p, q in pairs:
            q.copy_(p)
    hint = torch.rand(2, 3, 16, 8, generator=rng)
    for mine, other in zip(ours.features(hint), theirs(hint), strict=True):
        assert_same(mine, other, "feature")


def test_a_fresh_adapter_says_nothing_and_then_learns_to(unet, given):
    x, hint = given
    adapter = Adapter.suiting(unet, hint_channels=1, hint_factor=2)
    assert adapter.config == AdapterConfig((8, 16, 16), 2, 1, 2)
    before = unet(x, 3)
    said = adapter(hint)
    assert [len(r[0]) for r in said] == [*unet.skips, 16]
    assert torch.equal(unet(x, 3, Condition(residuals=said)), before)
    training = torch.optim.SGD(adapter.parameters(), 0.1)
    moved = []
    for _ in range(2):
        training.zero_grad()
        unet(x, 3, Condition(residuals=adapter(hint))).square().sum().backward()
        moved.append({name for name, p in adapter.named_parameters() if p.grad.abs().max() > 0})
        training.step()
    assert moved[0] == {f"zeros.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert moved[1] == {name for name, _ in adapter.named_parameters()}
    assert not torch.equal(unet(x, 3, Condition(residuals=adapter(hint))), before)


@torch.no_grad()
def test_it_speaks_after_the_last_block_of_each_level_and_scale_scales(unet, given, rng):
    adapter = perturb(Adapter.suiting(unet, 1, 2), rng)
    said, twice = adapter(given[1]), adapter(given[1], scale=2.0)
    assert [i for i, r in enumerate(said) if r.abs().max() > 0] == [2, 5, 8]
    for i, zero, seen in zip((2, 5, 8), adapter.zeros, adapter.features(given[1]), strict=True):
        torch.testing.assert_close(said[i], zero(seen))
    assert all(torch.equal(b, 2 * a) for a, b in zip(said, twice, strict=True))


@torch.no_grad()
def test_an_adapter_and_a_controlnet_are_heard_together(unet, given, rng):
    (x, hint), x_other = given, torch.rand(2, 3, 4, 8, generator=rng)
    one, other = perturb(Adapter.suiting(unet, 1, 2), rng), perturb(ControlNet.copy_of(unet, hint_widths=(4,)), rng)
    a, b = one(hint), other(x, 3, None, x_other, scale=0.5)
    both = sum_residuals(a, b)
    assert all(torch.equal(s, p + q) for s, p, q in zip(both, a, b, strict=True))
    assert all(torch.equal(s, p) for s, p in zip(sum_residuals(a), a, strict=True))
    assert not torch.allclose(unet(x, 3, Condition(residuals=both)), unet(x, 3, Condition(residuals=a)), atol=1e-3)


def test_sources_that_do_not_fit_are_refused():
    a = (torch.zeros(2, 8, 4, 4), torch.zeros(2, 8, 2, 2))
    with pytest.raises(ValueError, match=r"sources\[1\]: expected the shapes of the first.*got \[\(1, 8, 4, 4\)"):
        sum_residuals(a, tuple(t[:1] for t in a))
    with pytest.raises(ValueError, match=r"sources\[2\]: expected"):
        sum_residuals(a, a, a[:1])
    with pytest.raises(ValueError, match="sources: expected at least one"):
        sum_residuals()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 3, 8, 16), "hint: expected 1 channels"),
        ((2, 1, 8, 12), "hint: expected height and width divisible by 8"),
        ((1, 8, 16), "hint: expected four dimensions"),
    ],
)
def test_a_hint_that_does_not_suit_the_adapter_is_refused(shape, said, unet):
    with pytest.raises(ValueError, match=said):
        Adapter.suiting(unet, 1, 2)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 1, 8, 16)])
def test_a_hint_that_does_not_suit_x_is_refused_by_the_unet(shape, unet, given):
    with pytest.raises(ValueError, match=r"cond\.residuals: expected"):
        unet(given[0], 3, Condition(residuals=Adapter.suiting(unet, 1, 2)(torch.zeros(shape))))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"channels": ()}, "channels: expected at least one level"),
        ({"channels": (8, 0)}, "channels: expected a whole number >= 1"),
        ({"blocks": 0}, "blocks: expected a whole number >= 1"),
        ({"hint_factor": 0}, "hint_factor: expected a whole number >= 1"),
        ({"hint_channels": 0}, "hint_channels: expected a whole number >= 1"),
    ],
)
def test_sizes_that_make_no_adapter_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        replace(AdapterConfig(), **values)


def test_an_adapter_is_saved_and_loaded(tmp_path, rng):
    adapter = perturb(seeded_build(AdapterConfig((4, 8), hint_factor=2)), rng)
    weights.save_pretrained(adapter, tmp_path / "m")
    back = weights.from_pretrained(tmp_path / "m")
    assert isinstance(back, Adapter)
    assert back.config == adapter.config
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in adapter.state_dict().items())


def test_it_has_the_type_of_its_unet(unet):
    adapter = Adapter.suiting(unet.double(), 1, 2)
    assert all(p.dtype == torch.float64 for p in adapter.parameters())
    assert all(r.dtype == torch.float64 for r in adapter(torch.zeros(1, 1, 8, 8, dtype=torch.float64)))
