"""Our own small transformers: what they can do before and after training, and what they refuse."""

from dataclasses import replace

import pytest
import torch
from diffusers_maps import perturb
from mmdit_maps import random_condition

from tinyldm import VP, Condition, Denoiser
from tinyldm.nn import weights
from tinyldm.nn.mmdit import MMDiTConfig

OWN = {
    "dit": MMDiTConfig(width=32, heads=2, blocks=2, classes=10, side=4),
    "patch 1": MMDiTConfig(width=32, heads=2, blocks=2, patch=1, classes=3, side=8),
    "vector": MMDiTConfig(width=32, heads=2, blocks=2, vector=5, side=4),
    "tokens": MMDiTConfig(width=32, heads=2, blocks=2, tokens=6, side=4, table=8),
    "both": MMDiTConfig(width=32, heads=2, blocks=2, tokens=6, vector=5, classes=3, side=4, table=4, qk_norm=True),
    "rotary": MMDiTConfig(width=32, heads=2, blocks=1, singles=1, tokens=6, side=0, rope=(0, 8, 8)),
    "rotary, no text": MMDiTConfig(width=32, heads=2, blocks=1, singles=1, classes=3, side=0, rope=(0, 8, 8)),
}
own = pytest.mark.parametrize("config", OWN.values(), ids=OWN)


@own
def test_a_fresh_network_says_zero_and_can_learn(config, build, rng):
    """adaLN-Zero: at first every block passes on what it is given, and the last layer is zero."""
    ours, cond = build(config), random_condition(config, 2, rng)
    x = torch.randn(2, 4, 8, 8, generator=rng)
    assert (ours(x, 0.5, cond) == 0).all()
    optimizer = torch.optim.Adam(ours.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = (ours(x, torch.tensor([0.1, 0.9]), cond) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None for p in ours.parameters())


@own
def test_every_slot_and_every_place_matters(config, build, rng):
    ours, cond = perturb(build(config), rng), random_condition(config, 2, rng)
    x = torch.randn(2, 4, 8, 8, generator=rng)
    with torch.no_grad():
        y = ours(x, 0.5, cond)
        assert not torch.allclose(y, ours(x, 0.6, cond), atol=1e-4)
        assert not torch.allclose(y.flip(3), ours(x.flip(3), 0.5, cond), atol=1e-4)
        for name in ("vector", "tokens"):
            if getattr(cond, name) is not None:
                other = replace(cond, **{name: getattr(cond, name) + 1})
                assert not torch.allclose(y, ours(x, 0.5, other), atol=1e-4), name
        if config.classes:
            null = replace(cond, label=torch.full((2,), config.classes))
            assert torch.equal(ours(x, 0.5, null), ours(x, 0.5, replace(cond, label=None)))
            assert not torch.allclose(ours(x, 0.5, null), ours(x, 0.5, replace(null, label=null.label - 1)), atol=1e-4)


@own
def test_configurations_and_weights_travel(config, build, rng):
    """Through a dictionary, and through the meta device, where only what is in the state survives."""
    ours, cond = perturb(build(config), rng), random_condition(config, 2, rng)
    x = torch.randn(2, 4, 8, 8, generator=rng)
    assert MMDiTConfig.from_dict(config.as_dict()) == config
    with torch.device("meta"):
        fresh = config.build()
    weights.load_state(fresh, ours.state_dict(), "own")
    assert torch.equal(ours(x, 0.5, cond), fresh(x, 0.5, cond))
    assert set(ours.state_dict()) - {name for name, _ in ours.named_parameters()} <= {"positions.pos_embed"}


def test_a_denoiser_takes_it(build, rng):
    net = Denoiser(perturb(build(OWN["dit"]), rng), VP(), "v")
    x = torch.randn(2, 4, 8, 8, generator=rng)
    prediction = net(x, torch.tensor(0.5, dtype=torch.float64), Condition(torch.tensor([1, 10])))
    assert prediction.x0.shape == x.shape
    assert prediction.x0.isfinite().all()


# ---- what cannot be


@pytest.mark.parametrize(
    ("config", "change", "said"),
    [
        ("tokens", {"tokens": None}, r"cond\.tokens: expected a value"),
        ("vector", {"vector": None}, r"cond\.vector: expected a value"),
        ("tokens", {"tokens": torch.zeros(2, 3, 7)}, r"cond\.tokens: expected 6 wide, got 7 wide"),
        ("vector", {"vector": torch.zeros(2, 6)}, r"cond\.vector: expected 5 wide, got 6 wide"),
        ("vector", {"vector": torch.zeros(1, 5)}, r"cond\.vector: expected one for each of the 2 samples"),
        ("vector", {"label": torch.zeros(2, dtype=torch.long)}, r"cond\.label: expected None"),
        ("dit", {"label": torch.tensor([0, 11])}, r"cond\.label: expected values in \[0, 10\]"),
        ("dit", {"label": torch.tensor([-1, 1])}, r"cond\.label: expected values in \[0, 10\]"),
        ("dit", {"guidance": torch.ones(2)}, r"cond\.guidance: expected None"),
        ("dit", {"tokens": torch.ones(2, 3, 6)}, r"cond\.tokens: expected None"),
        ("dit", {"image": torch.ones(2, 4, 8, 8)}, r"cond\.image: expected None"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(config, change, said, build, rng):
    config = OWN[config]
    with pytest.raises(ValueError, match=said):
        build(config)(torch.zeros(2, 4, 8, 8), 0.5, replace(random_condition(config, 2, rng), **change))


def test_guidance_is_needed_where_it_was_distilled(build, rng):
    config = replace(OWN["rotary"], guidance=True)
    cond = random_condition(config, 2, rng)
    with pytest.raises(ValueError, match=r"cond\.guidance: expected a value"):
        build(config)(torch.zeros(2, 4, 8, 8), 0.5, replace(cond, guidance=None))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 3, 8, 8), "x: expected 4 channels, got 3 channels"),
        ((2, 4, 8, 7), "x: expected height and width divisible by 2, got 8x7"),
        ((4, 8, 8), "x: expected four dimensions"),
        ((2, 4, 8, 18), "x: expected at most the table's 8x8, got 4x9 tokens"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(shape, said, build):
    with pytest.raises(ValueError, match=said):
        build(OWN["tokens"])(torch.zeros(shape), 0.5, Condition(tokens=torch.zeros(shape[0], 3, 6)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"heads": 3}, "heads: expected a divisor of the width, 128, got 3"),
        ({"width": 6, "heads": 1}, "width: expected a multiple of 4"),
        ({"side": 0, "rope": (8, 8, 8)}, "rope: expected three even numbers whose sum is the width of a head, 32"),
        ({"side": 0, "rope": (16, 16)}, "rope: expected three even numbers"),
        ({"side": 0, "rope": (2, 15, 15)}, "rope: expected three even numbers"),
        ({"rope": (0, 16, 16)}, r"side, table: expected 0 where there is rope, got \(4, 0\)"),
        ({"side": 0}, "side: expected a whole number >= 1"),
        ({"in_channels": 0}, "in_channels"),
        ({"out_channels": 0}, "out_channels"),
        ({"patch": 0}, "patch"),
        ({"blocks": 0}, "blocks"),
        ({"tokens": -1}, "tokens"),
        ({"classes": 2.5}, "classes"),
        ({"ff_eps": 0.0}, "ff_eps: expected a positive number"),
        ({"freq_shift": 2}, "freq_shift"),
        ({"singles": 1, "shared_clock": False}, "shared_clock: expected True where there are singles"),
    ],
)
def test_configurations_that_do_not_fit_together_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        MMDiTConfig(**values)
