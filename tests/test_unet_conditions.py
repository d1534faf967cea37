"""What a U-Net and a ControlNet do with their conditions, and what they refuse; saving and loading what diffusers can read."""

from dataclasses import replace

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import assert_same, perturb

from tinyldm import Condition
from tinyldm.nn import ControlNet, ControlNetConfig, UNet, UNetConfig, weights
from tinyldm.nn.attention import GEGLU, Attention, TransformerBlock

CONFIG = UNetConfig(2, (8, 8), (0, 1), heads=2, groups=4, classes=3, tokens=6, vector=5, out_channels=3)


@pytest.fixture
def unet(rng):
    return perturb(seeded_build(CONFIG), rng).eval()


def filled(rng, batch=2, **more):
    slots = {"tokens": torch.randn(batch, 4, 6, generator=rng), "vector": torch.randn(batch, 5, generator=rng)}
    return Condition(**{**slots, **more})


@pytest.mark.equation("cross-attention")
def test_cross_attention_is_a_softmax_over_the_context(rng):
    """One head, one query and one key at a time."""
    layer = perturb(Attention(4, context=3, heads=2).double(), rng)
    x, context = (torch.randn(1, *s, generator=rng, dtype=torch.float64) for s in ((5, 4), (6, 3)))
    q, k, v = layer.q(x)[0], layer.k(context)[0], layer.v(context)[0]
    rows = []
    for n in range(5):
        parts = []
        for head in (slice(0, 2), slice(2, 4)):
            weights_ = torch.stack([torch.exp(q[n, head] @ k[m, head] / 2**0.5) for m in range(6)])
            parts.append(sum(w * v[m, head] for m, w in enumerate(weights_)) / weights_.sum())
        rows.append(layer.out(torch.cat(parts)))
    torch.testing.assert_close(layer(x, context)[0], torch.stack(rows), rtol=0, atol=1e-12)


@pytest.mark.equation("geglu")
def test_geglu_is_a_product_with_the_gaussian_distribution_function(rng):
    """GELU(g) is g times the probability that a standard normal lies below g."""
    layer = GEGLU(3).double()
    x = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    hidden = x @ layer.proj.weight.T + layer.proj.bias
    value, gate = hidden[..., :12], hidden[..., 12:]
    below = torch.distributions.Normal(0.0, 1.0).cdf(gate)
    expected = (value * gate * below) @ layer.out.weight.T + layer.out.bias
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_a_masked_token_is_as_good_as_absent(unet, rng):
    x, t, cond = torch.randn(2, 2, 4, 6, generator=rng), torch.tensor(9.0), filled(rng)
    mask = torch.tensor([[True, True, False, False]] * 2)
    some = unet(x, t, replace(cond, tokens_mask=mask))
    assert_same(some, unet(x, t, replace(cond, tokens=cond.tokens[:, :2])), "output")
    assert not torch.allclose(some, unet(x, t, cond), atol=1e-4)


def test_the_order_of_the_tokens_does_not_matter(unet, rng):
    """Cross-attention is a sum over a set: what tells words apart by place must be in the tokens themselves."""
    x, cond = torch.randn(2, 2, 4, 4, generator=rng), filled(rng)
    assert_same(unet(x, 3, cond), unet(x, 3, replace(cond, tokens=cond.tokens.flip(1))), "output")


def test_every_condition_has_its_say_and_only_on_its_own_sample(unet, rng):
    x, label = torch.randn(2, 2, 4, 4, generator=rng), torch.tensor([0, 1])
    cond = filled(rng, label=label)
    y = unet(x, 3, cond)
    others = {"label": torch.tensor([2, 1]), "tokens": cond.tokens.clone(), "vector": cond.vector.clone()}
    for slot, value in others.items():
        if slot != "label":
            value[0] += 1
        z = unet(x, 3, replace(cond, **{slot: value}))
        assert not torch.allclose(z[0], y[0], atol=1e-4), slot
        torch.testing.assert_close(z[1], y[1], rtol=1e-4, atol=1e-5)


def test_a_picture_beside_x_is_concatenated(rng):
    unet = seeded_build(UNetConfig(5, (8,), (0,), groups=4, classes=0, out_channels=2))
    x, image = torch.randn(2, 2, 4, 4, generator=rng), torch.randn(2, 3, 4, 4, generator=rng)
    assert torch.equal(unet(x, 3, Condition(image=image)), unet(torch.cat([x, image], 1), 3))
    with pytest.raises(ValueError, match=r"x: expected 5 channels, got 2 channels"):
        unet(x, 3)
    with pytest.raises(ValueError, match=r"cond.image: expected the size of x"):
        unet(x, 3, Condition(image=image[..., :2]))
    with pytest.raises(ValueError, match=r"x and cond.image: expected 5 channels, got 4"):
        unet(x, 3, Condition(image=image[:, :2]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": None}, r"cond\.tokens: expected a value"),
        ({"vector": None}, r"cond\.vector: expected a value"),
        ({"tokens": torch.zeros(2, 4, 7)}, r"cond\.tokens: expected 6 wide, got 7 wide"),
        ({"vector": torch.zeros(2, 4)}, r"cond\.vector: expected 5 wide, got 4 wide"),
        ({"tokens": torch.zeros(3, 4, 6)}, r"cond\.tokens: expected one for each of the 2 samples, got 3 samples"),
        ({"label": torch.tensor([0, 4])}, r"cond\.label: expected values in \[0, 3\]"),
        ({"guidance": torch.ones(2)}, r"cond\.guidance: expected None: this network has no use for it"),
        ({"residuals": (torch.zeros(2, 8, 4, 4),)}, r"cond\.residuals: expected a tensor for every skip"),
    ],
)
def test_a_condition_that_does_not_suit_is_named(change, said, unet, rng):
    with pytest.raises(ValueError, match=said):
        unet(torch.randn(2, 2, 4, 4, generator=rng), 3, replace(filled(rng), **change))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"attention": (0, 2), "tokens": 0}, "attention, middle: expected no more than one block"),
        ({"heads": (2,)}, "heads: expected one number, or one for each of the 2 levels"),
        ({"heads": (1, 3)}, "heads: expected a divisor of the 8 channels of level 1"),
        ({"cross_only": (True,)}, "cross_only"),
        ({"tokens": 0, "cross_only": (True, False)}, "cross_only"),
        ({"tokens": -1}, "tokens: expected a whole number >= 0"),
        ({"out_channels": 0}, "out_channels: expected a whole number >= 1"),
        ({"attention": (0, 1, 1)}, "attention: expected one entry for each of the 2 levels"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **values)


def test_half_precision_keeps_the_clock_whole(unet, rng):
    """bfloat16 has no 999: a clock rounded to it would be off by one step."""
    x, cond = torch.randn(2, 2, 4, 4, generator=rng), filled(rng)
    half = unet.to(torch.bfloat16)
    low = Condition(tokens=cond.tokens.bfloat16(), vector=cond.vector.bfloat16())
    y = half(x.bfloat16(), 999, low)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, half(x.bfloat16(), torch.tensor(999.0), low))
    assert not torch.equal(y, half(x.bfloat16(), 1000, low))


def test_a_fresh_controlnet_says_nothing_and_then_learns_to(unet, rng):
    control = ControlNet.copy_of(unet, hint_channels=1, hint_widths=(4, 6))
    assert control.config == ControlNetConfig(
        **{k: v for k, v in CONFIG.as_dict().items() if k != "out_channels"}, hint_channels=1, hint_widths=(4, 6)
    )
    x, hint, cond = torch.randn(2, 2, 4, 4, generator=rng), torch.rand(2, 1, 8, 8, generator=rng), filled(rng)
    said = control(x, 3, cond, hint)
    assert len(said) == len(unet.skips) + 1
    assert all(r.abs().max() == 0 for r in said)
    assert torch.equal(unet(x, 3, replace(cond, residuals=said)), unet(x, 3, cond))
    unet(x, 3, replace(cond, residuals=said)).sum().backward()
    moved = {name for name, p in control.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == {f"zeros.{i}.{kind}" for i in range(len(said)) for kind in ("weight", "bias")}


def test_the_copy_is_the_first_half_and_scale_scales(unet, rng):
    control = ControlNet.copy_of(unet, hint_widths=(4,))
    for zero in control.zeros:
        torch.nn.init.dirac_(zero.weight)
    x, cond = torch.randn(2, 2, 4, 4, generator=rng), filled(rng)
    said = control(x, 3, cond, torch.rand(2, 3, 4, 4, generator=rng), scale=0.5)
    skips = unet.descend(unet.conv_in(x), unet.embed(x, 3, cond), unet.context(cond))
    for mine, skip in zip(said, skips, strict=True):
        torch.testing.assert_close(mine, 0.5 * skip)


@pytest.mark.parametrize("shape", [(2, 3, 8, 4), (1, 3, 8, 8), (2, 1, 8, 8), (2, 3, 4, 4), (3, 8, 8)])
def test_a_hint_of_another_size_is_refused(shape, unet):
    control = ControlNet.copy_of(unet, hint_widths=(4, 4))
    with pytest.raises(ValueError, match="hint: expected"):
        control(torch.zeros(2, 2, 4, 4), 3, filled(torch.Generator()), torch.zeros(shape))


DIFFUSERS = {  # configurations that diffusers has words for, by the class that has them
    "UNet2DConditionModel": CONFIG,
    "UNet2DModel": UNetConfig(2, (8, 16), (1, 1), heads=(2, 4), groups=4, classes=0, scale_shift=True),
    "ControlNetModel": ControlNetConfig(2, (8, 8), (0, 1), heads=2, groups=4, classes=3, tokens=6, vector=126),
}


@pytest.mark.parametrize("kind", DIFFUSERS)
def test_diffusers_reads_what_we_save_and_we_what_it_saves(kind, tmp_path, rng):
    diffusers = pytest.importorskip("diffusers")
    config = DIFFUSERS[kind]
    module = perturb(seeded_build(config), rng)
    facts = {"addition_time_embed_dim": 20} if config.vector == 126 else {}
    weights.save_pretrained(module, tmp_path / "ours", **facts)
    theirs = getattr(diffusers, kind).from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="20kB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    for folder in ("ours", "sharded"):
        back = weights.from_pretrained(tmp_path / folder)
        assert back.config == config
        assert all(torch.equal(t, back.state_dict()[name]) for name, t in module.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, middle=0),  # diffusers' conditional model has a transformer in the middle, or none of ours
        replace(CONFIG, tokens=0),  # its unconditional one has no vector
        UNetConfig(2, (8, 16), (1, 1), heads=2, groups=4),  # and one width for all heads
    ],
)
def test_what_diffusers_has_no_words_for_is_saved_in_ours(config, tmp_path):
    module = seeded_build(config)
    weights.save_pretrained(module, tmp_path / "m")
    back = weights.from_pretrained(tmp_path / "m")
    assert isinstance(back, UNet)
    assert back.config == config
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in module.state_dict().items())


def test_compvis_files_fill_a_unet_and_other_layouts_are_hinted_at(unet):
    del unet.label  # CompVis keeps label and vector under one name: no network there has both
    config = replace(CONFIG, classes=0)
    module = seeded_build(config, 1)
    table = weights.names(module, "compvis")
    file = {f"model.diffusion_model.{table[name]}": t.clone() for name, t in unet.state_dict().items()}
    weights.load_state(module, file, "compvis")
    assert all(torch.equal(t, module.state_dict()[name]) for name, t in unet.state_dict().items())
    with pytest.raises(ValueError, match="These look like the names of layout='compvis'"):
        weights.load_state(module, {table[name]: t for name, t in unet.state_dict().items()}, "diffusers")


def test_plain_attention_has_no_compvis_names():
    module = seeded_build(UNetConfig(2, (8, 16), (0, 1), heads=2, groups=4))
    with pytest.raises(ValueError, match=r"layout: expected another layout.*'compvis'.*down\.2\.attention"):
        weights.names(module, "compvis")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dual_cross_attention": True}, "dual_cross_attention"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type"),
        ({"class_embed_type": "projection"}, "class_embed_type"),
        ({"addition_embed_type": "image"}, "addition_embed_type='image' is unknown"),
        ({"down_block_types": ["ResnetDownsampleBlock2D"] * 2}, "down_block_types='ResnetDownsampleBlock2D'"),
        ({"layers_per_block": [1, 2]}, "layers_per_block: expected the same number at every level"),
        ({"cross_attention_dim": [5, 6]}, "cross_attention_dim: expected the same width"),
        ({"resnet_time_scale_shift": "ada_group"}, "resnet_time_scale_shift='ada_group' is unknown"),
        ({"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "up_block_types: expected"),
        ({"kernel": 3}, "config option='kernel' is unknown"),
        ({"attention_head_dim": 3}, "heads: expected a divisor"),
        ({"num_class_embeds": 1}, "num_class_embeds: expected None, or at least two"),
    ],
)
def test_an_option_that_we_do_not_have_is_refused_by_name(change, said):
    config = {
        "_class_name": "UNet2DConditionModel",
        "block_out_channels": [8, 8],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 6,
    }
    weights.build(config)
    with pytest.raises(ValueError, match=said):
        weights.build(config | change)


def test_a_transformer_block_may_look_at_the_context_only(rng):
    """As in Stable Diffusion's upscaler: without tokens to look at, the pixels learn nothing of each other."""
    block = perturb(TransformerBlock(4, 4, heads=1, cross_only=True), rng)
    x, context = torch.randn(1, 3, 4, generator=rng), torch.randn(1, 2, 4, generator=rng)
    other = x.clone()
    other[0, 2] += 1
    torch.testing.assert_close(block(x, context)[0, :2], block(other, context)[0, :2])


def test_a_widened_network_says_what_it_said(rng):
    net = UNetConfig(channels=(16, 32), classes=3).seeded(0)
    wide = net.widened(5)
    x, t, image = torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([0.1, 0.9]), torch.randn(2, 5, 8, 8, generator=rng)
    label = torch.tensor([0, 2])
    assert torch.equal(wide(x, t, Condition(label, image=image)), net(x, t, Condition(label)))
    assert wide.config.in_channels == 9
    assert wide.config.out == 4
    wide(x, t, Condition(label, image=image)).sum().backward()
    assert wide.conv_in.weight.grad[:, 4:].abs().max() > 0  # and can learn to hear it
    with pytest.raises(ValueError, match="more: expected"):
        net.widened(0)
