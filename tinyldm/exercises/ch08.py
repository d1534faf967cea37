"""Chapter 08: Heun's step, the exponential step, the observed order, a prediction, a broken DPM-Solver++(2M)."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..dynamics import Dynamics
from ..gaussian import GaussianMixture
from ..path import VP, Path, RectifiedFlow
from ..runtime import seeded
from ..solvers import dpmpp_2m, sample
from ..solvers.grids import grid
from .before import Exercise, grade_choice, grade_function, register
from .ch08_mistakes import EXPONENTIALS, HEUNS, ORDERS, SOLVERS

Field = Callable[[Tensor, Tensor], Tensor]


def _swirl(x: Tensor, t: Tensor) -> Tensor:
    return torch.sin(x + 3 * t) - x * t


def _bend(x: Tensor, t: Tensor) -> Tensor:
    return (1 + t) * x.flip(-1) - 0.3 * x**2 + t**2


def grade_heun(answer: Any) -> None:
    """08-1: x + h (u(x, t) + u(x + h u, s)) / 2."""
    g = seeded(1)
    cases = [
        {
            "velocity": field,
            "x": torch.randn(shape, generator=g),
            "t": torch.tensor(t),
            "s": torch.tensor(s),
        }
        for field, shape, t, s in ((_swirl, (5, 2), 0.9, 0.6), (_bend, (3, 4, 2, 3), 0.5, 0.35))
    ]

    def step(
        here: float = 0.5, there: float = 0.5, *, reach: float = 1.0, late: float = 1.0, sign: float = 1.0
    ) -> Callable[..., Tensor]:
        """Heun with dials: the two weights, how far the second look is moved and timed, the sign of the step."""

        def take(velocity: Field, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
            h = s - t
            first = velocity(x, t)
            second = velocity(x + reach * h * first, t + late * h)
            return x + sign * h * (here * first + there * second)

        return take

    grade_function(
        answer,
        step(),
        cases,
        wrong=[
            (step(1.0, 0.0), "this is Euler's step; the velocity at the other end is not used."),
            (step(0.0, 1.0), "only the velocity at the far end is used; the one at the start counts as much."),
            (step(1.0, 1.0), "the two velocities are added where their mean is asked for; a factor of one half is missing."),
            (step(0.5, 0.5, reach=0.0), "the second velocity is asked at the old state; the state must be moved before you look again."),
            (step(0.5, 0.5, late=0.0), "the second velocity is asked at the old time; it belongs to the time of arrival."),
            (step(0.0, 1.0, reach=0.5, late=0.5), "this is the midpoint method: order two as well, but another rule. Look at both ends."),
            (step(0.5, 0.5, reach=0.5, late=0.5), "the second look is taken half-way; it belongs to the end of the step."),
            (step(0.5, 0.5, reach=0.5), "the state of the second look is moved only half of the way."),
            (step(sign=-1.0, reach=-1.0), "the sign of the step is flipped: times fall when you sample, so the step is negative by itself."),
            (step(sign=-1.0), "the last line goes in the wrong direction; the look ahead is right."),
            (step(reach=-1.0), "the look ahead moves in the wrong direction; the last line is right."),
            (lambda u, x, t, s: x + (s - t) * u(x, t) + (s - t) * u(x + (s - t) * u(x, t), s) / 2, "the first velocity has its full weight: both count one half."),
            (lambda u, x, t, s: (u(x, t) + u(x + (s - t) * u(x, t), s)) / 2, "this is the mean velocity; a step along it is still to be taken."),
            (lambda u, x, t, s: (s - t) * (u(x, t) + u(x + (s - t) * u(x, t), s)) / 2, "this is the change of the state; the state itself is asked for."),
            (lambda u, x, t, s: x + (u(x, t) + u(x + u(x, t), s)) / 2, "the length of the step is missing."),
            *HEUNS,
        ],
    )  # fmt: skip


def grade_exponential(answer: Any) -> None:
    """08-2: sigma_s / sigma_t x + (alpha_s - alpha_t sigma_s / sigma_t) x0."""
    g = seeded(2)
    cases = []
    for path, shape, t, s in ((VP(), (4, 2), 0.6, 0.3), (RectifiedFlow(), (2, 3, 4, 4), 0.8, 0.55)):
        times = torch.tensor([t, s])
        (at, as_), (st, ss) = path.alpha(times), path.sigma(times)
        cases.append(
            {
                "x": torch.randn(shape, generator=g),
                "x0": torch.randn(shape, generator=g),
                "alpha_t": at,
                "sigma_t": st,
                "alpha_s": as_,
                "sigma_s": ss,
            }
        )

    def rule(x: Tensor, x0: Tensor, at: Tensor, st: Tensor, as_: Tensor, ss: Tensor) -> Tensor:
        return ss / st * x + (as_ - at * ss / st) * x0

    def log(at: Tensor, st: Tensor, as_: Tensor, ss: Tensor) -> Tensor:
        return torch.log(as_ / ss) - torch.log(at / st)

    grade_function(
        answer,
        rule,
        cases,
        wrong=[
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
            (lambda x, y, a, b, c, d: d / b * x + c * log(a, b, c, d) * y, "the exponential in the integral is taken as 1; it can be integrated exactly."),
            (lambda x, y, a, b, c, d: (d / b) ** 2 * x + (c - a * (d / b) ** 2) * y, "the noise levels are squared: variances where standard deviations are asked for."),
            (lambda x, y, a, b, c, d: d / b * x + c * (1 - (a * d / (b * c)) ** 2) * y, "this uses the full log-SNR; the clock here is half of it."),
            (lambda x, y, a, b, c, d: (c - a * d / b) * y, "the state's own term is missing."),
            (lambda x, y, a, b, c, d: c * y + d * x, "the state is put in the place of the noise; it also contains data."),
            (lambda x, y, a, b, c, d: d / b * y + (c - a * d / b) * x, "state and prediction have changed places."),
            *EXPONENTIALS,
        ],
    )  # fmt: skip


def grade_order(answer: Any) -> None:
    """08-3: log(coarse / fine) / log(ratio)."""
    cases = [
        {"coarse": torch.tensor([0.1, 0.02, 3.0]), "fine": torch.tensor([0.055, 0.0049, 0.21]), "ratio": 2.0},
        {"coarse": torch.tensor([[0.3, 0.7]]), "fine": torch.tensor([[0.02, 0.21]]), "ratio": 3.0},
        {"coarse": torch.tensor([0.5]), "fine": torch.tensor([0.3]), "ratio": 1.5},
    ]
    grade_function(
        answer,
        lambda coarse, fine, ratio: torch.log(coarse / fine) / math.log(ratio),
        cases,
        wrong=[
            (lambda a, b, r: torch.log2(a / b), "right only when the steps are doubled; the number of steps grew by `ratio`."),
            (lambda a, b, r: torch.log(a / b), "how much more work was done is not taken into account: the fall must be measured in powers of `ratio`."),
            (lambda a, b, r: torch.log10(a / b), "these are the digits gained; how much more work was done is not taken into account."),
            (lambda a, b, r: torch.log(b / a) / math.log(r), "the sign is flipped: a method whose error falls has a positive order."),
            (lambda a, b, r: a / b / r, "the exponent is asked for, not a quotient: logarithms are missing."),
            (lambda a, b, r: a / b, "this is by how much the error fell; which power of `ratio` is that?"),
            (lambda a, b, r: torch.log(a / b) / r, "the logarithm of `ratio` is asked for in the denominator, not `ratio` itself."),
            (lambda a, b, r: torch.log(a / b) / math.log10(r), "two logarithms of different bases."),
            (lambda a, b, r: torch.log10(a / b) / math.log(r), "two logarithms of different bases: one to base ten, one natural."),
            (lambda a, b, r: torch.log2(a / b) / math.log(r), "two logarithms of different bases: one to base two, one natural."),
            (lambda a, b, r: torch.log(a - b) / math.log(r), "a difference of errors is no measure of how fast they fall; take their quotient."),
            (lambda a, b, r: math.log(r) / torch.log(a / b), "the fraction of the logarithms stands on its head."),
            (lambda a, b, r: torch.log(a) / torch.log(b), "the logarithm of a quotient is a difference of logarithms, not their quotient."),
            (lambda a, b, r: torch.log(a / b) / math.log(r) - 1, "one too small: the local error has one power more than the global one, and these errors are global."),
            (lambda a, b, r: torch.log(a / b) / math.log(r) + 1, "one too large: this is the power of the local error; the order is one less."),
            (lambda a, b, r: (torch.log(a / b) / math.log(r)).mean(), "one number for all solvers: every pair of errors has an order of its own."),
            *ORDERS,
        ],
    )  # fmt: skip


def grade_evaluations(answer: Any) -> None:
    """08-4: what two orders say, and what they leave open."""
    grade_choice(
        answer,
        "c",
        {
            "a": "an order says how an error falls, not how large it is; look again at the grid with equal steps in t.",
            "b": "both pay one evaluation a step, but their errors do not fall equally fast; what does the second order say?",
            "d": "these are the powers of one step's error; a run with twice as many steps also makes that error twice as often.",
        },
    )


def _solve(
    x0_of: Field,
    path: Path,
    x: Tensor,
    ts: Tensor,
    *,
    flip: bool = False,
    sign: float = 1.0,
    share: float = 0.5,
    fade: int = 1,
    upside: bool = False,
    keep: bool = True,
    first: bool = False,
) -> Tensor:
    """DPM-Solver++(2M) with every mistake as a dial.

    flip: the ratio upside down. sign: of the data's weight. share: how far the line is followed, in steps. fade: at which end
    alpha is taken. upside: the noise levels' ratio upside down. keep: remember the prediction; else the extrapolated one.
    first: forget the past.
    """
    before = None
    for pair in pairwise(ts):
        t, s = pair
        x0, h = x0_of(x, t), path.lam(s) - path.lam(t)
        guess = x0
        if before is not None and not first:
            old, last = before
            slope = (last / h if flip else h / last) * share
            guess = x0 + slope * (x0 - old)
        scale = path.sigma(t) / path.sigma(s) if upside else path.sigma(s) / path.sigma(t)
        x = scale * x - sign * path.alpha(pair[fade]) * torch.expm1(-h) * guess
        before = (x0 if keep else guess), h
    return x


def grade_solver(answer: Any) -> None:
    """08-5: two planted bugs, the ratio of the steps upside down and the sign of expm1."""
    g = seeded(5)
    data = GaussianMixture(
        torch.tensor([0.4, 0.6]), torch.tensor([[1.0, 0.2], [-0.7, 0.5]]), stds=torch.tensor([0.3, 0.6])
    )
    cases = []
    for path, n, kind, end in ((VP(), 7, "t", -1), (VP(), 6, "karras", None), (RectifiedFlow(), 5, "t", -1)):
        predict = data.predict(path)
        cases.append(
            {
                "x0_of": lambda x, t, predict=predict: predict(x, t).x0,
                "path": path,
                "x": torch.randn(4, 2, generator=g, dtype=torch.float64),
                "ts": grid(path, n, kind)[:end],
            }
        )

    def dials(**chosen: Any) -> Any:
        return partial(_solve, **chosen)

    def truth(x0_of: Field, path: Path, x: Tensor, ts: Tensor) -> Tensor:
        return sample(Dynamics(path, data.predict(path)), x, ts, dpmpp_2m, denoise=False)

    ratio = "the line through the last two predictions has the wrong slope on uneven steps: a difference is divided by the distance over which it arose."
    weight = "the data enters with the wrong sign; think of what the exponential of a negative number, minus one, is."
    grade_function(
        answer,
        truth,
        cases,
        wrong=[
            (dials(flip=True, sign=-1), f"both faults are still there. One: {weight} Two: {ratio}"),
            (dials(flip=True), f"the sign is mended, one fault is left: {ratio}"),
            (dials(sign=-1), f"the ratio is mended, one fault is left: {weight}"),
            (dials(first=True), "the last prediction is no longer used: this is DDIM, of order one."),
            (dials(share=1.0), "the line is followed to the end of the step; this rule takes its value half-way."),
            (dials(share=-0.5), "the line is followed backwards: the weight of the newer prediction must be the one above one."),
            (dials(share=-0.5, flip=True), "the line is followed backwards, and over the wrong ratio of lengths."),
            (dials(share=1.0, flip=True), "the line is followed to the end of the step instead of half-way, and the ratio of the lengths is still upside down."),
            (dials(fade=0), "the data is faded as at the old time; it arrives at the new one."),
            (dials(upside=True), "the noise levels have changed places: noise must become less."),
            (dials(keep=False), "the extrapolated guess is remembered in the place of the prediction, so every step extrapolates from an extrapolation."),
            (lambda x0_of, path, x, ts: _solve(x0_of, path, x, ts[:-1]), "the last step is not taken: the state must reach ts[-1]."),
            (lambda x0_of, path, x, ts: _solve(x0_of, path, x, ts[:2]), "only the first step is taken; does the `return` stand inside the loop?"),
            (lambda x0_of, path, x, ts: x0_of(_solve(x0_of, path, x, ts), ts[-1]), "the loop is right, but the function should return the state at the last time, without a closing denoise."),
            (lambda x0_of, path, x, ts: x0_of(_solve(x0_of, path, x, ts[:-1]), ts[-2]), "this is the predicted data of the last step; the state at the last time is asked for."),
            *SOLVERS,
        ],
    )  # fmt: skip


for _exercise in (
    Exercise("08-1", "Heun's step", 2, grade_heun, "two looks, one mean, and an error of third order in a step."),
    Exercise(
        "08-2", "The exponential step", 2, grade_exponential, "and it is DDIM: predict both, put them together again."
    ),
    Exercise("08-3", "The observed order", 2, grade_order, "it does not depend on how many more steps you took."),
    Exercise(
        "08-4",
        "Five evaluations and eighty",
        1,
        grade_evaluations,
        "orders compare slopes; constants must be measured.",
    ),
    Exercise(
        "08-5",
        "A DPM-Solver++(2M) with two faults",
        3,
        grade_solver,
        "it follows the library's solver on even and uneven steps.",
    ),
):
    register(_exercise)
