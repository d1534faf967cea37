"""Chapter 09: the flow-matching loss, three readings of a velocity, the shift, reflow's meaning, a broken reflow."""

import torch

from ..broadcast import expand
from ..losses.times import shift_times
from ..runtime import seeded
from .core import choice, formula, rows

# fmt: off

def _cfm(
    velocity, x0, eps, t, alpha, sigma, d_alpha, d_sigma, *,
    state=lambda x, e, t, a, s, da, ds: a * x + s * e, goal=lambda x, e, t, a, s, da, ds: da * x + ds * e,
    clock=lambda t: t, sign=1, loss=lambda given, y: (given - y).square().mean(1),
):
    """09-1: mean over entries of |F(alpha x0 + sigma eps, t) - (alpha' x0 + sigma' eps)|^2.

    state, goal: what the network is shown and what is asked of it, from data, noise, time and the four coefficients. clock:
    the time that it is told. sign: of the goal. loss: from what is given and what is asked, flat.
    """
    known = x0, eps, *(expand(c, x0) for c in (t, alpha, sigma, d_alpha, d_sigma))
    return loss(velocity(state(*known), clock(t)).flatten(1), sign * goal(*known).flatten(1))

def _path(g, n, *shape):
    """Data, noise, time and the coefficients of a random path: no relation between them can be taken for granted."""
    x0, eps = torch.randn(n, *shape, generator=g), torch.randn(n, *shape, generator=g)
    t, alpha, sigma, d_alpha, d_sigma = (torch.rand(n, generator=g) for _ in range(5))
    return x0, eps, t, 0.3 + 0.6 * alpha, 0.2 + 0.7 * sigma, -0.5 - d_alpha, 0.4 + d_sigma

def _network(x, t):
    """Something smooth that depends on both arguments."""
    return torch.sin(1.3 * x) + 0.5 * expand(t, x) * x

g = seeded(91)
formula(
    "09-1", "The flow-matching loss", 2, "it holds on any path, because the target is the state's slope.", _cfm,
    [(_network, *_path(g, 5, 2)), (_network, *_path(g, 3, 4, 6, 5))], [
        ({"goal": lambda x, e, *_: e - x}, "this target belongs to the straight path only; differentiate the state on the path that you are given."),
        ({"goal": lambda x, e, *_: x - e}, "this target belongs to the straight path with the clock that runs from noise to data; differentiate the state that you are given."),
        ({"goal": lambda x, e, *_: e}, "the target is the noise: this trains a noise prediction, not a velocity."),
        ({"goal": lambda x, *_: x}, "the target is the clean data: this trains a data prediction, not a velocity."),
        ({"goal": lambda x, e, t, a, s, *_: a * e - s * x}, "this target is v, the velocity when the angle is the clock; here the clock is t."),
        ({"goal": lambda x, e, t, a, s, da, ds: ds * x + da * e}, "the two derivatives have changed places: which of them belongs to the data?"),
        ({"goal": lambda x, e, t, a, s, da, ds: ds * e - da * x}, "a sign too many: the derivative of alpha is negative already."),
        ({"goal": lambda x, e, t, a, s, *_: a * x + s * e}, "the network is asked for the noisy state itself; a velocity is made of the derivatives."),
        ({"sign": -1}, "the sign of the target is flipped: time runs from data to noise here."),
        ({"state": lambda x, *_: x}, "the network is shown the clean data; it must see the noisy state."),
        ({"state": lambda x, e, *_: e}, "the network is shown the pure noise; it must see the noisy state."),
        ({"state": lambda x, e, t, a, s, *_: s * x + a * e}, "alpha and sigma have changed places in the state."),
        ({"loss": lambda given, y: (given - y).square().sum(1)}, "the squared error is summed over the entries; a mean is asked for."),
        ({"loss": lambda given, y: (given - y).square().mean(1).sqrt()}, "there is a square root too many: the mean of the squares is asked for."),
        ({"loss": lambda given, y: (given - y).abs().mean(1)}, "this averages absolute errors; the network would learn a median instead of a mean."),
        ({"loss": lambda given, y: (given - y).square().mean()}, "one number for the whole batch: every sample has a loss of its own."),
        ({"loss": lambda given, y: (given - y).square().mean(1) / 2}, "there is a factor of one half that the exercise does not ask for."),
        ({"clock": lambda t: 1 - t}, "the network is asked at the time that runs the other way."),
        ({"state": lambda x, e, t, *_: (1 - t) * x + t * e}, "the state is that of the straight path; use the coefficients that you are given."),
        ({"state": lambda x, e, t, a, s, *_: a * x - s * e}, "the sign of the noise in the state is flipped."),
        ({"state": lambda x, e, t, a, s, *_: x + s * e}, "the data in the state is not faded."),
        ({"state": lambda x, e, t, a, *_: a * x + e}, "the noise in the state has its full strength; its factor is missing."),
        ({"goal": lambda x, e, t, a, s, da, ds: ds * e}, "the data's part of the target is missing."),
        ({"goal": lambda x, e, t, a, s, da, ds: da * x}, "the noise's part of the target is missing."),
        ({"goal": lambda x, e, t, a, s, da, ds: da * x + e}, "the noise in the target lacks its factor."),
        ({"goal": lambda x, e, t, a, s, da, ds: x + ds * e}, "the data in the target lacks its factor."),
        ({"goal": lambda x, e, t, a, s, da, ds: da / a * (a * x + s * e)}, "this is the drift of the forward equation, not the velocity of the pair."),
        ({"loss": lambda given, y: (given**2 - y**2).mean(1)}, "the difference of the squares is taken where the square of the difference is asked for."),
    ],
)

def _data(x, u, t):
    return x - t * u

def _noise(x, u, t):
    return x + (1 - t) * u

def _flow(g, n, *shape):
    t = torch.rand(n, *(1 for _ in shape), generator=g)
    t[0] = 1.0  # no data is left here: what divides by 1 - t fails
    return torch.randn(n, *shape, generator=g), torch.randn(n, *shape, generator=g), t

g = seeded(92)
rows(
    "09-2", "Data and noise from a velocity", 2, "follow the velocity to either end; nothing is divided, so it holds at every time.", {
        "data": (_data, [
            (lambda x, u, t: x - u, "the velocity is followed for a whole unit of time; the state lies a time t from the data."),
            (lambda x, u, t: t * u - x, "the sign is flipped."),
            (lambda x, u, t: (1 - t) * x - t * u, "the state is faded; it already contains the whole of what you look for."),
            (lambda x, u, t: x - t**2 * u, "the time is squared: the line is straight."),
            (_noise, "this is the noise."),
            (lambda x, u, t: x - t, "the velocity is missing: only its time is there."),
            (lambda x, u, t: x + t * u, "the sign of u is flipped."),
            (lambda x, u, t: x - (1 - t) * u, "the distance is that to the other end."),
        ]),
        "noise": (_noise, [
            (lambda x, u, t: x + u, "the velocity is followed for a whole unit of time from the state; the state is on its way already."),
            (lambda x, u, t: u - x, "u is the noise less the data, not less the state."),
            (lambda x, u, t: _data(x, u, t) - u, "the velocity is subtracted from the data where it should be added."),
            (lambda x, u, t: t * x + (1 - t) * u, "the state is faded; follow the velocity from the state as it is."),
            (lambda x, u, t: _noise(x, u, t) / t, "nothing is to be divided: this is the noise, enlarged."),
            (lambda x, u, t: x + t * u, "the distance is that to the other end."),
            (lambda x, u, t: x + (1 - t), "the velocity is missing: only its time is there."),
            (lambda x, u, t: x - (1 - t) * u, "the sign of u is flipped."),
        ]),
    },
    [_flow(g, 4, 3), _flow(g, 3, 2, 5, 4)], [
        ({"data": _noise, "noise": _data}, "both are right, but they have changed places: the data comes first."),
        ({"data": lambda x, u, t: x + t * u, "noise": lambda x, u, t: x - (1 - t) * u}, "the sign of the velocity is flipped in both: u points from the data to the noise."),
        ({"data": _noise, "noise": lambda x, u, t: x - (1 - t) * u}, "at time t the data lies a time t back, not a time 1 - t; and check the sign of u."),
        ({"data": lambda x, u, t: x - (1 - t) * u, "noise": lambda x, u, t: x + t * u}, "the two distances have changed places: how far from the data is the state at t near 0?"),
        ({"noise": lambda x, u, t: x}, "the data is right; the second is the state again, not the noise."),
        ({"noise": lambda x, u, t: u}, "the data is right; the velocity is not the noise, it is the noise less the data."),
        ({"noise": lambda x, u, t: u - _data(x, u, t)}, "the data is right; to get the noise from u, the data must be added to it, not subtracted."),
        (_data, "this is the data alone; return data and noise, stacked."),
        (lambda x, u, t: torch.stack([_data(x, u, t), _noise(x, u, t)], 1), "the two are stacked along the second dimension; stack them along the first."),
        (_noise, "this is the noise alone; return data and noise, stacked."),
    ],
)

def _shift(t, pixels, base, *, power=0.5, move=shift_times):
    """09-3: t' = k t / (1 + (k - 1) t) with k = sqrt(pixels / base). power: for the root. move: from t and k."""
    return move(t, (pixels / base) ** power)

formula(
    "09-3", "Times for larger pictures", 2, "the ratio of noise to data grows by one factor.", _shift,
    [(torch.linspace(0.02, 0.98, 9), pixels, base) for pixels, base in ((1024, 256), (4096, 256), (100, 400), (64, 64))], [
        ({"power": 1}, "a square root is missing: the error of a mean falls with the root of the number of pixels."),
        ({"power": 2}, "the ratio of pixels is squared; the error of a mean falls with the root of their number."),
        ({"power": -0.5}, "the shift stands on its head: more pixels need more noise, a later time (or is your t at 1 for the data?)."),
        ({"power": -1}, "the shift stands on its head, and a square root is missing."),
        ({"move": lambda t, k: (k * t).clamp(max=1)}, "the ratio of noise to data is to be multiplied, not the time itself."),
        ({"move": lambda t, k: k * t}, "the ratio of noise to data is to be multiplied, not the time itself: yours leaves the range up to 1."),
        ({"move": lambda t, k: k * t / (1 - t)}, "this is the new ratio of noise to data; solve it for the time."),
        ({"move": lambda t, k: k * t / (1 + k * t)}, "in the denominator a piece is missing: at t near 1 the result must be near 1."),
        ({"move": lambda t, k: k * t / (1 + (1 - k) * t)}, "a sign in the denominator is flipped: at t near 1 the result must be near 1."),
        ({"move": lambda t, k: k * t / (1 + (k + 1) * t)}, "a sign in the denominator is flipped: without a change of size nothing may change."),
        ({"move": lambda t, k: t / (1 + (k - 1) * t)}, "the numerator lacks its factor: at t near 1 the result must be near 1."),
        ({"move": lambda t, k: t ** (1 / k)}, "this also moves times toward the noise, but it does not multiply the ratio of noise to data by one factor."),
        ({"move": lambda t, k: t}, "nothing is shifted."),
        ({"move": lambda t, k: t / k}, "the ratio of noise to data is to be multiplied, not the time divided; and more pixels need more noise."),
        ({"move": lambda t, k: t**k}, "a power of the time: this moves times toward the data, and the ratio of noise to data is to be multiplied."),
        ({"move": lambda t, k: 1 - k * (1 - t)}, "the time from the noise's end is multiplied; it is the ratio of noise to data that is."),
        ({"move": lambda t, k: 1 - shift_times(t, k)}, "the clock of the result is turned round: here the data is at t 0."),
        ({"move": lambda t, k: shift_times(1 - t, k)}, "the clock is turned round before the shift: here the data is at t 0."),
        ({"move": lambda t, k: k * t / (1 - t + t / k)}, "the factor in the denominator stands on its head."),
        ({"move": lambda t, k: k * t / (1 + (k - 1) * t) ** 2}, "the denominator is squared: that is the slope of the shift, nearly."),
        ({"move": lambda t, k: torch.sigmoid(torch.logit(t) * k)}, "the logit is multiplied; multiplying the ratio of noise to data adds to it."),
        ({"move": lambda t, k: torch.sigmoid(torch.logit(t) + k)}, "the factor itself is added to the logit; its logarithm is what multiplying the ratio adds."),
        ({"power": 0.25}, "there is a root too many."),
        ({"move": lambda t, k: t * (1 + (k - 1) * t) / k}, "numerator and denominator have changed places."),
        (lambda t, pixels, base: shift_times(t, pixels**0.5 / base), "only one of the two numbers of pixels has got its root."),
    ],
)

choice(
    "09-4", "What reflow changes", 1, "new partners, the same two crowds.", "c", {
        "a": "the ends are what reflow keeps: half of each new pair is noise, the other half is where the flow carries it, and the flow ends at the data.",
        "b": "between the ends the lines run elsewhere, so the crowd in the middle is another one: compare the middle and the right panel of Figure 9.1 half-way.",
        "d": "the path is the same two functions of time before and after; look at what is joined to what.",
    },
)

def _reflow(
    teacher, student, eps, t, n, *, sign=-1, steps=0, late=0, clock=lambda i, n: 1 - i / n, shown=lambda x, e: x, whole=False, roll=0,
    state=lambda x, e, a: (1 - a) * x + a * e, goal=lambda x, e, a: e - x, loss=lambda off: off.square().mean(1),
):
    """09-5: reflow's loss. Planted are a teacher that steps the wrong way and pairs that are torn apart.

    sign: of a step, steps: how many more there are, late: how much later than at its start the teacher is asked, clock: at
    which time, shown: what it sees, whole: whether a step has the whole length. roll: of the noise in the pairs. state, goal:
    what the student sees and is asked for, from data, noise and time. loss: from the difference.
    """
    x = eps
    for i in range(n + steps):
        time = torch.full((len(x),), clock(i + late, n)).to(x)
        x = x + sign * teacher(shown(x, eps), time) / (1 if whole else n)
    pair = x, eps.roll(roll, 0), expand(t, x)
    return loss((student(state(*pair), t) - goal(*pair)).flatten(1))

def _teacher(x, t):
    return torch.sin(x) + 0.7 * expand(t, x) * x + 0.2

def _student(x, t):
    return torch.cos(0.8 * x) - 0.3 * expand(t, x)

WAY = "the teacher moves the wrong way: times fall, so a step in time is negative."
TORN = "the pairs are torn apart: each datum must be joined to the noise from which it was made."
g = seeded(95)
formula(
    "09-5", "A reflow with two faults", 3, "the teacher arrives at data, and each datum keeps its noise.", _reflow, [
        (_teacher, _student, torch.randn(shape, generator=g), 0.05 + 0.9 * torch.rand(shape[0], generator=g), n)
        for shape, n in (((5, 2), 4), ((4, 3), 7))
    ], [
        ({"sign": 1, "roll": 1}, f"both faults are still there. One: {WAY} Two: {TORN}"),
        ({"roll": 1}, f"the teacher is mended, one fault is left: {TORN}"),
        ({"sign": 1}, f"the pairs are mended, one fault is left: {WAY}"),
        ({"sign": 1, "clock": lambda i, n: i / n}, "the teacher's times rise from the data's end, but it is given noise; only the sign of the step was wrong."),
        ({"clock": lambda i, n: i / n}, "the teacher is asked at rising times while it goes from noise to data: its clock runs against its motion."),
        ({"sign": 1, "clock": lambda i, n: i / n, "roll": 1}, f"the teacher's times rise from the data's end, but it is given noise. And {TORN}"),
        ({"late": 1}, "the teacher is asked at the end of each step; an Euler step uses the velocity at its start."),
        ({"steps": -1}, "the teacher stops one step before the data."),
        ({"whole": True}, "the teacher's steps are as long as the whole way; there are n of them."),
        ({"state": lambda x, e, a: a * x + (1 - a) * e}, "data and noise have changed places in the student's state: at t near 0 it should be near the data."),
        ({"goal": lambda x, e, a: x - e}, "the sign of the student's target is flipped: in this book the clock runs from data to noise."),
        ({"goal": lambda x, e, a: e}, "the target is the noise alone; the velocity is the difference of the two ends."),
        ({"loss": lambda off: off.square().sum(1)}, "the squared error is summed over the entries; the original takes a mean."),
        ({"roll": -1}, f"the pairs are shifted the other way, but {TORN}"),
        ({"state": lambda x, e, a: (1 - a) * x + a * e.roll(1, 0)}, "the pairs are mended in the target only; the student's state still joins a datum to its neighbour's noise."),
        ({"goal": lambda x, e, a: e.roll(1, 0) - x}, "the pairs are mended in the student's state only; the target still has the neighbour's noise."),
        ({"goal": lambda x, e, a: x}, "the target is the datum alone; the velocity is the difference of the two ends."),
        ({"state": lambda x, e, a: x}, "the student is shown the datum; it must see the state on the way."),
        ({"state": lambda x, e, a: e}, "the student is shown the noise; it must see the state on the way."),
        ({"state": lambda x, e, a: x + a * e}, "the datum in the student's state is not faded."),
        ({"state": lambda x, e, a: x + (1 - a) * e}, "the student's state is not on the line between its two ends."),
        ({"clock": lambda i, n: 1.0}, "the teacher is always asked at the noisy end; its time falls with every step."),
        ({"clock": lambda i, n: 1 - i / max(n - 1, 1)}, "the teacher's times fall too fast: n steps from 1 start at n times, and the last of them is not 0."),
        ({"shown": lambda x, e: e}, "the teacher is shown the noise at every step; it must see where the last step has led."),
        ({"steps": 1}, "the teacher takes a step too many, beyond the data."),
        ({"loss": lambda off: off.abs().mean(1)}, "this averages absolute errors; the student would learn a median instead of a mean."),
        ({"loss": lambda off: off.square().mean(1) / 2}, "there is a factor of one half that the original does not have."),
        (lambda u, v, e, t, n: _reflow(u, lambda x, t: v(x, 1 - t), e, t, n), "the student is asked at the time that runs the other way."),
        (lambda u, v, e, t, n: _reflow(u, u, e, t, n), "the teacher is trained in the place of the student."),
        (lambda u, v, e, t, n: _reflow(v, v, e, t, n), "the student makes its own pairs; the teacher should make them."),
    ],
)
