"""Chapter 08: Heun's step, the exponential step, the observed order, a prediction, a broken DPM-Solver++(2M)."""

import math
from itertools import pairwise

import torch

from ..gaussian import GaussianMixture
from ..path import VP, RectifiedFlow
from ..runtime import seeded
from ..solvers.grids import grid
from .core import choice, draw, formula

# fmt: off

def _heun(velocity, x, t, s, *, here=0.5, there=0.5, start=1, old=1, reach=1, late=1, length=1, ahead=1, sign=1):
    """08-1: x + h (u(x, t) + u(x + h u, s)) / 2.

    here, there: the two weights. start, old: how much of the state is in the result and in the look ahead. reach, late: how
    far the look ahead is moved and timed. length, ahead: the power of the step's length in the last line and in the look
    ahead. sign: of the last line.
    """
    h = s - t
    first = velocity(x, t)
    second = velocity(old * x + reach * h**ahead * first, t + late * h)
    return start * x + sign * h**length * (here * first + there * second)

g = seeded(1)
formula(
    "08-1", "Heun's step", 2, "two looks, one mean, and an error of third order in a step.", _heun, [
        (lambda x, t: torch.sin(x + 3 * t) - x * t, torch.randn(5, 2, generator=g), torch.tensor(0.9), torch.tensor(0.6)),
        (lambda x, t: (1 + t) * x.flip(-1) - 0.3 * x**2 + t**2, torch.randn(3, 4, 2, 3, generator=g), torch.tensor(0.5), torch.tensor(0.35)),
    ], [
        ({"here": 1, "there": 0}, "this is Euler's step; the velocity at the other end is not used."),
        ({"here": 0, "there": 1}, "only the velocity at the far end is used; the one at the start counts as much."),
        ({"here": 1, "there": 1}, "the two velocities are added where their mean is asked for; a factor of one half is missing."),
        ({"reach": 0}, "the second velocity is asked at the old state; the state must be moved before you look again."),
        ({"late": 0}, "the second velocity is asked at the old time; it belongs to the time of arrival."),
        ({"here": 0, "there": 1, "reach": 0.5, "late": 0.5}, "this is the midpoint method: order two as well, but another rule. Look at both ends."),
        ({"reach": 0.5, "late": 0.5}, "the second look is taken half-way; it belongs to the end of the step."),
        ({"reach": 0.5}, "the state of the second look is moved only half of the way."),
        ({"sign": -1, "reach": -1}, "the sign of the step is flipped: times fall when you sample, so the step is negative by itself."),
        ({"sign": -1}, "the last line goes in the wrong direction; the look ahead is right."),
        ({"reach": -1}, "the look ahead moves in the wrong direction; the last line is right."),
        ({"here": 1}, "the first velocity has its full weight: both count one half."),
        ({"start": 0, "length": 0}, "this is the mean velocity; a step along it is still to be taken."),
        ({"start": 0}, "this is the change of the state; the state itself is asked for."),
        ({"length": 0, "ahead": 0}, "the length of the step is missing."),
        ({"here": 0, "there": 1, "reach": 0}, "the only velocity is that of the old state at the new time; two are needed, each at its own place."),
        ({"start": 0, "length": 0, "here": 1, "there": 0}, "this is a velocity; a step along it is still to be taken, and a second look."),
        ({"ahead": 0}, "the look ahead moves the state by the whole velocity: the length of the step is missing there."),
        ({"old": 0}, "the look ahead asks at the change of the state, not at the moved state."),
        ({"length": 0}, "the last line lacks the length of the step; the look ahead is right."),
        ({"here": -0.5}, "the difference of the velocities is taken where their mean is asked for."),
        ({"here": 1.5}, "the correction starts from the moved state; both halves start from the old one."),
        (lambda u, x, t, s: x + (s - t) * (u(x, t) * u(x + (s - t) * u(x, t), s)).abs().sqrt(), "the geometric mean is taken; the arithmetic one is asked for."),
        ({"length": 2}, "the length of the step stands there twice."),
        ({"here": 0.25, "there": 0.75}, "these weights belong to a method with another look ahead; here both count the same."),
        ({"here": 1, "there": 1, "late": 0}, "two mistakes: the second velocity is asked at the old time, and the mean lacks its half."),
    ],
)

def _exponential(x, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    """08-2: what the noise level rescales, and the integral of the rest."""
    return sigma_s / sigma_t * x + (alpha_s - alpha_t * sigma_s / sigma_t) * x0

def _ends(path, t, s):
    """(alpha_t, sigma_t, alpha_s, sigma_s)."""
    return [of(torch.tensor(time)) for time in (t, s) for of in (path.alpha, path.sigma)]

g = seeded(2)
formula(
    "08-2", "The exponential step", 2, "and it is DDIM: predict both, put them together again.", _exponential, [
        (torch.randn(4, 2, generator=g), torch.randn(4, 2, generator=g), *_ends(VP(), 0.6, 0.3)),
        (torch.randn(2, 3, 4, 4, generator=g), torch.randn(2, 3, 4, 4, generator=g), *_ends(RectifiedFlow(), 0.8, 0.55)),
    ], [
        (lambda x, y, a, b, c, d: b / d * x + (c - a * d / b) * y, "the factor of the state stands on its head: noise becomes less on the way to the data."),
        (lambda x, y, a, b, c, d: d / b * x - (c - a * d / b) * y, "the sign of the data's term is flipped; the integral of a positive function is positive."),
        (lambda x, y, a, b, c, d: d / b * x + (c + a * d / b) * y, "a sign inside the bracket is flipped: an integral is the upper end minus the lower one."),
        (lambda x, y, a, b, c, d: d / b * x + c * y, "the lower end of the integral is missing: the data that the state already contains is counted twice."),
        (lambda x, y, a, b, c, d: x + (c - a * d / b) * y, "the state keeps its noise: it has not been rescaled from the old noise level to the new one."),
        (lambda x, y, a, b, c, d: c / a * x + (c - a * d / b) * y, "the state is rescaled by the factors of the data; what is divided out of it here is the noise level."),
        (lambda x, y, a, b, c, d: d / b * x + (a - c * d / b) * y, "the two times have changed places inside the bracket."),
        (lambda x, y, a, b, c, d: b / d * x + (a - c * b / d) * y, "this is the step from s to t, in the wrong direction."),
        (lambda x, y, a, b, c, d: d / b * x + a * (1 - a * d / (b * c)) * y, "the factor in front of the integral belongs to the time of arrival, not of departure."),
        (lambda x, y, a, b, c, d: d / b * x + (c - a) * y, "the lower end of the integral is not rescaled to the new noise level."),
        (lambda x, y, a, b, c, d: d / b * x + (c / d - a / b) * y, "the integral itself is right; it is still to be multiplied back by the noise level of the arrival."),
        (lambda x, y, a, b, c, d: x / b + (c / d - a / b) * y, "this is the state divided by its noise level; multiply back."),
        (lambda x, y, a, b, c, d: d / b * x + c * torch.log(c / d / (a / b)) * y, "the exponential in the integral is taken as 1; it can be integrated exactly."),
        (lambda x, y, a, b, c, d: (d / b) ** 2 * x + (c - a * (d / b) ** 2) * y, "the noise levels are squared: variances where standard deviations are asked for."),
        (lambda x, y, a, b, c, d: d / b * x + c * (1 - (a * d / (b * c)) ** 2) * y, "this uses the full log-SNR; the clock here is half of it."),
        (lambda x, y, a, b, c, d: (c - a * d / b) * y, "the state's own term is missing."),
        (lambda x, y, a, b, c, d: c * y + d * x, "the state is put in the place of the noise; it also contains data."),
        (lambda x, y, a, b, c, d: d / b * y + (c - a * d / b) * x, "state and prediction have changed places."),
        (lambda x, y, a, b, c, d: x + (c - a) * y, "the noise stays as it was: neither the state nor the lower end of the integral is rescaled."),
        (lambda x, y, a, b, c, d: c * y + d * (x - y) / b, "the noise that is in the state: the data in it is faded, and alpha is missing there."),
        (lambda x, y, a, b, c, d: a * y + d * (x - a * y) / b, "the data is faded as at the old time; it arrives at the new one."),
        (lambda x, y, a, b, c, d: c * y + d * (x - c * y) / b, "the data in the old state is faded as at the old time; here the new alpha stands there."),
        (lambda x, y, a, b, c, d: c * y + d * (x - a * y), "the noise is multiplied by the new level, but the old one is not divided out."),
        (lambda x, y, a, b, c, d: y, "this is the prediction itself: right only where no noise is left at the end."),
        (lambda x, y, a, b, c, d: d / b * x, "the data's term is missing; only the homogeneous part is there."),
        (lambda x, y, a, b, c, d: c / a * x + (d - b * c / a) * y, "data and noise have changed places: this step holds the noise's prediction."),
        (lambda x, y, a, b, c, d: d / b * x + c / d / (a / b) * y, "logarithms of the ends are subtracted; it is the exponentials themselves that the integral leaves."),
        (lambda x, y, a, b, c, d: d / b * x + (c - a * b / d) * y, "the rescaling of the lower end stands on its head."),
        (lambda x, y, a, b, c, d: d / b * x + c * (c * b / (a * d) - 1) * y, "the exponent in the integral has the wrong sign: it falls from 1 at the end of the step."),
        (lambda x, y, a, b, c, d: d / b * x + d * (c - a) * y, "the integral is not that of alpha: the ends are to be divided by their noise levels first."),
    ],
)

def _order(coarse, fine, ratio):
    """08-3: the fall of the error in powers of the work."""
    return torch.log(coarse / fine) / math.log(ratio)

formula(
    "08-3", "The observed order", 2, "it does not depend on how many more steps you took.", _order, [
        (torch.tensor([0.1, 0.02, 3.0]), torch.tensor([0.055, 0.0049, 0.21]), 2.0),
        (torch.tensor([[0.3, 0.7]]), torch.tensor([[0.02, 0.21]]), 3.0),
        (torch.tensor([0.5]), torch.tensor([0.3]), 1.5),
    ], [
        (lambda a, b, r: torch.log2(a / b), "right only when the steps are doubled; the number of steps grew by `ratio`."),
        (lambda a, b, r: torch.log(a / b), "how much more work was done is not taken into account: the fall must be measured in powers of `ratio`."),
        (lambda a, b, r: torch.log10(a / b), "these are the digits gained; how much more work was done is not taken into account."),
        (lambda a, b, r: -_order(a, b, r), "the sign is flipped: a method whose error falls has a positive order."),
        (lambda a, b, r: a / b / r, "the exponent is asked for, not a quotient: logarithms are missing."),
        (lambda a, b, r: a / b, "this is by how much the error fell; which power of `ratio` is that?"),
        (lambda a, b, r: torch.log(a / b) / r, "the logarithm of `ratio` is asked for in the denominator, not `ratio` itself."),
        (lambda a, b, r: torch.log(a / b) / math.log10(r), "two logarithms of different bases."),
        (lambda a, b, r: torch.log10(a / b) / math.log(r), "two logarithms of different bases: one to base ten, one natural."),
        (lambda a, b, r: torch.log2(a / b) / math.log(r), "two logarithms of different bases: one to base two, one natural."),
        (lambda a, b, r: torch.log(a - b) / math.log(r), "a difference of errors is no measure of how fast they fall; take their quotient."),
        (lambda a, b, r: 1 / _order(a, b, r), "the fraction of the logarithms stands on its head."),
        (lambda a, b, r: torch.log(a) / torch.log(b), "the logarithm of a quotient is a difference of logarithms, not their quotient."),
        (lambda a, b, r: _order(a, b, r) - 1, "one too small: the local error has one power more than the global one, and these errors are global."),
        (lambda a, b, r: _order(a, b, r) + 1, "one too large: this is the power of the local error; the order is one less."),
        (lambda a, b, r: _order(a, b, r).mean(), "one number for all solvers: every pair of errors has an order of its own."),
        (lambda a, b, r: torch.log(a / b) * math.log(r), "the two logarithms are multiplied; the exponent is their quotient."),
        (lambda a, b, r: (a - b) / r, "a difference of errors is no measure of how fast they fall; take their quotient, and logarithms."),
        (lambda a, b, r: torch.log(a / b / r), "the logarithm of the work is subtracted; it should divide."),
        (lambda a, b, r: _order(a, b, r).round(), "the observed order is a number of its own; do not round it to the nominal one."),
        (lambda a, b, r: (a / b) ** (1 / r), "a root instead of a logarithm: the exponent is asked for."),
        (lambda a, b, r: torch.log1p(a / b) / math.log(r), "1 is added under the logarithm; equal errors must give the order 0."),
        (lambda a, b, r: torch.log2(a / b) / r, "the logarithm of `ratio` is asked for in the denominator, to the same base."),
        (lambda a, b, r: r * b / a, "the exponent is asked for, not a quotient; and it stands on its head."),
        (lambda a, b, r: torch.log(b) / math.log(r), "only the finer error is used: the fall from one to the other is asked for."),
        (lambda a, b, r: torch.log(a / b) / math.log(r) ** 2, "the logarithm of the work divides twice."),
        (lambda a, b, r: _order(a.mean(), b.mean(), r), "the errors are averaged first: every pair has an order of its own."),
    ],
)

choice(
    "08-4", "Five evaluations and eighty", 1, "orders compare slopes; constants must be measured.", "c", {
        "a": "an order says how an error falls, not how large it is; look again at the grid with equal steps in t.",
        "b": "both pay one evaluation a step, but their errors do not fall equally fast; what does the second order say?",
        "d": "these are the powers of one step's error; a run with twice as many steps also makes that error twice as often.",
    },
)

def _solve(
    x0_of, path, x, ts, *, stop=None, late=False, keep=True, first=False, power=1, share=0.5, new=1, past=1, sign=1,
    weight=lambda h: -torch.expm1(-h), length=lambda p, t, s: p.lam(s) - p.lam(t),
    scale=lambda p, t, s: p.sigma(s) / p.sigma(t), fade=lambda p, t, s: p.alpha(s),
):
    """08-5: DPM-Solver++(2M). Planted are the ratio of the steps upside down (power) and the sign of the data.

    stop: where the times are cut. late: ask at the end of the step. keep: remember the prediction, else the extrapolated one.
    first: forget the past. power: of the ratio of the steps. share: how far the line is followed, in steps. new, past: what
    that adds to the weights of the two predictions. sign, weight: of the data. length: of a step. scale, fade: the factors of
    the state and of the data.
    """
    before = None
    for t, s in pairwise(ts[:stop]):
        x0, h = x0_of(x, s if late else t), length(path, t, s)
        guess = x0
        if before is not None and not first:
            old, last = before
            ahead = share / (last / h) ** power
            guess = (1 + new * ahead) * x0 - past * ahead * old
        x = scale(path, t, s) * x + sign * fade(path, t, s) * weight(h) * guess
        before = (x0 if keep else guess), h
    return x

RATIO = "the line through the last two predictions has the wrong slope on uneven steps: a difference is divided by the distance over which it arose."
WEIGHT = "the data enters with the wrong sign; think of what the exponential of a negative number, minus one, is."
DATA = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[1.0, 0.2], [-0.7, 0.5]]), stds=torch.tensor([0.3, 0.6]))

def _asked(path):
    """The data that is predicted from a state."""
    predict = DATA.predict(path)
    return lambda x, t: predict(x, t).x0

g = seeded(5)
formula(
    "08-5", "A DPM-Solver++(2M) with two faults", 3, "it follows the library's solver on even and uneven steps.", _solve, [
        (_asked(path), path, draw(g, 4, 2), grid(path, n, kind)[:end])
        for path, n, kind, end in ((VP(), 7, "t", -1), (VP(), 6, "karras", None), (RectifiedFlow(), 5, "t", -1))
    ], [
        ({"power": -1, "sign": -1}, f"both faults are still there. One: {WEIGHT} Two: {RATIO}"),
        ({"power": -1}, f"the sign is mended, one fault is left: {RATIO}"),
        ({"sign": -1}, f"the ratio is mended, one fault is left: {WEIGHT}"),
        ({"first": True}, "the last prediction is no longer used: this is DDIM, of order one."),
        ({"share": 1}, "the line is followed to the end of the step; this rule takes its value half-way."),
        ({"share": -0.5}, "the line is followed backwards: the weight of the newer prediction must be the one above one."),
        ({"share": -0.5, "power": -1}, "the line is followed backwards, and over the wrong ratio of lengths."),
        ({"share": 1, "power": -1}, "the line is followed to the end of the step instead of half-way, and the ratio of the lengths is still upside down."),
        ({"fade": lambda p, t, s: p.alpha(t)}, "the data is faded as at the old time; it arrives at the new one."),
        ({"scale": lambda p, t, s: p.sigma(t) / p.sigma(s)}, "the noise levels have changed places: noise must become less."),
        ({"keep": False}, "the extrapolated guess is remembered in the place of the prediction, so every step extrapolates from an extrapolation."),
        ({"stop": -1}, "the last step is not taken: the state must reach ts[-1]."),
        ({"stop": 2}, "only the first step is taken; does the `return` stand inside the loop?"),
        (lambda x0_of, path, x, ts: x0_of(_solve(x0_of, path, x, ts), ts[-1]), "the loop is right, but the function should return the state at the last time, without a closing denoise."),
        (lambda x0_of, path, x, ts: x0_of(_solve(x0_of, path, x, ts[:-1]), ts[-2]), "this is the predicted data of the last step; the state at the last time is asked for."),
        ({"weight": torch.expm1}, "the exponent of the data's weight has the wrong sign: the weight must stay below 1 however long the step is."),
        ({"weight": lambda h: -torch.expm1(h)}, "the length of a step in lambda has the wrong sign, or the exponent and the data's weight have: lambda rises on the way to the data."),
        ({"weight": lambda h: h}, "the exponential in the data's weight is taken to first order; a step is not that short."),
        ({"weight": lambda h: -torch.exp(-h)}, "the data's weight is an exponential less 1; the 1 is missing."),
        ({"past": -1}, "the two weights of the predictions must add up to 1: a sign before the older one is flipped."),
        ({"new": -1}, "the two weights of the predictions must add up to 1: a sign in that of the newer one is flipped."),
        ({"past": 2 / 3}, "the two weights of the predictions must add up to 1."),
        ({"power": 0}, "this is right on equal steps only: the ratio of their lengths is not used."),
        ({"length": lambda p, t, s: p.log_snr(s) - p.log_snr(t)}, "this uses the full log-SNR; the clock here is half of it."),
        ({"length": lambda p, t, s: s - t}, "the steps are measured in t; the clock of this method is lambda."),
        ({"scale": lambda p, t, s: 1}, "the state keeps its noise: it has not been rescaled from the old noise level to the new one."),
        ({"scale": lambda p, t, s: p.alpha(s) / p.alpha(t)}, "the state is rescaled by the factors of the data; it is the noise levels that rescale it."),
        ({"fade": lambda p, t, s: p.sigma(s)}, "the data is multiplied by the noise level; it belongs to alpha."),
        ({"late": True}, "the prediction is asked at the time at which the step ends; the state belongs to the other end."),
    ],
)
