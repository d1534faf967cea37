"""Chapter 06: f and g^2 of a path, an Euler-Maruyama step, a missing root, a transition kernel, a broken simulator."""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..path import VE, VP, CosineVP, Path, RectifiedFlow, SubVP
from ..runtime import seeded
from .before import Exercise, Rows, grade_choice, grade_function, grade_rows, register
from .ch06_mistakes import DIFFUSIONS, DRIFTS, FACTORS, JUMPS, SIMULATORS, SPREADS, STEPS


def grade_coefficients(answer: Any) -> None:
    """06-1: f = alpha'/alpha, g^2 = 2 sigma sigma' - 2 f sigma^2."""
    t = torch.tensor([0.1, 0.35, 0.6, 0.8], dtype=torch.float64)
    paths = [SubVP(), RectifiedFlow(), CosineVP()]
    cases = [
        {"alpha": p.alpha(t[:n]), "d_alpha": p.d_alpha(t[:n]), "sigma": p.sigma(t[:n]), "d_sigma": p.d_sigma(t[:n])}
        for p, n in zip(paths, (4, 3, 2), strict=True)
    ]

    def pair(f: Any, g2: Any) -> Any:
        return lambda a, da, s, ds: torch.stack([f(a, da), g2(da / a, a, da, s, ds)])

    def ratio(a: Tensor, da: Tensor) -> Tensor:
        return da / a

    def right(f: Tensor, a: Tensor, da: Tensor, s: Tensor, ds: Tensor) -> Tensor:
        return 2 * s * ds - 2 * f * s**2

    rows: Rows = {
        "f": (lambda a, da, s, ds: da / a, DRIFTS),
        "g2": (lambda a, da, s, ds: right(da / a, a, da, s, ds), DIFFUSIONS),
    }
    grade_rows(
        answer,
        rows,
        cases,
        wrong=[
            (pair(ratio, lambda f, a, da, s, ds: 2 * s * ds + 2 * f * s**2), "in g2 the sign of the drift's part is flipped: the noise that is there already shrinks when f is negative, and g2 must make up for that."),
            (pair(ratio, lambda f, a, da, s, ds: 2 * s * ds - f * s**2), "in g2 the drift's part has lost a factor: what multiplies a state by one factor multiplies its variance by the square of it."),
            (pair(ratio, lambda f, a, da, s, ds: s * ds - f * s**2), "g2 has half of its value: the slope of a square has a factor in front."),
            (pair(ratio, lambda f, a, da, s, ds: s * ds - 2 * f * s**2), "in g2 the slope of the variance is wrong: differentiate the square of sigma by the chain rule."),
            (pair(ratio, lambda f, a, da, s, ds: ds**2 - 2 * f * s**2), "in g2 the slope of sigma is squared; the slope of the squared sigma is asked for."),
            (pair(ratio, lambda f, a, da, s, ds: 2 * s * ds), "the drift is forgotten in g2: this is right only for a path that does not fade."),
            (pair(ratio, lambda f, a, da, s, ds: 2 * ds - 2 * f * s), "in g2 one sigma is missing: the equation of motion is that of the variance, not of the standard deviation."),
            (pair(ratio, lambda f, a, da, s, ds: ds - f * s), "in g2 the equation of motion was used for the standard deviation; it holds for the variance."),
            (pair(ratio, lambda f, a, da, s, ds: 2 * s * ds - 2 * f * s), "in g2 the drift acts on the variance, not on the standard deviation."),
            (pair(ratio, lambda f, a, da, s, ds: right(f, a, da, s, ds).clamp(min=0).sqrt()), "the second row is g itself, its square is asked for: here is a root too many."),
            (pair(ratio, lambda f, a, da, s, ds: -2 * f), "this g2 holds only where the variance is preserved; derive it for any path."),
            (pair(ratio, lambda f, a, da, s, ds: 2 * s * ds - 2 * da * s**2), "in g2 the slope of alpha stands in the place of the drift coefficient."),
            (pair(ratio, lambda f, a, da, s, ds: ds / s), "the second row is the relative slope of sigma; what the new noise must add to the variance is asked for."),
            (pair(ratio, lambda f, a, da, s, ds: right(f, a, da, s, ds) / a**2), "the second row belongs to the state divided by alpha; in the units of the state itself there is a factor more."),
            (pair(lambda a, da: da, right), "f is the slope of alpha itself; it should be the relative slope, since the drift multiplies the state."),
            (pair(lambda a, da: da, lambda f, a, da, s, ds: 2 * s * ds - 2 * da * s**2), "f is the slope of alpha itself, in both rows; it should be the relative slope, since the drift multiplies the state."),
            (pair(lambda a, da: -da / a, right), "the sign of f is flipped: where alpha falls, the drift pulls towards zero."),
            (pair(lambda a, da: -da / a, lambda f, a, da, s, ds: 2 * s * ds + 2 * f * s**2), "the sign of f is flipped, and g2 inherits it: where alpha falls, the drift pulls towards zero."),
            (pair(lambda a, da: 2 * da / a, right), "f is twice too large: this is the rate of the squared alpha."),
            (pair(lambda a, da: a / da, right), "f stands on its head."),
            (lambda a, da, s, ds: torch.stack([right(da / a, a, da, s, ds), da / a]), "the two rows have changed places: f comes first."),
        ],
    )  # fmt: skip


def grade_step(answer: Any) -> None:
    """06-2: x + f x dt + sqrt(g2 dt) noise."""
    g = seeded(2)
    cases = [
        {
            "x": torch.randn(shape, generator=g, dtype=torch.float64),
            "f": torch.tensor(f, dtype=torch.float64),
            "g2": torch.tensor(g2, dtype=torch.float64),
            "dt": torch.tensor(dt, dtype=torch.float64),
            "noise": torch.randn(shape, generator=g, dtype=torch.float64),
        }
        for shape, f, g2, dt in (((4, 3), -2.0, 5.0, 0.02), ((2, 4, 5, 5), -0.7, 0.3, 0.1), ((6,), -4.0, 8.0, 0.05))
    ]

    def step(drift: Any, size: Any) -> Any:
        return lambda x, f, g2, dt, noise: x + drift(x, f, g2, dt) + size(f, g2, dt) * noise

    def drift(x: Tensor, f: Tensor, g2: Tensor, dt: Tensor) -> Tensor:
        return f * x * dt

    def size(f: Tensor, g2: Tensor, dt: Tensor) -> Tensor:
        return (g2 * dt).sqrt()

    grade_function(
        answer,
        step(drift, size),
        cases,
        wrong=[
            (step(drift, lambda f, g2, dt: g2.sqrt() * dt), "the noise of a step is multiplied by dt itself; its variance must be proportional to dt, so a square root is missing."),
            (step(drift, lambda f, g2, dt: g2 * dt.sqrt()), "the noise is multiplied by the squared diffusion; a square root is missing there."),
            (step(drift, lambda f, g2, dt: g2 * dt), "the noise is multiplied by the variance of the increment; a square root is missing over both factors."),
            (step(drift, lambda f, g2, dt: g2.sqrt()), "the noise does not know how long the step is."),
            (step(drift, lambda f, g2, dt: g2), "the noise does not know how long the step is, and a square root is missing."),
            (step(drift, lambda f, g2, dt: dt.sqrt()), "the diffusion is missing: the noise has the same strength whatever g2 is."),
            (step(drift, lambda f, g2, dt: -(g2 * dt).sqrt()), "the sign of the noise is flipped. The law is the same, but with the given noise the state is not."),
            (step(drift, lambda f, g2, dt: 0 * dt), "the noise is missing."),
            (step(lambda x, f, g2, dt: f * dt, size), "the drift lacks the state: it is proportional to x."),
            (step(lambda x, f, g2, dt: f * x, size), "the drift lacks the length of the step."),
            (step(lambda x, f, g2, dt: f * x * dt.sqrt(), size), "the drift has a root that belongs to the noise alone: a smooth change is proportional to the time."),
            (step(lambda x, f, g2, dt: -f * x * dt, size), "the sign of the drift is flipped: with a negative f the state must shrink."),
            (step(lambda x, f, g2, dt: f * x * dt / 2, size), "the drift is halved; f is what multiplies x in the equation, whatever it is made of."),
            (step(lambda x, f, g2, dt: 0 * x, size), "the drift is missing."),
            (lambda x, f, g2, dt, noise: f * x * dt + (g2 * dt).sqrt() * noise, "this is the change of the state; return the state after the step."),
            (step(lambda x, f, g2, dt: g2.sqrt() * x * dt, lambda f, g2, dt: f * dt.sqrt()), "drift and diffusion have changed places: f belongs to the state, the other to the noise."),
            (step(lambda x, f, g2, dt: g2 * x * dt, lambda f, g2, dt: f * dt.sqrt()), "drift and diffusion have changed places: f belongs to the state, the other to the noise."),
            (lambda x, f, g2, dt, noise: (f * dt).exp() * x + (g2 * dt).sqrt() * noise, "the drift is integrated exactly here; that is a fine method, but Euler and Maruyama take a straight step."),
            (lambda x, f, g2, dt, noise: (1 + f * dt) * (x + (g2 * dt).sqrt() * noise), "the noise is added first and then faded too; drift and noise both act on the state at the beginning of the step."),
            (lambda x, f, g2, dt, noise: (1 + f * dt) * x + (1 + f * dt) * g2.sqrt() * dt * noise, "the noise is faded too, and its root is missing."),
            *STEPS,
        ],
    )  # fmt: skip


def grade_root(answer: Any) -> None:
    """06-3: the variance with dt for its root, when the number of steps is doubled."""
    grade_choice(
        answer,
        "c",
        {
            "a": "this is how a right simulator behaves; add up the variances of the steps of this one.",
            "b": "there are twice as many terms, but are they as large as before?",
            "d": "you have looked at one step; how many of them are there?",
        },
    )


def grade_jump(answer: Any) -> None:
    """06-4: x_t given x_s has the factor alpha_t/alpha_s and the variance sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2."""
    early = torch.tensor([0.1, 0.2, 0.35, 0.5], dtype=torch.float64)
    late = torch.tensor([0.15, 0.5, 0.6, 0.9], dtype=torch.float64)
    cases = [
        {
            "alpha_s": p.alpha(early[:n]),
            "sigma_s": p.sigma(early[:n]),
            "alpha_t": p.alpha(late[:n]),
            "sigma_t": p.sigma(late[:n]),
        }
        for p, n in ((VP(), 4), (RectifiedFlow(), 3), (VE(0.1, 5.0), 2), (SubVP(), 4))
    ]

    def pair(factor: Any, std: Any) -> Any:
        return lambda a, s, b, r: torch.stack([factor(a, s, b, r), std(a, s, b, r)])

    def factor(a: Tensor, s: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return b / a

    def variance(a: Tensor, s: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return r**2 - (b / a * s) ** 2

    def std(a: Tensor, s: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return variance(a, s, b, r).sqrt()

    rows: Rows = {"factor": (factor, FACTORS), "standard deviation": (std, SPREADS)}
    grade_rows(
        answer,
        rows,
        cases,
        wrong=[
            (pair(factor, variance), "the second row is the variance; a square root is missing."),
            (pair(factor, lambda a, s, b, r: (r**2 - s**2).sqrt()), "the noise that is there at the earlier time is not faded: the state is multiplied by the factor, and its noise with it."),
            (pair(factor, lambda a, s, b, r: r**2 - s**2), "the noise that is there at the earlier time is not faded, and a square root is missing."),
            (pair(factor, lambda a, s, b, r: (r**2 - b / a * s**2).sqrt()), "the old noise is faded by the factor, so its variance by the square of it."),
            (pair(factor, lambda a, s, b, r: r - b / a * s), "standard deviations of independent noises do not add up or subtract; their variances do."),
            (pair(factor, lambda a, s, b, r: r - s), "standard deviations of independent noises do not add up or subtract; their variances do. And the old noise is faded."),
            (pair(factor, lambda a, s, b, r: r), "this is all of the noise at the later time; a part of it is in the earlier state already."),
            (pair(factor, lambda a, s, b, r: (1 - (b / a) ** 2).sqrt()), "this noise holds only where the variance is preserved; derive it for any path."),
            (pair(factor, lambda a, s, b, r: (r**2 + (b / a * s) ** 2).sqrt()), "a sign is flipped: how much noise is still missing at the later time?"),
            (pair(factor, lambda a, s, b, r: (r / s) * (1 - (b / a) ** 2).sqrt()), "the noise is wrong: subtract from the variance that is needed the one that is there."),
            (pair(lambda a, s, b, r: a / b, std), "the factor stands on its head: it takes the data from the earlier strength to the later one."),
            (pair(lambda a, s, b, r: b, std), "the factor is that from clean data; the state at the earlier time is faded already."),
            (pair(lambda a, s, b, r: b - a, std), "alphas multiply along the way, they do not add up."),
            (pair(lambda a, s, b, r: (b / a).sqrt(), std), "the factor has a root too many: alpha is the factor of the data itself, not its square."),
            (pair(lambda a, s, b, r: r / s, std), "the factor is that of the noise; the state fades as the data does."),
            (lambda a, s, b, r: torch.stack([a / b, (s**2 - (a / b * r) ** 2).abs().sqrt()]), "the two times have changed places: the jump goes from s to the later t."),
            (lambda a, s, b, r: torch.stack([std(a, s, b, r), b / a]), "the two rows have changed places: the factor comes first."),
            *JUMPS,
        ],
    )  # fmt: skip


def _simulate(
    path: Path,
    x: Tensor,
    ts: Tensor,
    noises: Tensor,
    *,
    uniform: bool = False,
    even: bool = False,
    power: float = 0.5,
    root: float = 0.5,
    at: int = 0,
    sign: int = 1,
    flipped: bool = False,
) -> Tensor:
    """Euler-Maruyama with every mistake as a dial. power: of g2. root: of dt in the noise. at: the end of the step that is used."""
    for pair, noise in zip(pairwise(ts), noises, strict=False):
        dt = torch.as_tensor(1 / len(noises), dtype=ts.dtype) if uniform else pair[1] - pair[0]
        if even:
            dt = (ts[-1] - ts[0]) / len(noises)
        t = 1 - pair[at] if flipped else pair[at]
        x = x + sign * path.f(t) * x * dt + path.g2(t) ** power * dt**root * noise
    return x


def grade_simulator(answer: Any) -> None:
    """06-5: two planted bugs, a step of 1/n on every grid and g^2 in place of g."""
    g = seeded(5)
    cases = []
    for path, end, n, shape in ((VP(), 0.9, 7, (5,)), (CosineVP(), 0.6, 5, (3, 2)), (VE(0.1, 5.0), 1.0, 4, (2, 1, 3))):
        ts = 0.05 + (end - 0.05) * torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 1.5
        x = torch.randn(shape, generator=g, dtype=torch.float64)
        noises = torch.randn(n, *shape, generator=g, dtype=torch.float64)
        cases.append({"path": path, "x": x, "ts": ts, "noises": noises})

    def dials(**chosen: Any) -> Any:
        return partial(_simulate, **chosen)

    def span(path: Path, x: Tensor, ts: Tensor, noises: Tensor, **chosen: Any) -> Tensor:
        return _simulate(path, x, torch.linspace(ts[0], ts[-1], len(ts), dtype=ts.dtype), noises, **chosen)

    step = "the grid need not be uniform, nor run over all of the unit interval: how long is each step?"
    noise = "the noise is multiplied by the squared diffusion; a square root is missing."
    grade_function(
        answer,
        _simulate,
        cases,
        wrong=[
            (dials(uniform=True, power=1.0), f"both faults are still there. One: {step} Two: compare the unit of what multiplies the noise with that of x."),
            (dials(power=1.0), f"the step is mended, one fault is left: {noise}"),
            (dials(uniform=True), f"the noise is mended, one fault is left: {step}"),
            (dials(root=1.0), "the noise is multiplied by the step itself; a square root is missing."),
            (dials(power=1.0, root=1.0), "the noise is multiplied by the variance of the increment; a square root is missing over both factors."),
            (dials(uniform=True, root=1.0), f"a square root is missing over the step in the noise. And {step}"),
            (dials(root=0.0), "the noise does not know how long the step is."),
            (dials(power=0.25), "there is a square root too many on the diffusion."),
            (dials(at=1), "the coefficients are taken at the end of each step; Euler and Maruyama take them at its beginning."),
            (dials(at=1, power=1.0), f"the coefficients are taken at the end of each step. And {noise}"),
            (dials(sign=-1), "the sign of the drift is flipped."),
            (dials(flipped=True), "time runs the wrong way in the coefficients: data is at time zero here."),
            (dials(even=True), "the steps are all of one length; the grid need not be uniform."),
            (dials(even=True, power=1.0), f"the steps are all of one length, but the grid need not be uniform. And {noise}"),
            (span, "the steps are all of one length; the grid need not be uniform."),
            (lambda path, x, ts, noises: span(path, x, ts, noises, power=1.0), f"the steps are all of one length, but the grid need not be uniform. And {noise}"),
            (lambda path, x, ts, noises: _simulate(path, x, ts[:-1], noises), "the last step is not taken: the state must reach the last time."),
            (lambda path, x, ts, noises: _simulate(path, x, ts[:2], noises), "only the first step is taken; does the `return` stand inside the loop?"),
            (lambda path, x, ts, noises: _simulate(path, x, ts, 0 * noises), "the noise is missing."),
            *SIMULATORS,
        ],
    )  # fmt: skip


for _exercise in (
    Exercise(
        "06-1",
        "Drift and diffusion of any path",
        2,
        grade_coefficients,
        "it holds on every path whose signal-to-noise ratio falls.",
    ),
    Exercise("06-2", "One step", 2, grade_step, "the variance that a step adds is proportional to its length."),
    Exercise("06-3", "A missing root", 1, grade_root, "finer steps make a wrong scheme worse, which gives it away."),
    Exercise(
        "06-4",
        "From one time to a later one",
        2,
        grade_jump,
        "two jumps make one, and the step of DDPM is a case of it.",
    ),
    Exercise("06-5", "A simulator with two faults", 3, grade_simulator, "it is right on every grid and every path."),
):
    register(_exercise)
