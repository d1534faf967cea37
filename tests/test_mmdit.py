"""MMDiT is the same function as diffusers' three transformers, in value and in gradient, over configurations at random."""

from dataclasses import asdict, replace

import pytest
import torch
from diffusers_maps import assert_same, perturb
from mmdit_maps import FAMILIES, both, call, random_condition, random_config, table, their_network

from tinyldm import Condition

pytest.importorskip("diffusers")

SEEDS = range(8)
# For DiT's gradients not 1000: its frequencies, rounded in another order than diffusers does it, differ by 6e-8, and the
# angles by as much times the time.
LATEST = {"sd3": 1000, "flux": 1, "dit": 1000}


def case(family, seed, batch=3):
    """Ours, theirs and an input, as a rule not square."""
    config, rng = random_config(family, seed), torch.Generator().manual_seed(seed)
    ours, theirs = both(config, rng)
    rows, columns = (int(n) for n in torch.randint(1, (config.table or 7) + 1, (2,), generator=rng))
    columns = rows if seed % 4 == 0 else columns
    shape = batch, config.in_channels, rows * config.patch, columns * config.patch
    x = torch.randn(shape, generator=rng).requires_grad_()
    t = torch.rand(batch, generator=rng) * LATEST[family]
    return ours, theirs, x, t, random_condition(config, batch, rng)


@pytest.mark.equation("joint-attention")
@pytest.mark.equation("parallel-block")
@pytest.mark.equation("adaln")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_are_diffusers(family, seed, rng):
    """Of every input and every weight."""
    ours, theirs, x, t, cond = case(family, seed)
    inputs = {"x": x, "tokens": cond.tokens, "vector": cond.vector, "guidance": cond.guidance}
    inputs = {name: leaf for name, leaf in inputs.items() if leaf is not None}
    y, reference = ours(x, t, cond), call(theirs, ours.config, x, t, cond)
    assert_same(y, reference, "output")
    weight = torch.randn(y.shape, generator=rng)
    own, names, other = dict(ours.named_parameters()), table(ours), dict(theirs.named_parameters())
    assert sorted(names[name] for name in own) == sorted(other)
    mine = torch.autograd.grad((y * weight).sum(), [*inputs.values(), *own.values()])
    truth = torch.autograd.grad((reference * weight).sum(), [*inputs.values(), *(other[names[name]] for name in own)])
    for name, a, b in zip([*inputs, *own], mine, truth, strict=True):
        assert_same(a, b.reshape(a.shape), f"gradient of {name}")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_random_configurations_differ_in_every_respect(family):
    """Otherwise the test above would check less than it seems to. Facts of a family are alike in all its networks."""
    configs = [asdict(random_config(family, seed)) for seed in SEEDS]
    for field in ("in_channels", "width", "heads", "blocks", "out_channels"):
        assert len({c[field] for c in configs}) > 1, field
    own = {"sd3": ("patch", "qk_norm", "table", "side"), "flux": ("singles", "rope", "guidance"), "dit": ("patch", "classes")}
    for field in own[family]:
        assert len({c[field] for c in configs}) > 1, field


@pytest.mark.parametrize("t", [0, 1, 500, 999])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_form_of_the_time_is_the_same_time(family, t):
    """An int, a float, a tensor () or (B,), of integers or not: diffusers' answer to (B,)."""
    ours, theirs, x, _, cond = case(family, 0)
    t = t / 1000 if family == "flux" else t
    with torch.no_grad():
        reference = call(theirs, ours.config, x, torch.full((3,), t), cond)
        forms = [t, float(t), torch.tensor(t), torch.tensor(t, dtype=torch.float64), torch.full((3,), t)]
        for form in forms:
            assert_same(ours(x, form, cond), reference, f"output at {form!r}")


def test_times_are_one_or_one_a_sample():
    ours, _, x, _, cond = case("dit", 0)
    for wrong in (torch.zeros(1), torch.zeros(2), torch.zeros(3, 1)):
        with pytest.raises(ValueError, match=r"t: expected \(\) or \(3,\), one time a sample, got shape"):
            ours(x, wrong, cond)


def test_a_shared_clock_is_diffusers_dit_with_equal_clocks(rng):
    config = replace(random_config("dit", 2), blocks=3)
    ours = perturb(replace(config, shared_clock=True).build().eval(), rng)
    separate, theirs = config.build(), their_network(config)
    state = ours.state_dict()
    for name in separate.state_dict():
        if name.startswith("clocks."):
            state[name] = state["clocks.0." + name.split(".", 2)[2]]
    separate.load_state_dict(state)
    names, shapes = table(separate), {name: t.shape for name, t in theirs.state_dict().items()}
    theirs.load_state_dict({names[name]: t.reshape(shapes[names[name]]) for name, t in separate.state_dict().items()})
    x = torch.randn(2, config.in_channels, 3 * config.patch, 3 * config.patch, generator=rng)
    t, cond = torch.tensor([3.0, 70.0]), random_condition(config, 2, rng)
    with torch.no_grad():
        assert_same(ours(x, t, cond), call(theirs, config, x, t, cond), "output")
    assert len(ours.clocks) == 1 < len(separate.clocks)


# ---- text that is none


@pytest.mark.parametrize("family", ["sd3", "flux"])
@pytest.mark.parametrize("seed", range(3))
def test_a_masked_tail_of_the_text_is_no_text(family, seed, rng):
    ours, _, x, t, cond = case(family, seed)
    kept = cond.tokens.shape[1] - 2
    mask = torch.arange(cond.tokens.shape[1]).expand(3, -1) < kept
    hidden, short = ours(x, t, replace(cond, tokens_mask=mask)), ours(x, t, replace(cond, tokens=cond.tokens[:, :kept]))
    assert_same(hidden, short, "output")
    assert not torch.allclose(short, ours(x, t, cond), atol=1e-3)
    weight = torch.randn(hidden.shape, generator=rng)
    (gradient,) = torch.autograd.grad((hidden * weight).sum(), cond.tokens)
    (truth,) = torch.autograd.grad((short * weight).sum(), cond.tokens)
    assert (gradient[:, kept:] == 0).all()
    assert_same(gradient, truth, "gradient of the text")


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_every_sample_has_a_mask_of_its_own(family):
    ours, _, x, t, cond = case(family, 1)
    lengths = torch.tensor([1, 4, 2])
    mask = torch.arange(4)[None] < lengths[:, None]
    with torch.no_grad():
        together = ours(x, t, replace(cond, tokens_mask=mask))
        assert_same(ours(x, t, replace(cond, tokens_mask=mask | True)), ours(x, t, cond), "a mask that hides nothing")
        for i, length in enumerate(lengths.tolist()):
            pick = slice(i, i + 1)
            slots = {
                name: None if value is None else value[pick]
                for name, value in vars(cond).items()
                if name in ("vector", "guidance")
            }
            alone = Condition(tokens=cond.tokens[pick, :length], **slots)
            assert_same(together[pick], ours(x[pick], t[pick], alone), f"sample {i}")


# ---- batches and types


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_do_not_see_each_other(family):
    ours, _, x, t, cond = case(family, 3)
    with torch.no_grad():
        whole = ours(x, t, cond)
        for i in range(3):
            alone = Condition(**{k: v[i : i + 1] for k, v in vars(cond).items() if v is not None})
            assert_same(whole[i : i + 1], ours(x[i : i + 1], t[i : i + 1], alone), f"sample {i}")


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-3), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_types_give_nearly_the_same(family, dtype, near):
    """The condition is taken in whatever type it comes; the time's sinusoids are computed in single precision at least."""
    ours, _, x, t, cond = case(family, 5)
    with torch.no_grad():
        reference = ours(x, t, cond)
        y = ours.to(dtype)(x.to(dtype), t, cond)
    assert y.dtype == dtype
    assert (y - reference).abs().max() < near * reference.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_double_precision_reaches_every_part(family):
    """Derivatives by x and t are difference quotients, whose steps single precision would not see."""
    ours, _, x, t, cond = case(family, 1)
    ours, leaves = ours.double(), (x.detach().double().requires_grad_(), t.double().requires_grad_())
    cond = Condition(**{k: v.double() if v is not None and v.is_floating_point() else v for k, v in vars(cond).items()})
    assert torch.autograd.gradcheck(lambda x, t: ours(x, t, cond), leaves, atol=1e-6, rtol=1e-4, fast_mode=True)
