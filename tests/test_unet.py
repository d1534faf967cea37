"""U-Net and ControlNet are the same functions as diffusers' three classes, in value and gradient, as hypothesis draws them."""

import pytest
import torch
from diffusers_maps import assert_same, assert_same_gradients, perturb, twins
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyldm import Condition, sdxl_vector
from tinyldm.nn import ControlNet, UNet

diffusers = pytest.importorskip("diffusers")
DTYPE = torch.float64  # gradients are sums of many rounded terms; values are compared in single precision as well
POOLED, SIZES = 6, 4  # the widths of the pooled text and of each number's sinusoids


@st.composite
def common(draw, attending):
    """Options that all three classes have. At least two channels a group, see test_autoencoder."""
    groups, levels = draw(st.sampled_from([2, 4])), draw(st.integers(1, 3))
    down = draw(st.lists(st.sampled_from(["DownBlock2D", attending]), min_size=levels, max_size=levels))
    return {
        "in_channels": draw(st.sampled_from([1, 4, 9])),
        "block_out_channels": draw(st.lists(st.sampled_from([8, 16, 24]), min_size=levels, max_size=levels)),
        "layers_per_block": draw(st.integers(1, 2)),
        "norm_num_groups": groups,
        "norm_eps": draw(st.sampled_from([1e-5, 1e-6])),
        "downsample_padding": draw(st.sampled_from([0, 1])) if attending == "AttnDownBlock2D" else 1,
        "flip_sin_to_cos": draw(st.booleans()),
        "freq_shift": draw(st.sampled_from([0, 1])),
        "resnet_time_scale_shift": draw(st.sampled_from(["default", "scale_shift"])),
        "num_class_embeds": draw(st.sampled_from([None, 5])),
        "down_block_types": down,
    }


def mirrored(values):
    return {**values, "up_block_types": [kind.replace("Down", "Up") for kind in reversed(values["down_block_types"])]}


@st.composite
def unconditional(draw):
    values = mirrored(draw(common("AttnDownBlock2D")))
    more = {
        "out_channels": draw(st.sampled_from([1, 4])),
        "attention_head_dim": draw(st.sampled_from([None, 4, 8])),
        "add_attention": draw(st.booleans()),
        "attn_norm_num_groups": draw(st.sampled_from([None, values["norm_num_groups"]])),
    }
    return diffusers.UNet2DModel, {**values, **more}


@st.composite
def conditioned(draw):
    """What a U-Net with cross-attention and a ControlNet have in common."""
    values = draw(common("CrossAttnDownBlock2D"))
    levels = len(values["down_block_types"])
    heads, depth = st.sampled_from([1, 2, 4]), st.integers(1, 2)
    vector = draw(st.booleans())
    if vector:  # their sizes' sinusoids follow these two; the only published choice is sdxl_vector's
        values |= {"flip_sin_to_cos": True, "freq_shift": 0}
    return values | {
        "attention_head_dim": draw(heads | st.lists(heads, min_size=levels, max_size=levels)),
        "transformer_layers_per_block": draw(depth | st.lists(depth, min_size=levels, max_size=levels)),
        "cross_attention_dim": draw(st.sampled_from([5, 8])),
        "only_cross_attention": draw(st.just(False) | st.lists(st.booleans(), min_size=levels, max_size=levels)),
        "use_linear_projection": draw(st.booleans()),
        "addition_embed_type": "text_time" if vector else None,
        "addition_time_embed_dim": SIZES if vector else None,
        "projection_class_embeddings_input_dim": POOLED + 6 * SIZES if vector else None,
    }


@st.composite
def conditional(draw):
    return diffusers.UNet2DConditionModel, {**mirrored(draw(conditioned())), "out_channels": draw(st.sampled_from([1, 4]))}


@st.composite
def controls(draw):
    widths = draw(st.sampled_from([[4], [4, 6], [4, 6, 8]]))
    more = {"conditioning_channels": draw(st.sampled_from([1, 3])), "conditioning_embedding_out_channels": widths}
    return diffusers.ControlNetModel, {**draw(conditioned()), **more}


def made(model):
    """A network of diffusers' with random numbers."""
    kind, config = model
    torch.manual_seed(0)
    return kind(**config).eval()


def inputs(config, seed, sides, masked):
    """x, t, a condition for ours and keywords for theirs, of the same numbers; all that can have gradients, by name."""
    rng = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=rng, dtype=DTYPE).requires_grad_()  # noqa: E731
    deepest = 2 ** (len(config.block_out_channels) - 1)
    x = random(3, config.in_channels, sides[0] * deepest, sides[1] * deepest)
    slots, keywords, leaves = {}, {}, {"x": x}
    if config.num_class_embeds:
        slots["label"] = keywords["class_labels"] = torch.tensor([0, 4, 2])
    if "cross_attention_dim" in config:
        tokens = leaves["tokens"] = random(3, 7, config.cross_attention_dim)
        slots["tokens"] = keywords["encoder_hidden_states"] = tokens
        if masked:
            mask = torch.arange(7) < torch.tensor([[7], [3], [1]])
            slots["tokens_mask"] = keywords["encoder_attention_mask"] = mask
        if config.addition_embed_type:
            pooled, ids = random(3, POOLED), torch.tensor([[1024.0, 768, 0, 16, 1024, 1024]]).expand(3, 6).to(DTYPE)
            leaves["pooled"] = pooled
            slots["vector"] = sdxl_vector(pooled, ids, SIZES)
            keywords["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
    t = torch.tensor([0.0, 3.5, 21.0], dtype=DTYPE)  # small: theirs has its sines in single precision always
    return t, slots, keywords, leaves


def compare(theirs, seed, sides, masked, call):
    """The same numbers through both: values in single, gradients of everything in double precision."""
    perturb(theirs.eval(), torch.Generator().manual_seed(seed))
    ours, table = twins(theirs)
    ours.eval()
    _, slots, keywords, leaves = inputs(theirs.config, seed, sides, masked)
    clock = torch.tensor([0.0, 37.5, 999.0])
    single = lambda v: v.float() if isinstance(v, torch.Tensor) and v.is_floating_point() else v  # noqa: E731
    with torch.no_grad():
        few = {name: single(v) for name, v in slots.items()}
        same = {n: {k: single(w) for k, w in v.items()} if isinstance(v, dict) else single(v) for n, v in keywords.items()}
        results = call(ours, leaves["x"].float(), clock, few, {}), call(theirs, leaves["x"].float(), clock, {}, same)
        for i, (mine, other) in enumerate(zip(*results, strict=True)):
            assert_same(mine, other, f"output {i}")
    gradients = []
    for module in (ours.double(), theirs.double()):
        t, slots, keywords, leaves = inputs(theirs.config, seed, sides, masked)
        outputs = call(module, leaves["x"], t, slots, keywords)
        rng = torch.Generator().manual_seed(seed + 1)
        sum((y * torch.randn(y.shape, generator=rng, dtype=DTYPE)).sum() for y in outputs).backward()
        gradients.append({name: leaf.grad for name, leaf in leaves.items()})
    for name, gradient in gradients[0].items():
        assert_same(gradient, gradients[1][name], f"gradient of {name}")
    assert_same_gradients(ours, theirs, table)
    return ours


SIDES = st.tuples(st.sampled_from([2, 3, 4]), st.sampled_from([2, 3, 4]))  # of the deepest level


def call_unet(module, x, t, slots, keywords):
    if isinstance(module, UNet):
        return [module(x, t, Condition(**slots))]
    return [module(x, t, **keywords).sample]


@settings(max_examples=8, deadline=None)
@given(unconditional(), SIDES, st.integers(0, 9))
def test_without_tokens_it_is_diffusers_unet_2d_model(model, sides, seed):
    compare(made(model), seed, sides, False, call_unet)


@settings(max_examples=25, deadline=None)
@given(conditional(), SIDES, st.integers(0, 9), st.booleans())
def test_with_tokens_it_is_diffusers_unet_2d_condition_model(model, sides, seed, masked):
    """Where the first attention looks at the tokens too, diffusers forgets the mask there; a masked token is unseen here."""
    blind = any(model[1]["only_cross_attention"] or ())
    compare(made(model), seed, sides, masked and not blind, call_unet)


@settings(max_examples=12, deadline=None)
@given(controls(), SIDES, st.integers(0, 9))
def test_a_controlnet_is_diffusers_controlnet(model, sides, seed):
    theirs = made(model)
    factor = 2 ** (len(theirs.config.conditioning_embedding_out_channels) - 1)

    def call(module, x, t, slots, keywords):
        rng = torch.Generator().manual_seed(7)
        hint = torch.rand(len(x), theirs.config.conditioning_channels, *(factor * s for s in x.shape[2:]), generator=rng)
        if isinstance(module, ControlNet):
            return module(x, t, Condition(**slots), hint.to(x), scale=0.7)
        down, middle = module(
            x, t, controlnet_cond=hint.to(x), conditioning_scale=0.7, return_dict=False,
            **{"encoder_hidden_states": None, **keywords},
        )  # fmt: skip
        return [*down, middle]

    compare(theirs, seed, sides, False, call)


@settings(max_examples=15, deadline=None)
@given(conditional(), st.integers(0, 9))
def test_residuals_go_where_diffusers_adds_them(model, seed):
    theirs = made(model)
    ours, _ = twins(perturb(theirs.eval(), torch.Generator().manual_seed(seed)))
    t, slots, keywords, leaves = inputs(theirs.config, seed, (2, 3), False)
    rng, x = torch.Generator().manual_seed(seed), leaves["x"]
    emb = ours.double().embed(x, t, Condition(**slots))
    shapes = [s.shape for s in ours.descend(ours.conv_in(x), emb, ours.context(Condition(**slots)))]
    said = [torch.randn(shape, generator=rng, dtype=DTYPE) for shape in shapes]
    with torch.no_grad():
        mine = ours(x, t, Condition(**slots, residuals=tuple(said)))
        other = theirs.double()(
            x, t, **keywords, down_block_additional_residuals=said[:-1], mid_block_additional_residual=said[-1]
        )
    assert_same(mine, other.sample, "output")
