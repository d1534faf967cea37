"""Floor 5: guidance against what can be solved by hand, and the ways of writing it against one another."""

from functools import partial

import pytest
import torch

import tinyldm as tl
from tinyldm.guidance import FORMS, Guidance, apart, classifier_guided, guided, projected, rescaled, together, zero_star
from tinyldm.nn import Condition, UNetConfig

VE = tl.VE(1e-3, 200.0)
FLOW = tl.RectifiedFlow()
F64 = torch.float64


def normal(variance, dims=1):
    """N(0, variance), whose denoiser is exact."""
    ones = torch.ones(1, dtype=F64)
    return tl.GaussianMixture(ones, torch.zeros(1, dims, dtype=F64), ones * variance**0.5)


def both(path, rng, shape=(6, 8)):
    """Two predictions at one x that agree with it, as a network's do."""
    x, t = torch.randn(shape, dtype=F64, generator=rng), torch.tensor(0.4, dtype=F64)
    on, off = (tl.resolve("x0", path, x, t, torch.randn(shape, dtype=F64, generator=rng)) for _ in range(2))
    return x, t, on, off


@pytest.mark.equation("cfg-gaussian")
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.0])
def test_guided_ode_of_two_gaussians_has_the_variance_derived(scale):
    """p = N(0, 2), p(.|c) = N(0, 1) under VE: the ODE is linear, so that one sample shows the factor of all."""
    dynamics = tl.Dynamics(VE, guided(normal(1).predict(VE), normal(2).predict(VE), scale))
    end = tl.sample(dynamics, torch.full((1, 1), 200.0, dtype=F64), tl.grid(VE, 600), tl.heun)
    assert float(end) ** 2 == pytest.approx(2 ** (1 - scale), rel=3e-3)


@pytest.mark.equation("cfg-gaussian")
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_guided_sde_of_two_gaussians_has_the_variance_derived(scale, rng):
    dynamics = tl.Dynamics(VE, guided(normal(1).predict(VE), normal(2).predict(VE), scale))
    start = 200 * torch.randn(40_000, 1, dtype=F64, generator=rng)
    end = tl.sample(dynamics, start, tl.grid(VE, 500), partial(tl.euler_maruyama, generator=rng))
    assert float(end.var()) == pytest.approx((2 - 2 ** (2 - 2 * scale)) / (2 * scale - 1), rel=0.03)  # 4 standard errors


@pytest.mark.equation("cfg")
def test_guidance_multiplies_the_conditional_by_a_power_of_the_ratio(rng):
    """Its score at each time is that of p_t(x) (p_t(x|c)/p_t(x))^scale, by autograd."""
    on, off = normal(1, 3), normal(2, 3)
    x, t = torch.randn(5, 3, dtype=F64, generator=rng).requires_grad_(), torch.tensor(0.6, dtype=F64)
    tilted = off.log_prob(x, VE, t) + 2.5 * (on.log_prob(x, VE, t) - off.log_prob(x, VE, t))
    (slope,) = torch.autograd.grad(tilted.sum(), x)
    dynamics = tl.Dynamics(VE, guided(on.predict(VE), off.predict(VE), 2.5))
    torch.testing.assert_close(dynamics.score(x.detach(), t), slope)


@pytest.mark.equation("cfg")
def test_the_two_conventions_are_one_apart(rng):
    x, t, on, off = both(FLOW, rng)
    for w in (0.0, 0.5, 2.0):
        paper = (1 + w) * on.eps - w * off.eps  # Ho and Salimans, equation 6
        led = guided(lambda x, t: on, lambda x, t: off, w, convention="weight")(x, t)
        torch.testing.assert_close(led.eps, paper)
        torch.testing.assert_close(guided(lambda x, t: on, lambda x, t: off, 1 + w)(x, t).eps, paper)


@pytest.mark.parametrize("path", [FLOW, tl.VP()], ids=["flow", "VP"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_agrees_with_x_and_is_the_conditional_at_scale_one(form, path, rng):
    x, t, on, off = both(path, rng)
    for scale in (1.0, 4.0):
        led = FORMS[form](path, x, t, on, off, scale)
        torch.testing.assert_close(path.marginal(led.x0, led.eps, t), x)
        if scale == 1:
            torch.testing.assert_close(led.x0, on.x0)


@pytest.mark.equation("cfg-rescale")
def test_rescaling_gives_back_the_conditional_spread(rng):
    x, t, on, off = both(FLOW, rng)
    whole, none, half = (rescaled(FLOW, x, t, on, off, 5.0, share=share).x0 for share in (1.0, 0.0, 0.5))
    torch.testing.assert_close(whole.std(1), on.x0.std(1))
    torch.testing.assert_close(none, 5 * on.x0 - 4 * off.x0)
    torch.testing.assert_close(half, (whole + none) / 2)


@pytest.mark.equation("cfg-projected")
def test_projection_takes_away_the_part_along_the_clean_picture(rng):
    x, t, on, off = both(FLOW, rng)
    push = projected(FLOW, x, t, on, off, 5.0).x0 - on.x0
    torch.testing.assert_close((push * on.x0).sum(1), torch.zeros(6, dtype=F64), atol=1e-10, rtol=0)
    torch.testing.assert_close(projected(FLOW, x, t, on, off, 5.0, along=1.0).x0, 5 * on.x0 - 4 * off.x0)
    rest = 4 * (on.x0 - off.x0) - push  # what is missing is parallel to the clean picture
    cosine = torch.cosine_similarity(rest, on.x0, dim=1).abs()
    torch.testing.assert_close(cosine, torch.ones(6, dtype=F64))


@pytest.mark.equation("cfg-zero-star")
def test_the_factor_of_zero_star_is_the_least_squares_one(rng):
    """Against NumPy's least squares, sample by sample."""
    import numpy as np

    x, t, on, off = both(FLOW, rng)
    toward, away = on.eps - on.x0, off.eps - off.x0  # velocities of the straight path
    led = zero_star(FLOW, x, t, on, off, 3.0)
    for i in range(6):
        best = np.linalg.lstsq(away[i].numpy()[:, None], toward[i].numpy(), rcond=None)[0][0]
        expected = best * away[i] + 3 * (toward[i] - best * away[i])
        torch.testing.assert_close((led.eps - led.x0)[i], expected)


@pytest.mark.equation("classifier-guidance")
def test_a_perfect_classifier_turns_the_whole_into_the_class(rng):
    """Of a mixture of three, with log p(c|x_t) by Bayes' rule: scale 1 is the class's own denoiser."""
    means = torch.tensor([[-2.0, 0.0], [1.0, 2.0], [2.0, -1.0]], dtype=F64)
    mixture = tl.GaussianMixture(torch.tensor([0.2, 0.5, 0.3], dtype=F64), means, torch.full((3,), 0.5, dtype=F64))
    alone = tl.GaussianMixture(torch.ones(1, dtype=F64), means[1:2], torch.full((1,), 0.5, dtype=F64))

    def log_prob(x, t):
        return torch.log(torch.tensor(0.5, dtype=F64)) + alone.log_prob(x, FLOW, t) - mixture.log_prob(x, FLOW, t)

    x, t = torch.randn(7, 2, dtype=F64, generator=rng), torch.tensor(0.5, dtype=F64)
    led = classifier_guided(mixture.predict(FLOW), FLOW, log_prob)(x, t)
    own = alone.predict(FLOW)(x, t)
    torch.testing.assert_close(led.eps, own.eps)
    torch.testing.assert_close(led.x0, own.x0)
    assert not led.x0.requires_grad
    twice = classifier_guided(mixture.predict(FLOW), FLOW, log_prob, 2.0)(x, t)
    torch.testing.assert_close(twice.eps, guided(alone.predict(FLOW), mixture.predict(FLOW), 2.0)(x, t).eps)


def denoiser(config):
    return tl.Denoiser(config.seeded(0).eval(), FLOW, "flow")


LABELS = UNetConfig(in_channels=2, channels=(8, 16), groups=4, classes=5)
WORDS = UNetConfig(in_channels=2, channels=(8, 16), attention=(0, 1), groups=4, classes=0, tokens=6)
CONDITIONS = {
    "labels": (LABELS, Condition([0, 1, 2]), Condition([5, 5, 5])),
    "texts of two lengths": (WORDS, Condition(tokens=torch.ones(3, 4, 6)), Condition(tokens=torch.zeros(3, 2, 6))),
    "a masked text": (
        WORDS,
        Condition(tokens=torch.ones(3, 4, 6), tokens_mask=torch.tensor([[True, True, False, False]] * 3)),
        Condition(tokens=-torch.ones(3, 4, 6)),
    ),
}


@pytest.mark.parametrize("case", CONDITIONS)
@pytest.mark.parametrize("t", [torch.tensor(0.3), torch.tensor([0.1, 0.5, 0.9])], ids=["one time", "three times"])
def test_one_call_of_twice_the_batch_is_two_calls(case, t, rng):
    config, on, off = CONDITIONS[case]
    model, x = denoiser(config), torch.randn(3, 2, 8, 8, generator=rng)
    with torch.no_grad():
        one, two = together(model, on, off)(x, t), apart(model.given(on), model.given(off))(x, t)
    for mine, other in zip(one, two):
        torch.testing.assert_close(mine.x0, other.x0, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine.eps, other.eps, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one[0].x0, one[1].x0)


@pytest.mark.parametrize("case", CONDITIONS)
@pytest.mark.parametrize("alone", [(0,), (1,), (0, 1)], ids=["on", "off", "both"])
def test_one_sample_s_condition_serves_both_halves_of_the_batch(alone, case, rng):
    config, *conditions = CONDITIONS[case]
    model, x, t = denoiser(config), torch.randn(3, 2, 8, 8, generator=rng), torch.tensor(0.3)
    short = [cond[0] if i in alone else cond for i, cond in enumerate(conditions)]
    full = [cond[0].repeat(3) if i in alone else cond for i, cond in enumerate(conditions)]
    with torch.no_grad():
        for mine, other in zip(together(model, *short)(x, t), together(model, *full)(x, t)):
            assert torch.equal(mine.x0, other.x0)


def test_conditions_of_different_slots_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match="other: expected the same slots filled"):
        together(denoiser(LABELS), Condition([1]), Condition())


def test_conditions_that_fill_different_slots_are_not_joined():
    with pytest.raises(ValueError, match="other: expected the same slots filled, got label in only one of them"):
        Condition([1]).joined(Condition())


def test_the_guide_is_asked_only_inside_the_interval(rng):
    x, _, on, off = both(FLOW, rng)
    asked = []

    def pair(x, t):
        asked.append(float(t))
        return on, off

    led = Guidance(3.0, interval=(0.25, 0.75)).lead(FLOW, lambda x, t: on, lambda x, t: off, pair)
    for t in (0.1, 0.25, 0.5, 0.75, 0.9):
        p = led(x, torch.tensor(t, dtype=F64))
        torch.testing.assert_close(p.x0, 3 * on.x0 - 2 * off.x0 if 0.2 < t < 0.8 else on.x0)
    assert asked == [0.25, 0.5, 0.75]


def test_plain_guidance_is_the_formula(rng):
    x, t, on, off = both(FLOW, rng)
    by_hand = guided(lambda x, t: on, lambda x, t: off, 3.0)(x, t)
    for pair in (None, lambda x, t: (on, off)):
        led = Guidance(3.0).lead(FLOW, lambda x, t: on, lambda x, t: off, pair)(x, t)
        torch.testing.assert_close((led.x0, led.eps), (by_hand.x0, by_hand.eps))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"scale": -1.0}, "scale: expected a number >= 0"),
        ({"scale": float("nan")}, "scale"),
        ({"interval": (0.5, 0.2)}, "interval"),
        ({"interval": (0.5, 1.2)}, "interval"),
        ({"form": "rescale"}, "form"),
    ],
)
def test_bad_guidance_is_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**{"scale": 2.0, **numbers})


def test_bad_conventions_are_refused(rng):
    with pytest.raises(ValueError, match="convention"):
        guided(lambda x, t: x, lambda x, t: x, 2.0, convention="w")
    with pytest.raises(ValueError, match="scale"):
        guided(lambda x, t: x, lambda x, t: x, -1.5, convention="weight")
    with pytest.raises(ValueError, match="spread"):
        rescaled(FLOW, *both(FLOW, rng, (4, 1)), 2.0)


def test_a_model_takes_a_scale_or_a_guidance(model):
    def draw(guidance):
        return model.sample_latents(3, [0, 1, 2], steps=3, guidance=guidance, generator=tl.seeded(0))

    assert torch.equal(draw(Guidance(2.5)), draw(2.5))
    assert torch.equal(draw(Guidance(2.5, interval=(0.0, 0.0))), draw(1.0))  # nowhere led
    assert not torch.allclose(draw(Guidance(2.5, form="projected")), draw(2.5))
