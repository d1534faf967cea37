"""Floor 4: the circle's multistep method against its formula, its orders, and what the loop tells it."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from oracles import GaussianData, scalar
from scipy.integrate import quad
from scipy.interpolate import KroghInterpolator

from tinyldm import (
    VE,
    VP,
    Dynamics,
    Prediction,
    RectifiedFlow,
    dpmpp_2m,
    exp_abm,
    fixed,
    grid,
    langevin,
    predictor_corrector,
    sample,
    seeded,
)
from tinyldm.solvers.loop import wants

DATA, KNEE, D = GaussianData(mean=0.7, std=0.6), 0.3, 0.5
BOTH = {"argvalues": [VP(), RectifiedFlow()], "ids": ["VP", "RectifiedFlow"]}


def on_the_circle(path, x, t, p):
    """u, w and F at time t for the state x and the prediction p, from the chapter's definitions."""
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    phi = math.atan2(sigma, D * alpha)
    slope = math.cos(phi) * p.eps - math.sin(phi) * p.x0 / D
    return math.asinh(sigma / (KNEE * alpha)), x / math.hypot(D * alpha, sigma), slope


def moved(w, u, end, slopes):
    """w plus the integral over phi of the polynomial in u through the slopes, by SciPy."""
    places, values = [v for v, _ in slopes], torch.stack([f for _, f in slopes])
    phi, last = (math.atan(KNEE * math.sinh(v) / D) for v in (u, end))
    out = w.clone()
    for i in range(len(w)):
        curve = KroghInterpolator(places, values[:, i].numpy())
        out[i] += quad(lambda a, curve=curve: float(curve(math.asinh(D * math.tan(a) / KNEE))), phi, last)[0]
    return out


@pytest.mark.equation("circle-step")
@pytest.mark.equation("circle-weights")
@pytest.mark.parametrize("path", **BOTH)
@pytest.mark.parametrize("held", [0, 1, 4, 6])
@pytest.mark.parametrize("left", [None, 0, 1, 2])
def test_a_step_is_two_integrals_of_polynomials_over_the_angle(left, held, path, rng):
    """Whatever the slopes: correct with one more than ``order``, then predict with ``order`` or, near the end, 3 + left."""
    x, x0, eps, start = torch.randn(4, 3, dtype=torch.float64, generator=rng).unbind()
    t, s, order = scalar(0.5), scalar(0.37), 5
    u, w, slope = on_the_circle(path, x, t, Prediction(x0, eps))
    end, _, _ = on_the_circle(path, x, s, Prediction(x0, eps))
    earlier = tuple((u + 0.2 * k + 0.03 * k**2, torch.randn(3, dtype=torch.float64, generator=rng)) for k in range(1, held + 1))
    slopes = ((u, slope), *earlier)[: order + 1]
    if held:
        w = moved(start, earlier[0][0], u, slopes)
    w = moved(w, u, end, slopes[: order if left is None else min(order, 3 + left)])
    memory = (earlier, (earlier[0][0], start), x) if held else None
    options = {} if left is None else {"left": left}
    mine, (kept, (place, corrected), reached) = exp_abm(
        Dynamics(path, lambda x, t: Prediction(x0, eps)), x, t, s, memory, **options
    )
    truth = w * math.hypot(D * float(path.alpha(s)), float(path.sigma(s)))
    torch.testing.assert_close(mine, truth, rtol=1e-9, atol=1e-9)
    assert (len(kept), place, reached is mine) == (len(slopes), pytest.approx(u), True)
    torch.testing.assert_close(moved(corrected, u, end, slopes[: order if left is None else min(order, 3 + left)]), w)


@pytest.mark.equation("circle-step")
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("path", [VP(), VE(), RectifiedFlow()], ids=["VP", "VE", "RectifiedFlow"])
def test_once_started_its_order_is_one_more_than_its_predictor_s(path, order):
    """A Gaussian's flow is known, so the memory is primed with exact slopes, as many as a corrected step takes."""
    lam, errors = torch.tensor([-2.0, 2.0], dtype=torch.float64), []
    start, end = path.t_of_lam(lam)
    x = DATA.moments(path, start)[1] * torch.tensor([-1.5, 0.1, 0.4, 2.0], dtype=torch.float64)
    dynamics = Dynamics(path, DATA.predict(path))
    for n in (80, 160):
        ts = path.t_of_lam(torch.linspace(*lam.tolist(), n + 1, dtype=torch.float64))
        before = path.t_of_lam(lam[0] - 4 / n * torch.arange(1, order + 1, dtype=torch.float64))
        states = [DATA.flow(path, x, start, t) for t in before]
        known = [on_the_circle(path, y, t, dynamics.predict(y, t)) for y, t in zip(states, before)]
        memory = tuple((u, slope) for u, _, slope in known), known[0][:2], x

        def warm(dynamics, x, t, s, found, memory=memory):
            return exp_abm(dynamics, x, t, s, found or memory, order=order)  # and is not told how many are left

        errors.append(float((sample(dynamics, x, ts, warm, denoise=False) - DATA.flow(path, x, start, end)).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.35)


# ---- what the loop tells


def by_hand(step, dynamics, x, ts):
    """The states after each step of a loop that counts the steps still to come by itself."""
    memory, states, left = None, [], len(ts) - 1
    for t, s in pairwise(ts):
        left -= 1
        x, memory = step(dynamics, x, t, s, memory, left)
        states.append(x)
    assert left == 0
    return states


def assert_same_states(solver, dynamics, x, ts, states):
    seen = []
    end = sample(dynamics, x, ts, solver, denoise=False, callback=lambda i, s, x: seen.append(x))
    assert torch.equal(torch.stack(seen), torch.stack(states))
    assert torch.equal(end, states[-1])


def circle(dynamics, x, t, s, memory, left, **options):
    return exp_abm(dynamics, x, t, s, memory, left=left, **options)


@pytest.mark.parametrize("path", **BOTH)
def test_the_loop_tells_how_many_steps_are_left(path, rng):
    x, ts = torch.randn(4, dtype=torch.float64, generator=rng), grid(path, 9)
    dynamics = Dynamics(path, DATA.predict(path))
    states = by_hand(circle, dynamics, x, ts)
    for solver in (exp_abm, fixed(exp_abm), partial(exp_abm, order=5), fixed(partial(exp_abm))):
        assert_same_states(solver, dynamics, x, ts, states)
    for order in (2, 4):
        lower = by_hand(partial(circle, order=order), dynamics, x, ts)
        assert_same_states(partial(exp_abm, order=order), dynamics, x, ts, lower)
    own = by_hand(lambda *given: exp_abm(*given[:5], left=0), dynamics, x, ts)
    assert not torch.equal(own[-1], states[-1])
    assert_same_states(partial(exp_abm, left=0), dynamics, x, ts, own)  # what a step brings is kept


def test_only_a_step_that_wants_to_know_is_told():
    heard = []

    @wants("left")
    def curious(dynamics, x, t, s, memory, *, left):
        heard.append(left)
        return x, None

    @wants("generator")
    def indifferent(dynamics, x, t, s, memory, **options):
        heard.append(options)
        return x, None

    ts = torch.linspace(0.9, 0.1, 5, dtype=torch.float64)
    for solver in (curious, fixed(curious), predictor_corrector(curious, indifferent, 0)):
        sample(Dynamics(VP(), None), torch.zeros(2), ts, solver, denoise=False)
        assert heard == [3, 2, 1, 0]
        heard.clear()
    sample(Dynamics(VP(), None), torch.zeros(2), ts, predictor_corrector(indifferent, curious, 2), denoise=False)
    assert heard == [{}, 3, 3, {}, 2, 2, {}, 1, 1, {}, 0, 0]


def corrected(predict, generator, dynamics, x, t, s, memory, left):
    """Predict, then one step of Langevin's at s with this generator."""
    x, memory = predict(dynamics, x, t, s, memory, left)
    return langevin(dynamics, x, s, s, None, generator=generator)[0], memory


PREDICTORS = {"exp_abm": (exp_abm, circle), "dpmpp_2m": (dpmpp_2m, lambda *given: dpmpp_2m(*given[:-1]))}


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_is_told_what_is_left_and_a_corrector_brings_its_generator(name, rng):
    step, alone = PREDICTORS[name]
    x, ts = torch.randn(4, dtype=torch.float64, generator=rng), grid(VP(), 9)
    dynamics = Dynamics(VP(), DATA.predict(VP()))
    states = by_hand(partial(corrected, alone, seeded(6)), dynamics, x, ts)
    for give in (
        lambda g: predictor_corrector(step, partial(langevin, generator=g)),
        lambda g: partial(predictor_corrector(step, langevin), generator=g),
    ):
        assert_same_states(give(seeded(6)), dynamics, x, ts, states)


def latents(model, solver, seed=3, **options):
    return model.sample_latents(2, steps=8, solver=solver, generator=seeded(seed), **options)


def hand_made(model, step, generator):
    """``sample_latents`` in 8 steps from its parts."""
    path = model.denoiser.path
    ts, x = grid(path, 8), torch.randn(2, *model.latent, generator=generator)
    dynamics = model.denoiser.dynamics()
    with torch.no_grad():
        x = by_hand(step, dynamics, x * path.sigma(ts[0]), ts)[-1]
        return dynamics.predict(x, ts[-1]).x0


def test_a_model_takes_the_step_by_name_as_a_solver_or_bare(model):
    want = hand_made(model, circle, seeded(3))
    for solver in ("exp_abm", exp_abm, fixed(exp_abm), partial(exp_abm, order=5)):
        assert torch.equal(latents(model, solver), want)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_model_s_generator_reaches_the_corrector_and_no_other_chance_is_used(name, model):
    step, alone = PREDICTORS[name]
    solver, generator = predictor_corrector(step, langevin), seeded(3)
    want = hand_made(model, partial(corrected, alone, generator), generator)
    before = torch.get_rng_state()
    assert torch.equal(latents(model, solver), want)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(latents(model, solver), want)
        again = [model.sample(2, steps=3, solver=solver, generator=seeded(k)) for k in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
