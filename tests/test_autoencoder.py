"""AutoencoderKL is the same function as diffusers', in value and in gradient, over configurations that hypothesis draws."""

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import assert_same, assert_same_gradients, perturb, tie
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyldm.nn import AutoencoderConfig
from tinyldm.nn.foreign.autoencoder import read_autoencoder, write_autoencoder
from tinyldm.nn.names import names

diffusers = pytest.importorskip("diffusers")


@st.composite
def configs(draw):
    """At least two channels a group: with one, a bias before GroupNorm has gradient zero, of which rounding leaves noise."""
    groups, levels = draw(st.sampled_from([2, 4])), draw(st.integers(1, 3))
    width = st.sampled_from([2, 3, 4]).map(lambda n: n * groups)
    return AutoencoderConfig(
        in_channels=draw(st.sampled_from([1, 3])),
        latent_channels=draw(st.sampled_from([2, 4, 16])),
        channels=tuple(draw(st.lists(width, min_size=levels, max_size=levels))),
        blocks=draw(st.integers(1, 2)),
        groups=groups,
        attention=draw(st.just(()) | st.tuples(*[st.booleans()] * levels)),
        quant=draw(st.booleans()),
    )


def both(config, seed=0):
    """Ours and theirs with the same random numbers, and the table of their tensors' names."""
    rng = torch.Generator().manual_seed(seed)
    ours = perturb(seeded_build(config, seed), rng)
    theirs = diffusers.AutoencoderKL.from_config(write_autoencoder(config)).eval()
    table = names(ours, "diffusers")
    return ours, tie(ours, theirs, table), table, rng


def outputs(module, x, z):
    """mean, logvar and decoded image of either."""
    q = module.encode(x)
    q = getattr(q, "latent_dist", q)
    image = module.decode(z)
    return q.mean, q.logvar, getattr(image, "sample", image)


SIDES = st.tuples(st.sampled_from([4, 8, 12]), st.sampled_from([4, 8, 12]))


@settings(max_examples=25, deadline=None)
@given(configs(), SIDES, st.integers(0, 9))
def test_outputs_are_diffusers_outputs_in_single_precision(config, sides, seed):
    ours, theirs, _, rng = both(config, seed)
    x = torch.rand(2, config.in_channels, *sides, generator=rng) * 2 - 1
    z = torch.randn(2, config.latent_channels, *(side // config.factor for side in sides), generator=rng)
    with torch.no_grad():
        for mine, other, what in zip(outputs(ours, x, z), outputs(theirs, x, z), ("mean", "logvar", "image")):
            assert_same(mine, other, what)


@settings(max_examples=15, deadline=None)
@given(configs(), SIDES, st.integers(0, 9))
def test_gradients_are_diffusers_gradients(config, sides, seed):
    """Of every weight and of the image, in double precision: in single, a gradient is a sum of too many rounded terms."""
    ours, theirs, table, rng = both(config, seed)
    x = torch.rand(2, config.in_channels, *sides, generator=rng, dtype=torch.float64) * 2 - 1
    shape = (2, config.latent_channels, *(side // config.factor for side in sides))
    z = torch.randn(shape, generator=rng, dtype=torch.float64)
    weights = [torch.randn(s, generator=rng, dtype=torch.float64) for s in (shape, shape, x.shape)]
    inputs = []
    for module in (ours.double(), theirs.double()):
        leaves = x.clone().requires_grad_(), z.clone().requires_grad_()
        sum((w * v).sum() for w, v in zip(weights, outputs(module, *leaves))).backward()
        inputs.append(leaves)
    assert_same_gradients(ours, theirs, table)
    for mine, other, what in zip(*inputs, ("x", "z")):
        assert_same(mine.grad, other.grad, f"gradient of {what}")


@settings(max_examples=50, deadline=None)
@given(configs())
def test_configurations_survive_diffusers_configuration(config):
    back = read_autoencoder({"_class_name": "AutoencoderKL", **write_autoencoder(config)})
    assert back.attends == config.attends
    assert {**back.as_dict(), "attention": ()} == {**config.as_dict(), "attention": ()}


@pytest.mark.parametrize("bias", [-1e3, 1e3, 1e30])
def test_extreme_log_variances_are_held_where_diffusers_holds_them(bias):
    config = AutoencoderConfig(1, 2, (4, 8), groups=2)
    ours, theirs, table, rng = both(config)
    with torch.no_grad():
        ours.quant.bias.fill_(bias)
    tie(ours, theirs, table)
    x = torch.rand(1, 1, 8, 8, generator=rng) * 2 - 1
    q, reference = ours.encode(x), theirs.encode(x).latent_dist
    assert torch.equal(q.logvar, reference.logvar)
    assert_same(q.mean, reference.mean, "mean, which nothing holds")
    assert q.std.isfinite().all()
    assert q.sample(rng).isfinite().all()
    q.logvar.exp().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in ours.parameters())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (torch.full((1, 1, 8, 8), torch.nan), "x: expected finite numbers, got NaN or infinity"),
        (torch.full((1, 1, 8, 8), torch.inf), "x: expected finite numbers"),
        (torch.zeros(1, 1, 8, 7), "x: expected height and width divisible by 2, got 8x7"),
        (torch.zeros(1, 3, 8, 8), "x: expected 1 channels, got 3 channels"),
        (torch.zeros(8, 8), "x: expected four dimensions"),
    ],
)
def test_images_that_cannot_be_encoded_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        AutoencoderConfig(1, 2, (4, 8), groups=2).build().encode(bad)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"attention": (True,)}, r"attention: expected \(\) or 3 entries"),
        ({"in_channels": 0}, "in_channels"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"channels": (16, 30)}, "multiples of groups=8"),
    ],
)
def test_configurations_that_do_not_fit_together_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        AutoencoderConfig(**values)
