"""Chapter 06: f and g^2 of a path, an Euler-Maruyama step, a missing root, a transition kernel, a broken simulator."""

from itertools import pairwise

import torch

from ..path import VE, VP, CosineVP, RectifiedFlow, SubVP
from ..runtime import seeded
from .core import choice, draw, formula, rows

# fmt: off

def _f(alpha, d_alpha, sigma, d_sigma):
    """06-1: the relative slope of alpha."""
    return d_alpha / alpha

def _g2(alpha, d_alpha, sigma, d_sigma):
    """06-1: what the new noise adds to the variance, sigma^2' - 2 f sigma^2."""
    return 2 * sigma * d_sigma - 2 * d_alpha / alpha * sigma**2

TIMES = torch.tensor([0.1, 0.35, 0.6, 0.8], dtype=torch.float64)
rows(
    "06-1", "Drift and diffusion of any path", 2, "it holds on every path whose signal-to-noise ratio falls.", {
        "f": (_f, [
            (lambda a, da, s, ds: da / a**2, "it is divided by alpha once too often."),
            (lambda a, da, s, ds: da * a, "alpha multiplies where it should divide: the relative slope is asked for."),
            (lambda a, da, s, ds: ds / s, "this is the relative slope of the noise; the state fades as the data does."),
            (lambda a, da, s, ds: a.log(), "this is the logarithm itself, its slope is asked for."),
        ]),
        "g2": (_g2, [
            (lambda a, da, s, ds: ds**2, "this is the squared slope of sigma; the slope of the variance is asked for, and the drift's share of it taken away."),
            (lambda a, da, s, ds: ds, "this is the slope of the standard deviation; start from that of the variance, and mind the drift."),
            (lambda a, da, s, ds: 2 * ds - 2 * da / a * s**2, "the slope of the variance lacks a sigma: differentiate a square."),
            (lambda a, da, s, ds: s**2 - 2 * da / a * s**2, "the variance stands there where its slope is asked for."),
            (lambda a, da, s, ds: 2 * s * ds - 2 * a * da, "the drift's part has alpha where the variance of the noise should stand."),
            (lambda a, da, s, ds: 2 * s * ds - da / a, "the drift's part lacks the variance on which it acts."),
            (lambda a, da, s, ds: -2 * da / a * (1 - a**2), "this is the slope of the variance on a path that preserves it; a part is missing, and the path need not."),
        ]),
    },
    [[of(TIMES[:n]) for of in (p.alpha, p.d_alpha, p.sigma, p.d_sigma)] for p, n in ((SubVP(), 4), (RectifiedFlow(), 3), (CosineVP(), 2))], [
        ({"g2": lambda a, da, s, ds: 2 * s * ds + 2 * da / a * s**2}, "in g2 the sign of the drift's part is flipped: the noise that is there already shrinks when f is negative, and g2 must make up for that."),
        ({"g2": lambda a, da, s, ds: 2 * s * ds - da / a * s**2}, "in g2 the drift's part has lost a factor: what multiplies a state by one factor multiplies its variance by the square of it."),
        ({"g2": lambda a, da, s, ds: s * ds - da / a * s**2}, "g2 has half of its value: the slope of a square has a factor in front."),
        ({"g2": lambda a, da, s, ds: s * ds - 2 * da / a * s**2}, "in g2 the slope of the variance is wrong: differentiate the square of sigma by the chain rule."),
        ({"g2": lambda a, da, s, ds: ds**2 - 2 * da / a * s**2}, "in g2 the slope of sigma is squared; the slope of the squared sigma is asked for."),
        ({"g2": lambda a, da, s, ds: 2 * s * ds}, "the drift is forgotten in g2: this is right only for a path that does not fade."),
        ({"g2": lambda a, da, s, ds: 2 * ds - 2 * da / a * s}, "in g2 one sigma is missing: the equation of motion is that of the variance, not of the standard deviation."),
        ({"g2": lambda a, da, s, ds: ds - da / a * s}, "in g2 the equation of motion was used for the standard deviation; it holds for the variance."),
        ({"g2": lambda a, da, s, ds: 2 * s * ds - 2 * da / a * s}, "in g2 the drift acts on the variance, not on the standard deviation."),
        ({"g2": lambda a, da, s, ds: _g2(a, da, s, ds).clamp(min=0).sqrt()}, "the second row is g itself, its square is asked for: here is a root too many."),
        ({"g2": lambda a, da, s, ds: -2 * da / a}, "this g2 holds only where the variance is preserved; derive it for any path."),
        ({"g2": lambda a, da, s, ds: 2 * s * ds - 2 * da * s**2}, "in g2 the slope of alpha stands in the place of the drift coefficient."),
        ({"g2": lambda a, da, s, ds: ds / s}, "the second row is the relative slope of sigma; what the new noise must add to the variance is asked for."),
        ({"g2": lambda a, da, s, ds: _g2(a, da, s, ds) / a**2}, "the second row belongs to the state divided by alpha; in the units of the state itself there is a factor more."),
        ({"f": lambda a, da, s, ds: da}, "f is the slope of alpha itself; it should be the relative slope, since the drift multiplies the state."),
        ({"f": lambda a, da, s, ds: da, "g2": lambda a, da, s, ds: 2 * s * ds - 2 * da * s**2}, "f is the slope of alpha itself, in both rows; it should be the relative slope, since the drift multiplies the state."),
        ({"f": lambda a, da, s, ds: -da / a}, "the sign of f is flipped: where alpha falls, the drift pulls towards zero."),
        ({"f": lambda a, da, s, ds: -da / a, "g2": lambda a, da, s, ds: 2 * s * ds + 2 * da / a * s**2}, "the sign of f is flipped, and g2 inherits it: where alpha falls, the drift pulls towards zero."),
        ({"f": lambda a, da, s, ds: 2 * da / a}, "f is twice too large: this is the rate of the squared alpha."),
        ({"f": lambda a, da, s, ds: a / da}, "f stands on its head."),
        ({"f": _g2, "g2": _f}, "the two rows have changed places: f comes first."),
    ],
)

def _step(x, f, g2, dt, noise, *, start=1, fade=1, state=1, length=1, loud=1, level=0.5, power=0.5):
    """06-2: x + f x dt + sqrt(g2 dt) noise.

    start: how much of the state is kept. fade: the drift's factor; state, length: the powers of x and of dt in it. loud: the
    noise's factor; level, power: the powers of g2 and of dt in it.
    """
    return start * x + fade * f * x**state * dt**length + loud * g2**level * dt**power * noise

g = seeded(2)
formula(
    "06-2", "One step", 2, "the variance that a step adds is proportional to its length.", _step, [
        (draw(g, *shape), *torch.tensor([f, g2, dt], dtype=torch.float64), draw(g, *shape))
        for shape, f, g2, dt in (((4, 3), -2.0, 5.0, 0.02), ((2, 4, 5, 5), -0.7, 0.3, 0.1), ((6,), -4.0, 8.0, 0.05))
    ], [
        ({"power": 1}, "the noise of a step is multiplied by dt itself; its variance must be proportional to dt, so a square root is missing."),
        ({"level": 1}, "the noise is multiplied by the squared diffusion; a square root is missing there."),
        ({"level": 1, "power": 1}, "the noise is multiplied by the variance of the increment; a square root is missing over both factors."),
        ({"power": 0}, "the noise does not know how long the step is."),
        ({"level": 1, "power": 0}, "the noise does not know how long the step is, and a square root is missing."),
        ({"level": 0}, "the diffusion is missing: the noise has the same strength whatever g2 is."),
        ({"loud": -1}, "the sign of the noise is flipped. The law is the same, but with the given noise the state is not."),
        ({"loud": 0}, "the noise is missing."),
        ({"state": 0}, "the drift lacks the state: it is proportional to x."),
        ({"length": 0}, "the drift lacks the length of the step."),
        ({"length": 0.5}, "the drift has a root that belongs to the noise alone: a smooth change is proportional to the time."),
        ({"fade": -1}, "the sign of the drift is flipped: with a negative f the state must shrink."),
        ({"fade": 0.5}, "the drift is halved; f is what multiplies x in the equation, whatever it is made of."),
        ({"fade": 0}, "the drift is missing."),
        ({"start": 0}, "this is the change of the state; return the state after the step."),
        (lambda x, f, g2, dt, e: x + g2.sqrt() * x * dt + f * dt.sqrt() * e, "drift and diffusion have changed places: f belongs to the state, the other to the noise."),
        (lambda x, f, g2, dt, e: x + g2 * x * dt + f * dt.sqrt() * e, "drift and diffusion have changed places: f belongs to the state, the other to the noise."),
        (lambda x, f, g2, dt, e: (f * dt).exp() * x + (g2 * dt).sqrt() * e, "the drift is integrated exactly here; that is a fine method, but Euler and Maruyama take a straight step."),
        (lambda x, f, g2, dt, e: (1 + f * dt) * (x + (g2 * dt).sqrt() * e), "the noise is added first and then faded too; drift and noise both act on the state at the beginning of the step."),
        (lambda x, f, g2, dt, e: (1 + f * dt) * (x + g2.sqrt() * dt * e), "the noise is faded too, and its root is missing."),
        ({"level": 0.25, "power": 0.25}, "there is a root too many in the noise."),
        (lambda x, f, g2, dt, e: _step(x, f, g2, dt, e * x), "the noise is multiplied by the state; its strength depends on time only."),
        ({"fade": -1, "level": 1}, "two mistakes: the sign of the drift is flipped, and a square root over the squared diffusion is missing."),
        ({"fade": -1, "power": 1}, "two mistakes: the sign of the drift is flipped, and the noise is multiplied by the step itself."),
        ({"power": -0.5}, "the step divides in the noise where it should multiply: a short step must add little."),
        (lambda x, f, g2, dt, e: x + f * e * dt + (g2 * dt).sqrt() * x, "state and noise have changed places."),
        ({"fade": 0.5, "power": 1}, "two mistakes: the drift is halved, and a square root over the step in the noise is missing."),
        (lambda x, f, g2, dt, e: _step(x, f, g2, dt, 1), "the strength of the noise is added, not the noise."),
        (lambda x, f, g2, dt, e: (1 + f * dt).sqrt() * x + (g2 * dt).sqrt() * e, "the factor of the state has a root: that is the step of a variance, not of a state."),
        (lambda x, f, *z: _step(x, f**2, *z), "the drift coefficient is squared; only the diffusion comes as a square."),
        ({"loud": 2}, "the noise is twice too strong."),
        (lambda x, f, g2, dt, e: e, "this is the noise alone."),
    ],
)

choice(
    "06-3", "A missing root", 1, "finer steps make a wrong scheme worse, which gives it away.", "c", {
        "a": "this is how a right simulator behaves; add up the variances of the steps of this one.",
        "b": "there are twice as many terms, but are they as large as before?",
        "d": "you have looked at one step; how many of them are there?",
    },
)

def _jump(alpha_s, sigma_s, alpha_t, sigma_t):
    """06-4: the factor of x_s in x_t."""
    return alpha_t / alpha_s

def _missing(alpha_s, sigma_s, alpha_t, sigma_t):
    """06-4: the standard deviation of x_t given x_s, the noise that is not there yet."""
    return (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).sqrt()

EARLY = torch.tensor([0.1, 0.2, 0.35, 0.5], dtype=torch.float64)
LATE = torch.tensor([0.15, 0.5, 0.6, 0.9], dtype=torch.float64)
rows(
    "06-4", "From one time to a later one", 2, "two jumps make one, and the step of DDPM is a case of it.", {
        "factor": (_jump, [
            (lambda a, s, b, r: (b / a) ** 2, "the factor is squared: alpha multiplies the data itself, not its variance."),
            (lambda a, s, b, r: a * b, "the earlier alpha multiplies where it should divide: the state is faded by it already."),
        ]),
        "standard deviation": (_missing, [
            (lambda a, s, b, r: (1 - b / a).sqrt(), "this treats alpha as a factor of the variance, on a path that preserves it."),
            (lambda a, s, b, r: 1 - (b / a) ** 2, "this is a variance, and one that holds only where the variance is preserved."),
            (lambda a, s, b, r: r / s, "a ratio of the two noises; what is missing from the one to the other is asked for."),
            (lambda a, s, b, r: ((r / s) ** 2 - (b / a) ** 2).sqrt(), "the earlier sigma divides the later one where it should multiply the factor."),
            (lambda a, s, b, r: s * (1 - (b * s / (a * r)) ** 2).sqrt(), "this is the step back, given the clean data as well; the step forward is asked for."),
            (lambda a, s, b, r: (r**2 - (a / b * s) ** 2).abs().sqrt(), "the old noise is faded by the factor upside down."),
            (lambda a, s, b, r: (s - b / a * r).abs(), "the two noises have changed places, and standard deviations do not subtract."),
            (lambda a, s, b, r: r * (1 - (b / a) ** 2).sqrt(), "the old noise is not the same share of the new one on every path: subtract the variances."),
            (lambda a, s, b, r: ((r / b) ** 2 - (s / a) ** 2).sqrt(), "this belongs to the state divided by its alpha; in the units of the state there is a factor more."),
        ]),
    }, [
        [of(times[:n]) for times in (EARLY, LATE) for of in (p.alpha, p.sigma)]
        for p, n in ((VP(), 4), (RectifiedFlow(), 3), (VE(0.1, 5.0), 2), (SubVP(), 4))
    ], [
        ({"standard deviation": lambda a, s, b, r: _missing(a, s, b, r) ** 2}, "the second row is the variance; a square root is missing."),
        ({"standard deviation": lambda a, s, b, r: (r**2 - s**2).sqrt()}, "the noise that is there at the earlier time is not faded: the state is multiplied by the factor, and its noise with it."),
        ({"standard deviation": lambda a, s, b, r: r**2 - s**2}, "the noise that is there at the earlier time is not faded, and a square root is missing."),
        ({"standard deviation": lambda a, s, b, r: (r**2 - b / a * s**2).sqrt()}, "the old noise is faded by the factor, so its variance by the square of it."),
        ({"standard deviation": lambda a, s, b, r: r - b / a * s}, "standard deviations of independent noises do not add up or subtract; their variances do."),
        ({"standard deviation": lambda a, s, b, r: r - s}, "standard deviations of independent noises do not add up or subtract; their variances do. And the old noise is faded."),
        ({"standard deviation": lambda a, s, b, r: r}, "this is all of the noise at the later time; a part of it is in the earlier state already."),
        ({"standard deviation": lambda a, s, b, r: (1 - (b / a) ** 2).sqrt()}, "this noise holds only where the variance is preserved; derive it for any path."),
        ({"standard deviation": lambda a, s, b, r: (r**2 + (b / a * s) ** 2).sqrt()}, "a sign is flipped: how much noise is still missing at the later time?"),
        ({"standard deviation": lambda a, s, b, r: (r / s) * (1 - (b / a) ** 2).sqrt()}, "the noise is wrong: subtract from the variance that is needed the one that is there."),
        ({"factor": lambda a, s, b, r: a / b}, "the factor stands on its head: it takes the data from the earlier strength to the later one."),
        ({"factor": lambda a, s, b, r: b}, "the factor is that from clean data; the state at the earlier time is faded already."),
        ({"factor": lambda a, s, b, r: b - a}, "alphas multiply along the way, they do not add up."),
        ({"factor": lambda a, s, b, r: (b / a).sqrt()}, "the factor has a root too many: alpha is the factor of the data itself, not its square."),
        ({"factor": lambda a, s, b, r: r / s}, "the factor is that of the noise; the state fades as the data does."),
        ({"factor": lambda a, s, b, r: a / b, "standard deviation": lambda a, s, b, r: (s**2 - (a / b * r) ** 2).abs().sqrt()}, "the two times have changed places: the jump goes from s to the later t."),
        ({"factor": _missing, "standard deviation": _jump}, "the two rows have changed places: the factor comes first."),
        ({"factor": lambda a, s, b, r: b, "standard deviation": lambda a, s, b, r: r}, "this is the jump from clean data; the earlier state is faded and noisy already."),
        ({"factor": lambda a, s, b, r: b - a, "standard deviation": lambda a, s, b, r: r - s}, "differences of alphas and sigmas: alphas multiply along the way, and variances add up."),
    ],
)

def _simulate(
    path, x, ts, noises, *, dt=lambda ts, i: ts[i + 1] - ts[i], at=(0, 0), flipped=False, which=lambda i: i,
    start=1, fade=1, state=1, length=1, loud=1, level=0.5, power=0.5,
):
    """06-5: Euler-Maruyama. Planted are a step of 1/n on every grid (dt) and g^2 in place of g (level).

    dt: the length of a step. at: the ends of the step at which f and g^2 are taken. flipped: their time. which: the noise that a
    step uses. The rest: of ``_step``.
    """
    for i, pair in enumerate(pairwise(ts)):
        fading, diffusing = (1 - pair[end] if flipped else pair[end] for end in at)
        x = _step(
            x, path.f(fading), path.g2(diffusing), dt(ts, i), noises[which(i)],
            start=start, fade=fade, state=state, length=length, loud=loud, level=level, power=power,
        )
    return x

def _even(ts):
    return torch.linspace(ts[0], ts[-1], len(ts), dtype=ts.dtype)

STEP = "the grid need not be uniform, nor run over all of the unit interval: how long is each step?"
NOISE = "the noise is multiplied by the squared diffusion; a square root is missing."
g = seeded(5)
formula(
    "06-5", "A simulator with two faults", 3, "it is right on every grid and every path.", _simulate, [
        (path, draw(g, *shape), 0.05 + (end - 0.05) * torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 1.5, draw(g, n, *shape))
        for path, end, n, shape in ((VP(), 0.9, 7, (5,)), (CosineVP(), 0.6, 5, (3, 2)), (VE(0.1, 5.0), 1.0, 4, (2, 1, 3)))
    ], [
        ({"dt": lambda ts, i: 1 / (len(ts) - 1), "level": 1}, f"both faults are still there. One: {STEP} Two: compare the unit of what multiplies the noise with that of x."),
        ({"level": 1}, f"the step is mended, one fault is left: {NOISE}"),
        ({"dt": lambda ts, i: 1 / (len(ts) - 1)}, f"the noise is mended, one fault is left: {STEP}"),
        ({"power": 1}, "the noise is multiplied by the step itself; a square root is missing."),
        ({"level": 1, "power": 1}, "the noise is multiplied by the variance of the increment; a square root is missing over both factors."),
        ({"dt": lambda ts, i: 1 / (len(ts) - 1), "power": 1}, f"a square root is missing over the step in the noise. And {STEP}"),
        ({"power": 0}, "the noise does not know how long the step is."),
        ({"level": 0.25}, "there is a square root too many on the diffusion."),
        ({"at": (1, 1)}, "the coefficients are taken at the end of each step; Euler and Maruyama take them at its beginning."),
        ({"at": (1, 1), "level": 1}, f"the coefficients are taken at the end of each step. And {NOISE}"),
        ({"fade": -1}, "the sign of the drift is flipped."),
        ({"flipped": True}, "time runs the wrong way in the coefficients: data is at time zero here."),
        ({"dt": lambda ts, i: (ts[-1] - ts[0]) / (len(ts) - 1)}, "the steps are all of one length; the grid need not be uniform."),
        ({"dt": lambda ts, i: (ts[-1] - ts[0]) / (len(ts) - 1), "level": 1}, f"the steps are all of one length, but the grid need not be uniform. And {NOISE}"),
        (lambda path, x, ts, noises: _simulate(path, x, _even(ts), noises), "the steps are all of one length; the grid need not be uniform."),
        (lambda path, x, ts, noises: _simulate(path, x, _even(ts), noises, level=1), f"the steps are all of one length, but the grid need not be uniform. And {NOISE}"),
        (lambda path, x, ts, noises: _simulate(path, x, ts[:-1], noises), "the last step is not taken: the state must reach the last time."),
        (lambda path, x, ts, noises: _simulate(path, x, ts[:2], noises), "only the first step is taken; does the `return` stand inside the loop?"),
        ({"loud": 0}, "the noise is missing."),
        ({"at": (1, 0)}, "the drift is taken at the end of each step; Euler and Maruyama take it at its beginning."),
        ({"at": (0, 1)}, "the diffusion is taken at the end of each step; Euler and Maruyama take it at its beginning."),
        ({"which": lambda i: 0}, "every step uses the same noise; each has its own."),
        ({"which": lambda i: -1 - i}, "the noises are used in the reverse order."),
        ({"loud": -1}, "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
        ({"state": 0}, "the drift lacks the state: it is proportional to x."),
        ({"length": 0}, "the drift lacks the length of the step."),
        ({"start": 0}, "each step returns the change of the state; the state itself is lost."),
        ({"dt": lambda ts, i: (ts[-1] - ts[0]) / len(ts)}, "n + 1 times make n steps; besides, they need not be of one length."),
        ({"dt": lambda ts, i: 1 / len(ts)}, "n + 1 times make n steps; besides, they need not be of one length, nor run over all of the unit interval."),
        ({"dt": lambda ts, i: ts[1] - ts[0]}, "every step has the length of the first; the grid need not be uniform."),
    ],
)
