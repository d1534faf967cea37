"""Chapter 09: further mistakes of its exercises, each with the sentence that it deserves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..broadcast import expand
from ..losses.times import shift_times
from .before import Wrong


def _cfm(state: Any = None, goal: Any = None, error: Any = None, clock: Any = None) -> Callable[..., Tensor]:
    """The loss with another state or goal (x0, eps, t, a, s, da, ds), error (given, y) or time (t)."""

    def loss(u: Any, x0: Tensor, eps: Tensor, t: Tensor, *coefficients: Tensor) -> Tensor:
        a, s, da, ds = (expand(c, x0) for c in coefficients)
        x = state(x0, eps, expand(t, x0), a, s, da, ds) if state else a * x0 + s * eps
        y = goal(x0, eps, expand(t, x0), a, s, da, ds) if goal else da * x0 + ds * eps
        given = u(x, clock(t) if clock else t)
        return (error(given, y) if error else (given - y) ** 2).flatten(1).mean(1)

    return loss


LOSSES: Wrong = [
    (_cfm(clock=lambda t: 1 - t), "the network is asked at the time that runs the other way."),
    (_cfm(state=lambda x, e, t, a, s, da, ds: (1 - t) * x + t * e), "the state is that of the straight path; use the coefficients that you are given."),
    (_cfm(state=lambda x, e, t, a, s, da, ds: a * x - s * e), "the sign of the noise in the state is flipped."),
    (_cfm(state=lambda x, e, t, a, s, da, ds: x + s * e), "the data in the state is not faded."),
    (_cfm(state=lambda x, e, t, a, s, da, ds: a * x + e), "the noise in the state has its full strength; its factor is missing."),
    (_cfm(goal=lambda x, e, t, a, s, da, ds: ds * e), "the data's part of the target is missing."),
    (_cfm(goal=lambda x, e, t, a, s, da, ds: da * x), "the noise's part of the target is missing."),
    (_cfm(goal=lambda x, e, t, a, s, da, ds: da * x + e), "the noise in the target lacks its factor."),
    (_cfm(goal=lambda x, e, t, a, s, da, ds: x + ds * e), "the data in the target lacks its factor."),
    (_cfm(goal=lambda x, e, t, a, s, da, ds: da / a * (a * x + s * e)), "this is the drift of the forward equation, not the velocity of the pair."),
    (_cfm(error=lambda u, y: u**2 - y**2), "the difference of the squares is taken where the square of the difference is asked for."),
]  # fmt: skip
# (x, u, t)
DATA: Wrong = [
    (lambda x, u, t: x - u, "the velocity is followed for a whole unit of time; the state lies a time t from the data."),
    (lambda x, u, t: t * u - x, "the sign is flipped."),
    (lambda x, u, t: (1 - t) * x - t * u, "the state is faded; it already contains the whole of what you look for."),
    (lambda x, u, t: x - t**2 * u, "the time is squared: the line is straight."),
    (lambda x, u, t: x + (1 - t) * u, "this is the noise."),
    (lambda x, u, t: x - t, "the velocity is missing: only its time is there."),
    (lambda x, u, t: x + t * u, "the sign of u is flipped."),
    (lambda x, u, t: x - (1 - t) * u, "the distance is that to the other end."),
]  # fmt: skip
NOISE: Wrong = [
    (lambda x, u, t: x + u, "the velocity is followed for a whole unit of time from the state; the state is on its way already."),
    (lambda x, u, t: u - x, "u is the noise less the data, not less the state."),
    (lambda x, u, t: x - t * u - u, "the velocity is subtracted from the data where it should be added."),
    (lambda x, u, t: t * x + (1 - t) * u, "the state is faded; follow the velocity from the state as it is."),
    (lambda x, u, t: (x + (1 - t) * u) / t, "nothing is to be divided: this is the noise, enlarged."),
    (lambda x, u, t: x + t * u, "the distance is that to the other end."),
    (lambda x, u, t: x + (1 - t), "the velocity is missing: only its time is there."),
    (lambda x, u, t: x - (1 - t) * u, "the sign of u is flipped."),
]  # fmt: skip
BOTH: Wrong = [
    (lambda x, u, t: torch.stack([x - t * u, x + (1 - t) * u], 1), "the two are stacked along the second dimension; stack them along the first."),
    (lambda x, u, t: x + (1 - t) * u, "this is the noise alone; return data and noise, stacked."),
]  # fmt: skip


def _k(pixels: float, base: float) -> float:
    return (pixels / base) ** 0.5


# (t, pixels, base)
SHIFTS: Wrong = [
    (lambda t, p, b: t, "nothing is shifted."),
    (lambda t, p, b: t / _k(p, b), "the ratio of noise to data is to be multiplied, not the time divided; and more pixels need more noise."),
    (lambda t, p, b: t ** _k(p, b), "a power of the time: this moves times toward the data, and the ratio of noise to data is to be multiplied."),
    (lambda t, p, b: 1 - _k(p, b) * (1 - t), "the time from the noise's end is multiplied; it is the ratio of noise to data that is."),
    (lambda t, p, b: 1 - shift_times(t, _k(p, b)), "the clock of the result is turned round: here the data is at t 0."),
    (lambda t, p, b: shift_times(1 - t, _k(p, b)), "the clock is turned round before the shift: here the data is at t 0."),
    (lambda t, p, b: _k(p, b) * t / (1 - t + t / _k(p, b)), "the factor in the denominator stands on its head."),
    (lambda t, p, b: _k(p, b) * t / (1 + (_k(p, b) - 1) * t) ** 2, "the denominator is squared: that is the slope of the shift, nearly."),
    (lambda t, p, b: torch.sigmoid(torch.logit(t) * _k(p, b)), "the logit is multiplied; multiplying the ratio of noise to data adds to it."),
    (lambda t, p, b: torch.sigmoid(torch.logit(t) + _k(p, b)), "the factor itself is added to the logit; its logarithm is what multiplying the ratio adds."),
    (lambda t, p, b: shift_times(t, _k(p, b) ** 0.5), "there is a root too many."),
    (lambda t, p, b: t * (1 + (_k(p, b) - 1) * t) / _k(p, b), "numerator and denominator have changed places."),
    (lambda t, p, b: shift_times(t, p**0.5 / b), "only one of the two numbers of pixels has got its root."),
]  # fmt: skip


def _reflow(
    state: Any = None, goal: Any = None, clock: Any = None, shown: Any = None, error: Any = None, ends: int = 0
) -> Callable[..., Tensor]:
    """Reflow's loss. state, goal: (x, eps, a); clock: (i, n); shown: what the teacher sees (x, eps); ends: further steps."""

    def loss(teacher: Any, student: Any, eps: Tensor, t: Tensor, n: int) -> Tensor:
        x = eps
        for i in range(n + ends):
            time = clock(i, n) if clock else 1 - i / n
            x = x - teacher(shown(x, eps) if shown else x, torch.full((len(x),), float(time)).to(x)) / n
        a = expand(t, x)
        at = state(x, eps, a) if state else (1 - a) * x + a * eps
        off = student(at, t) - (goal(x, eps, a) if goal else eps - x)
        return (error(off) if error else off**2).flatten(1).mean(1)

    return loss


REFLOWS: Wrong = [
    (_reflow(state=lambda x, e, a: (1 - a) * x + a * e.roll(1, 0)), "the pairs are mended in the target only; the student's state still joins a datum to its neighbour's noise."),
    (_reflow(goal=lambda x, e, a: e.roll(1, 0) - x), "the pairs are mended in the student's state only; the target still has the neighbour's noise."),
    (_reflow(goal=lambda x, e, a: x), "the target is the datum alone; the velocity is the difference of the two ends."),
    (_reflow(state=lambda x, e, a: x), "the student is shown the datum; it must see the state on the way."),
    (_reflow(state=lambda x, e, a: e), "the student is shown the noise; it must see the state on the way."),
    (_reflow(state=lambda x, e, a: x + a * e), "the datum in the student's state is not faded."),
    (_reflow(state=lambda x, e, a: x + (1 - a) * e), "the student's state is not on the line between its two ends."),
    (_reflow(clock=lambda i, n: 1.0), "the teacher is always asked at the noisy end; its time falls with every step."),
    (_reflow(clock=lambda i, n: 1 - i / max(n - 1, 1)), "the teacher's times fall too fast: n steps from 1 start at n times, and the last of them is not 0."),
    (_reflow(shown=lambda x, e: e), "the teacher is shown the noise at every step; it must see where the last step has led."),
    (_reflow(ends=1), "the teacher takes a step too many, beyond the data."),
    (_reflow(error=torch.abs), "this averages absolute errors; the student would learn a median instead of a mean."),
    (_reflow(error=lambda off: off**2 / 2), "there is a factor of one half that the original does not have."),
    (lambda u, v, e, t, n: _reflow()(u, lambda x, t: v(x, 1 - t), e, t, n), "the student is asked at the time that runs the other way."),
    (lambda u, v, e, t, n: _reflow()(u, u, e, t, n), "the teacher is trained in the place of the student."),
    (lambda u, v, e, t, n: _reflow()(v, v, e, t, n), "the student makes its own pairs; the teacher should make them."),
]  # fmt: skip
