"""Chapter 09: the flow-matching loss, three readings of a velocity, the shift, reflow's meaning, a broken reflow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..broadcast import expand
from ..losses.times import shift_times
from ..runtime import seeded
from .before import Exercise, Rows, grade_choice, grade_function, grade_rows, register
from .ch09_mistakes import BOTH, DATA, LOSSES, NOISE, REFLOWS, SHIFTS


def _network(x: Tensor, t: Tensor) -> Tensor:
    """Something smooth that depends on both arguments."""
    return torch.sin(1.3 * x) + 0.5 * expand(t, x) * x


def _cfm_cases() -> list[dict[str, Any]]:
    """Random paths, so that no relation between the coefficients can be taken for granted."""
    g = seeded(91)
    cases = []
    for shape in [(5, 2), (3, 4, 6, 5)]:
        n = shape[0]
        cases.append(
            {
                "velocity": _network,
                "x0": torch.randn(shape, generator=g),
                "eps": torch.randn(shape, generator=g),
                "t": torch.rand(n, generator=g),
                "alpha": 0.3 + 0.6 * torch.rand(n, generator=g),
                "sigma": 0.2 + 0.7 * torch.rand(n, generator=g),
                "d_alpha": -0.5 - torch.rand(n, generator=g),
                "d_sigma": 0.4 + torch.rand(n, generator=g),
            }
        )
    return cases


def _cfm(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    d_alpha: Tensor,
    d_sigma: Tensor,
    *,
    state: str = "noisy",
    goal: str = "velocity",
    sign: int = 1,
    reduce: str = "mean",
) -> Tensor:
    """The loss with every mistake as a dial."""
    a, s, da, ds = (expand(c, x0) for c in (alpha, sigma, d_alpha, d_sigma))
    noisy = a * x0 + s * eps
    x = {"noisy": noisy, "data": x0, "noise": eps, "swapped": s * x0 + a * eps}[state]
    y = {
        "velocity": da * x0 + ds * eps,
        "straight": eps - x0,
        "lipman": x0 - eps,
        "noise": eps,
        "data": x0,
        "swapped": ds * x0 + da * eps,
        "v": a * eps - s * x0,
        "minus": ds * eps - da * x0,
        "state": noisy,
    }[goal]
    error = velocity(x, t) - sign * y
    flat = error.flatten(1)
    return {
        "mean": (flat**2).mean(1),
        "sum": (flat**2).sum(1),
        "norm": (flat**2).mean(1).sqrt(),
        "absolute": flat.abs().mean(1),
        "batch": (flat**2).mean(),
        "half": (flat**2).mean(1) / 2,
    }[reduce]


def grade_cfm(answer: Any) -> None:
    """09-1: mean over entries of |F(alpha x0 + sigma eps, t) - (alpha' x0 + sigma' eps)|^2."""

    def dials(**chosen: Any) -> Any:
        return partial(_cfm, **chosen)

    grade_function(
        answer,
        _cfm,
        _cfm_cases(),
        wrong=[
            (dials(goal="straight"), "this target belongs to the straight path only; differentiate the state on the path that you are given."),
            (dials(goal="lipman"), "this target belongs to the straight path with the clock that runs from noise to data; differentiate the state that you are given."),
            (dials(goal="noise"), "the target is the noise: this trains a noise prediction, not a velocity."),
            (dials(goal="data"), "the target is the clean data: this trains a data prediction, not a velocity."),
            (dials(goal="v"), "this target is v, the velocity when the angle is the clock; here the clock is t."),
            (dials(goal="swapped"), "the two derivatives have changed places: which of them belongs to the data?"),
            (dials(goal="minus"), "a sign too many: the derivative of alpha is negative already."),
            (dials(goal="state"), "the network is asked for the noisy state itself; a velocity is made of the derivatives."),
            (dials(sign=-1), "the sign of the target is flipped: time runs from data to noise here."),
            (dials(state="data"), "the network is shown the clean data; it must see the noisy state."),
            (dials(state="noise"), "the network is shown the pure noise; it must see the noisy state."),
            (dials(state="swapped"), "alpha and sigma have changed places in the state."),
            (dials(reduce="sum"), "the squared error is summed over the entries; a mean is asked for."),
            (dials(reduce="norm"), "there is a square root too many: the mean of the squares is asked for."),
            (dials(reduce="absolute"), "this averages absolute errors; the network would learn a median instead of a mean."),
            (dials(reduce="batch"), "one number for the whole batch: every sample has a loss of its own."),
            (dials(reduce="half"), "there is a factor of one half that the exercise does not ask for."),
            *LOSSES,
        ],
    )  # fmt: skip


def grade_readings(answer: Any) -> None:
    """09-2: x0_hat = x - t u and eps_hat = x + (1 - t) u on the straight path, stacked."""
    g = seeded(92)
    cases = []
    for shape in [(4, 3), (3, 2, 5, 4)]:
        t = torch.rand(shape[0], *(1,) * (len(shape) - 1), generator=g)
        t[0] = 1.0  # no data is left here: what divides by 1 - t fails
        cases.append({"x": torch.randn(shape, generator=g), "u": torch.randn(shape, generator=g), "t": t})

    def stack(x0: Tensor, eps: Tensor) -> Tensor:
        return torch.stack([x0, eps])

    rows: Rows = {"data": (lambda x, u, t: x - t * u, DATA), "noise": (lambda x, u, t: x + (1 - t) * u, NOISE)}
    grade_rows(
        answer,
        rows,
        cases,
        wrong=[
            (lambda x, u, t: stack(x + (1 - t) * u, x - t * u), "both are right, but they have changed places: the data comes first."),
            (lambda x, u, t: stack(x + t * u, x - (1 - t) * u), "the sign of the velocity is flipped in both: u points from the data to the noise."),
            (lambda x, u, t: stack(x + (1 - t) * u, x - (1 - t) * u), "at time t the data lies a time t back, not a time 1 - t; and check the sign of u."),
            (lambda x, u, t: stack(x - (1 - t) * u, x + t * u), "the two distances have changed places: how far from the data is the state at t near 0?"),
            (lambda x, u, t: stack(x - t * u, x - t * u + t * u), "the data is right; the second is the state again, not the noise."),
            (lambda x, u, t: stack(x - t * u, u), "the data is right; the velocity is not the noise, it is the noise less the data."),
            (lambda x, u, t: stack(x - t * u, u - (x - t * u)), "the data is right; to get the noise from u, the data must be added to it, not subtracted."),
            (lambda x, u, t: x - t * u, "this is the data alone; return data and noise, stacked."),
            *BOTH,
        ],
    )  # fmt: skip


def grade_shift(answer: Any) -> None:
    """09-3: t' = k t / (1 + (k - 1) t) with k = sqrt(pixels / base)."""
    t = torch.linspace(0.02, 0.98, 9)
    cases = [{"t": t, "pixels": p, "base": b} for p, b in ((1024, 256), (4096, 256), (100, 400), (64, 64))]

    def ratio(pixels: float, base: float) -> float:
        return (pixels / base) ** 0.5

    grade_function(
        answer,
        lambda t, pixels, base: shift_times(t, ratio(pixels, base)),
        cases,
        wrong=[
            (lambda t, p, b: shift_times(t, p / b), "a square root is missing: the error of a mean falls with the root of the number of pixels."),
            (lambda t, p, b: shift_times(t, (p / b) ** 2), "the ratio of pixels is squared; the error of a mean falls with the root of their number."),
            (lambda t, p, b: shift_times(t, ratio(b, p)), "the shift stands on its head: more pixels need more noise, a later time (or is your t at 1 for the data?)."),
            (lambda t, p, b: shift_times(t, b / p), "the shift stands on its head, and a square root is missing."),
            (lambda t, p, b: (ratio(p, b) * t).clamp(max=1), "the ratio of noise to data is to be multiplied, not the time itself."),
            (lambda t, p, b: ratio(p, b) * t, "the ratio of noise to data is to be multiplied, not the time itself: yours leaves the range up to 1."),
            (lambda t, p, b: ratio(p, b) * t / (1 - t), "this is the new ratio of noise to data; solve it for the time."),
            (lambda t, p, b: ratio(p, b) * t / (1 + ratio(p, b) * t), "in the denominator a piece is missing: at t near 1 the result must be near 1."),
            (lambda t, p, b: ratio(p, b) * t / (1 + (1 - ratio(p, b)) * t), "a sign in the denominator is flipped: at t near 1 the result must be near 1."),
            (lambda t, p, b: ratio(p, b) * t / (1 + (ratio(p, b) + 1) * t), "a sign in the denominator is flipped: without a change of size nothing may change."),
            (lambda t, p, b: t / (1 + (ratio(p, b) - 1) * t), "the numerator lacks its factor: at t near 1 the result must be near 1."),
            (lambda t, p, b: t ** (1 / ratio(p, b)), "this also moves times toward the noise, but it does not multiply the ratio of noise to data by one factor."),
            *SHIFTS,
        ],
    )  # fmt: skip


def grade_reflow_meaning(answer: Any) -> None:
    """09-4: what reflow keeps and what it changes."""
    grade_choice(
        answer,
        "c",
        {
            "a": "the ends are what reflow keeps: half of each new pair is noise, the other half is where the flow carries it, and the flow ends at the data.",
            "b": "between the ends the lines run elsewhere, so the crowd in the middle is another one: compare the middle and the right panel of Figure 9.1 half-way.",
            "d": "the path is the same two functions of time before and after; look at what is joined to what.",
        },
    )


def _teacher(x: Tensor, t: Tensor) -> Tensor:
    return torch.sin(x) + 0.7 * expand(t, x) * x + 0.2


def _student(x: Tensor, t: Tensor) -> Tensor:
    return torch.cos(0.8 * x) - 0.3 * expand(t, x)


def _reflow(
    teacher: Callable[[Tensor, Tensor], Tensor],
    student: Callable[[Tensor, Tensor], Tensor],
    eps: Tensor,
    t: Tensor,
    n: int,
    *,
    sign: int = -1,
    rising: bool = False,
    late: int = 0,
    steps: int = 0,
    roll: int = 0,
    end: str = "noise",
    flip: int = 1,
    mixed: bool = False,
    reduce: str = "mean",
    whole: bool = False,
) -> Tensor:
    """Reflow's loss with every mistake as a dial."""
    x = eps
    for i in range(n + steps):
        share = (i + late) / n
        time = torch.full((len(x),), share if rising else 1 - share).to(x)
        x = x + sign * teacher(x, time) / (1 if whole else n)
    first = eps.roll(roll, 0)
    a = expand(t, x)
    state = a * x + (1 - a) * first if mixed else (1 - a) * x + a * first
    y = flip * (first - x) if end == "noise" else first
    error = ((student(state, t) - y) ** 2).flatten(1)
    return error.mean(1) if reduce == "mean" else error.sum(1)


def grade_reflow(answer: Any) -> None:
    """09-5: two planted bugs, a teacher that steps the wrong way and pairs that are torn apart."""
    g = seeded(95)
    cases = [
        {
            "teacher": _teacher,
            "student": _student,
            "eps": torch.randn(shape, generator=g),
            "t": 0.05 + 0.9 * torch.rand(shape[0], generator=g),
            "n": n,
        }
        for shape, n in (((5, 2), 4), ((4, 3), 7))
    ]

    def dials(**chosen: Any) -> Any:
        return partial(_reflow, **chosen)

    way = "the teacher moves the wrong way: times fall, so a step in time is negative."
    torn = "the pairs are torn apart: each datum must be joined to the noise from which it was made."
    grade_function(
        answer,
        _reflow,
        cases,
        wrong=[
            (dials(sign=1, roll=1), f"both faults are still there. One: {way} Two: {torn}"),
            (dials(roll=1), f"the teacher is mended, one fault is left: {torn}"),
            (dials(sign=1), f"the pairs are mended, one fault is left: {way}"),
            (dials(sign=1, rising=True), "the teacher's times rise from the data's end, but it is given noise; only the sign of the step was wrong."),
            (dials(rising=True), "the teacher is asked at rising times while it goes from noise to data: its clock runs against its motion."),
            (dials(sign=1, rising=True, roll=1), f"the teacher's times rise from the data's end, but it is given noise. And {torn}"),
            (dials(late=1), "the teacher is asked at the end of each step; an Euler step uses the velocity at its start."),
            (dials(steps=-1), "the teacher stops one step before the data."),
            (dials(whole=True), "the teacher's steps are as long as the whole way; there are n of them."),
            (dials(mixed=True), "data and noise have changed places in the student's state: at t near 0 it should be near the data."),
            (dials(flip=-1), "the sign of the student's target is flipped: in this book the clock runs from data to noise."),
            (dials(end="only"), "the target is the noise alone; the velocity is the difference of the two ends."),
            (dials(reduce="sum"), "the squared error is summed over the entries; the original takes a mean."),
            (dials(roll=-1), f"the pairs are shifted the other way, but {torn}"),
            *REFLOWS,
        ],
    )  # fmt: skip


for _exercise in (
    Exercise(
        "09-1", "The flow-matching loss", 2, grade_cfm, "it holds on any path, because the target is the state's slope."
    ),
    Exercise(
        "09-2",
        "Data and noise from a velocity",
        2,
        grade_readings,
        "follow the velocity to either end; nothing is divided, so it holds at every time.",
    ),
    Exercise("09-3", "Times for larger pictures", 2, grade_shift, "the ratio of noise to data grows by one factor."),
    Exercise("09-4", "What reflow changes", 1, grade_reflow_meaning, "new partners, the same two crowds."),
    Exercise(
        "09-5",
        "A reflow with two faults",
        3,
        grade_reflow,
        "the teacher arrives at data, and each datum keeps its noise.",
    ),
):
    register(_exercise)
