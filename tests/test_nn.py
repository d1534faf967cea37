"""The bricks are their formulas; what networks do with what they are given."""

import json
import math

import pytest
import torch
from diffusers_maps import perturb

from tinyldm import Condition
from tinyldm.nn import AutoencoderConfig, UNetConfig, sinusoids
from tinyldm.nn.attention import SelfAttention


@pytest.mark.equation("sinusoids")
@pytest.mark.parametrize("dim", [2, 8, 32])
def test_sinusoids_are_cosines_then_sines(dim):
    t = torch.tensor([0.0, 1.0, 12.5, 999.0], dtype=torch.float64)
    half, value = dim // 2, sinusoids(t, dim)
    assert value.shape == (4, dim)
    for row, clock in zip(value, t.tolist()):
        angles = [clock / 10000 ** (i / half) for i in range(half)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_attention_is_the_softmax_formula(rng):
    """One head at a time, one pixel at a time, with no fused kernel."""
    layer = perturb(SelfAttention(8, groups=2, heads=2).double(), rng)
    x = torch.randn(1, 8, 2, 3, generator=rng, dtype=torch.float64)
    tokens = layer.norm(x)[0].reshape(8, 6).T
    q, k, v = (m(tokens) for m in (layer.q, layer.k, layer.v))
    mixed = torch.empty(6, 8, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        for pixel in range(6):
            share = torch.softmax(k[:, head] @ q[pixel, head] / 2, dim=0)  # 2 = sqrt(4), the width of a head
            mixed[pixel, head] = share @ v[:, head]
    torch.testing.assert_close(layer(x), x + layer.out(mixed).T.reshape(x.shape))


def test_samples_of_a_batch_do_not_see_each_other(build, unet_config, autoencoder_config, rng):
    unet, autoencoder = build(unet_config), build(autoencoder_config)
    x, t, label = torch.randn(3, 2, 4, 4, generator=rng), torch.tensor([1.0, 500.0, 900.0]), torch.tensor([0, 1, 3])
    together = unet(x, t, Condition(label))
    for i in range(3):
        alone = unet(x[i : i + 1], t[i : i + 1], Condition(label[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    image = torch.rand(3, 1, 8, 8, generator=rng)
    torch.testing.assert_close(autoencoder.encode(image).mean[1:2], autoencoder.encode(image[1:2]).mean, rtol=1e-4, atol=1e-5)


def test_no_label_is_the_extra_label(build, unet_config, rng):
    unet, x, t = build(unet_config), torch.randn(2, 2, 4, 4, generator=rng), torch.tensor(10.0)
    null = torch.full((2,), unet_config.classes)
    assert torch.equal(unet(x, t), unet(x, t, Condition(null)))
    assert not torch.allclose(unet(x, t), unet(x, t, Condition(torch.tensor([0, 1]))))


@pytest.mark.parametrize(
    "t", [torch.tensor(40.0), torch.tensor(40), 40, torch.full((2,), 40)], ids=["float", "integer", "number", "vector"]
)
def test_the_clock_may_be_one_number_or_one_a_sample(t, build, unet_config, rng):
    unet, x = build(unet_config), torch.randn(2, 2, 4, 4, generator=rng)
    assert torch.equal(unet(x, t), unet(x, torch.tensor([40.0, 40.0])))


def test_networks_refuse_what_they_cannot_take(build, unet_config, autoencoder_config):
    unet, autoencoder, t = build(unet_config), build(autoencoder_config), torch.tensor(1.0)
    for bad, said in (((1, 3, 4, 4), "2 channels"), ((1, 2, 5, 4), "divisible by 2"), ((2, 4, 4), "four dimensions")):
        with pytest.raises(ValueError, match=f"x: .*{said}"):
            unet(torch.zeros(bad), t)
    with pytest.raises(ValueError, match=r"cond.label: expected values in \[0, 3\]"):
        unet(torch.zeros(1, 2, 4, 4), t, Condition(torch.tensor([4])))
    with pytest.raises(ValueError, match=r"cond\.label: expected one for each of the 2 samples"):
        unet(torch.zeros(2, 2, 4, 4), t, Condition(torch.tensor([1])))
    with pytest.raises(ValueError, match=r"cond\.label: expected None: this network has no use for it"):
        build(UNetConfig(channels=(8,), attention=(False,), classes=0))(torch.zeros(1, 4, 4, 4), t, Condition(torch.tensor([0])))
    with pytest.raises(ValueError, match="x: expected height and width divisible by 2"):
        autoencoder.encode(torch.zeros(1, 1, 7, 8))
    with pytest.raises(ValueError, match="z: expected 2 channels"):
        autoencoder.decode(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (AutoencoderConfig, {"channels": (16, 30)}, "multiples of groups=8"),
        (AutoencoderConfig, {"channels": ()}, "at least one level"),
        (AutoencoderConfig, {"blocks": 0}, "blocks"),
        (AutoencoderConfig, {"latent_channels": 0}, "latent_channels"),
        (UNetConfig, {"attention": (True,)}, "one entry for each of the 2 levels"),
        (UNetConfig, {"heads": 3}, "a divisor"),
        (UNetConfig, {"classes": -1}, "classes"),
        (UNetConfig, {"channels": (9, 9), "groups": 3, "heads": 3}, "an even first width"),
    ],
)
def test_configurations_that_do_not_fit_together_are_refused(kind, values, said):
    with pytest.raises(ValueError, match=said):
        kind(**values)


@pytest.mark.parametrize("config", [AutoencoderConfig(3, 4, (8, 16)), UNetConfig(channels=(8, 16), attention=(True, False))])
def test_configurations_travel_as_json(config):
    kind = type(config)
    assert kind.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(ValueError, match=r"config field='chanels' is unknown; did you mean 'channels'\?"):
        kind.from_dict({"chanels": [8]})
