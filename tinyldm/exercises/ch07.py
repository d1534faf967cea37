"""Chapter 07: one reverse step, Tweedie's formula, who is independent of whom, a weight, a broken reverse sampler."""

from itertools import pairwise

import torch

from ..gaussian import GaussianMixture
from ..path import VP
from ..runtime import seeded
from ..solvers.grids import grid
from .core import choice, draw, formula

# fmt: off

def _pull(n, g2, h):
    """The factor of the score at noise level n."""
    return (1 + n**2) / 2 * g2

def _step(
    x, score, f, g2, eta, t, s, noise, *, clock=lambda h: -h, pull=_pull, sign=-1, fade=1, kick=lambda n, g2, h: n * (g2 * h) ** 0.5,
):
    """07-1: x + (s - t) (f x - (1 + eta^2)/2 g^2 score) + eta g sqrt(t - s) noise.

    clock: what multiplies the drift, from the step's length h. pull: the factor of the score at noise level n, sign: its sign.
    fade: the factor of f. kick: the noise's standard deviation.
    """
    h = t - s
    return x + clock(h) * (fade * f * x + sign * pull(eta, g2, h) * score) + kick(eta, g2, h) * noise

ROOT = "the noise is multiplied by the length of the step; the increment of Brownian motion has that as its variance, so a square root is missing."
NO_HALF = "the score's factor is too large: without noise only half of the squared diffusion is left, and a half is missing."
g = seeded(71)
formula(
    "07-1", "One step back, at any noise level", 2, "it is the library's step for every noise level, the one without noise included.", _step, [
        (x, score, -rate / 2, 1.3 * rate, eta, t, s, noise)
        for shape, eta, t, s in (((5, 3), 0.5, 0.9, 0.7), ((2, 4), 1.0, 0.35, 0.3), ((3, 1), 0.0, 0.6, 0.55), ((4, 2), 2.0, 0.8, 0.75))
        for (x, score, noise), rate in [(draw(g, 3, *shape), 2 + 10 * t)]
    ], [
        ({"clock": lambda h: h}, "time runs the wrong way: the difference of the two times must be negative where it multiplies the drift."),
        ({"sign": 1}, "the sign of the score is flipped: the step must lead to where the density is higher."),
        ({"fade": -1}, "the sign of the fading term is flipped: what fades on the way out must grow on the way back."),
        ({"pull": lambda n, g2, h: (1 + n**2) * g2}, NO_HALF),
        ({"pull": lambda n, g2, h: g2}, "the score's factor is the one of Anderson's equation at every noise level; it must shrink to a half of that without noise."),
        ({"pull": lambda n, g2, h: g2 / 2}, "the score's factor is the one of the equation without noise at every noise level; more noise needs more pull."),
        ({"pull": lambda n, g2, h: n**2 * g2}, "without noise the score has dropped out of the drift; half of the squared diffusion must be left."),
        ({"pull": lambda n, g2, h: n**2 / 2 * g2}, "only the part of the pull that balances the noise is there; the part of the equation without noise is missing."),
        ({"pull": lambda n, g2, h: (1 + n) / 2 * g2}, "the noise level is not squared in the score's factor."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 2 * g2**0.5}, "the score is multiplied by the diffusion where its square is asked for."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 2 * g2**2}, "the squared diffusion is squared again in the score's factor: the argument is a square already."),
        ({"kick": lambda n, g2, h: n * g2**0.5 * h}, ROOT),
        ({"pull": lambda n, g2, h: (1 + n**2) * g2, "kick": lambda n, g2, h: n * g2**0.5 * h}, f"two mistakes. One: {NO_HALF} Two: {ROOT}"),
        ({"clock": lambda h: h, "kick": lambda n, g2, h: n * g2**0.5 * h}, f"time runs the wrong way in the drift. And {ROOT}"),
        ({"kick": lambda n, g2, h: -n * g2**0.5 * h}, f"the noise carries the negative difference of the times. Besides, {ROOT}"),
        ({"kick": lambda n, g2, h: n * g2 * h**0.5}, "the noise is multiplied by the squared diffusion; a square root is missing."),
        ({"kick": lambda n, g2, h: n**2 * g2 * h}, "the noise is multiplied by its variance; a square root is missing around all of it."),
        ({"kick": lambda n, g2, h: n**2 * (g2 * h) ** 0.5}, "the noise level is squared where the noise is added; it belongs there to the first power."),
        ({"kick": lambda n, g2, h: (g2 * h) ** 0.5}, "the noise has its full strength whatever the noise level is."),
        ({"kick": lambda n, g2, h: n * g2**0.5}, "the noise does not depend on the length of the step."),
        ({"kick": lambda n, g2, h: 0}, "the noise is missing."),
        ({"fade": 0}, "the fading term is missing from the drift."),
        (lambda x, *z: _step(x, *z) - x, "this is the change of the state; return the state itself."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 4 * g2}, "the half of the score's factor stands there twice."),
        ({"pull": lambda n, g2, h: (1 + n) ** 2 / 2 * g2}, "in the score's factor the noise level is squared by itself, not together with the 1."),
        ({"pull": lambda n, g2, h: (1 - n**2) / 2 * g2}, "a sign in the score's factor is flipped: more noise needs more pull."),
        ({"pull": lambda n, g2, h: n * g2}, "without noise the score has dropped out of the drift, and the noise level is not squared."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 2}, "the squared diffusion is missing from the score's factor."),
        (lambda x, r, f, g2, n, t, s, e: _step(x, r, 0, g2, n, t, s, e) + (s - t) * f, "the fading term lacks the state on which it acts."),
        (lambda x, r, *z: _step(x, r * x, *z), "the score is multiplied by the state; it is a direction of its own."),
        ({"sign": 0}, "the score is missing: this only undoes the fading."),
        ({"fade": 2}, "the fading is counted twice."),
        ({"kick": lambda n, g2, h: -n * (g2 * h) ** 0.5}, "the sign of the noise is flipped; in law that is the same, but use the noise as it is given."),
        ({"kick": lambda n, g2, h: (n * g2 * h) ** 0.5}, "the noise level stands under the root; there it would have to be squared."),
        ({"kick": lambda n, g2, h: n * h**0.5}, "the diffusion is missing from the noise."),
        (lambda x, r, f, g2, n, t, s, e: _step(x, r, f, g2, n, t, s, r), "the score stands where the noise should be."),
        ({"kick": lambda n, g2, h: n * (g2 * h) ** 0.25}, "there is a root too many in the noise."),
        ({"clock": lambda h: 1}, "the drift is not multiplied by the length of the step."),
        (lambda x, r, *z: _step(x, z[-1], *z), "the noise stands where the score should be."),
    ],
)

def _tweedie(x, score, alpha, sigma):
    """07-2: the mean of the data given the state."""
    return (x + sigma**2 * score) / alpha

g = seeded(72)
formula(
    "07-2", "Tweedie's formula, on any path", 2, "who knows the score can denoise.", _tweedie, [
        (torch.randn(shape, generator=g), torch.randn(shape, generator=g), 0.3 + 0.6 * torch.rand(rank, generator=g), 0.4 + 2 * torch.rand(rank, generator=g))
        for shape, rank in (((4, 3), (4, 1)), ((3, 1, 5, 7), (3, 1, 1, 1)))
    ], [
        (lambda x, r, a, s: (x - s**2 * r) / a, "the sign of the score is flipped: denoising leads uphill, to where the density is higher."),
        (lambda x, r, a, s: (x + s * r) / a, "the score is multiplied by the standard deviation of the noise where its variance is asked for."),
        (lambda x, r, a, s: (x - s * r) / a, "this treats the score as if it were the predicted noise; the two differ by a sign and a factor."),
        (lambda x, r, a, s: (x + r) / a, "the score is not multiplied by the variance of the noise."),
        (lambda x, r, a, s: x + s**2 * r, "this is the mean of the faded data; undo the fading."),
        (lambda x, r, a, s: a * (x + s**2 * r), "the fading is applied once more where it should be undone."),
        (lambda x, r, a, s: (x + s**2 * r) / a**2, "the fading is undone twice."),
        (lambda x, r, a, s: x / a + s**2 * r, "the fading is undone for the state only, not for the score's term."),
        (lambda x, r, a, s: x + s**2 * r / a, "the fading is undone for the score's term only, not for the state."),
        (lambda x, r, a, s: (x + (1 - a**2) * r) / a, "this takes the noise's variance from a path that preserves the variance; here sigma is given for itself."),
        (lambda x, r, a, s: (x + s**2 * r) / (1 - s**2).abs().sqrt(), "this takes the fading from a path that preserves the variance; here alpha is given for itself."),
        (lambda x, r, a, s: (x + a**2 * r) / s, "alpha and sigma have changed places: which belongs to the data?"),
        (lambda x, r, a, s: -s * r, "this is the predicted noise, not the data."),
        (lambda x, r, a, s: (s**2 * r) / a, "the state itself is missing."),
        (lambda x, r, a, s: (x + r / s**2) / a, "the variance divides the score where it should multiply it."),
        (lambda x, r, a, s: (x + s**2 / 2 * r) / a, "the score's factor is half of what it should be: the half belongs to the equation without noise, not to denoising."),
        (lambda x, r, a, s: (x + s**2 * r) / s, "the noise's factor is divided out; it is the data's fading that must be undone."),
        (lambda x, r, a, s: (s**2 * r - x) / a, "the sign of the state is flipped."),
        (lambda x, r, a, s: (x + s**4 * r) / a, "the variance is squared once more."),
        (lambda x, r, a, s: (x + s.sqrt() * r) / a, "sigma has a root where it should be squared."),
        (lambda x, r, a, s: (x + 2 * s**2 * r) / a, "the score's factor is twice too large."),
        (lambda x, r, a, s: a * x + s**2 * r, "the state is faded once more, and nothing is undone."),
        (lambda x, r, a, s: (x + s**2 * r / a) / a, "the fading is undone twice for the score's term."),
        (lambda x, r, a, s: (x - r) / a, "the score is not multiplied by the variance of the noise, and its sign is flipped."),
        (lambda x, r, a, s: a * x - s * r, "this reads the score as a prediction of v, on a path that preserves the variance."),
        (lambda x, r, a, s: (x + s**2 * r) / a.sqrt(), "alpha is the factor of the data itself: no root of it is needed."),
        (lambda x, r, a, s: r, "this is the score itself."),
        (lambda x, r, a, s: x / a, "the score is not used: this is right only where there is no noise."),
        (lambda x, r, a, s: x + s * r / a, "the variance is asked for, not its root, and the fading is undone for the score's term only."),
        (lambda x, r, a, s: (x + (1 - a) * r) / a, "this takes the noise's variance to be what alpha leaves; sigma is given for itself."),
        (lambda x, r, a, s: (s**2 * x + r) / a, "state and score have changed places."),
    ],
)

choice(
    "07-3", "Who is independent of whom?", 1, "noise is independent of where its own step starts, and the step back starts at the later time.", "c", {
        "a": "along one path the two noises differ by a term of the size of the step's length, while each has the size of its root; the finer the steps, the more alike they are.",
        "b": "this holds for the forward noise. The way back comes from the other side: for it, the earlier time is where the step ends.",
        "d": "the later state contains this very noise as one of its terms, so it cannot be uncorrelated with it.",
    },
)

def _factor(alpha, sigma, g2):
    """07-4: the likelihood weighting of the data's squared error."""
    return g2 * alpha**2 / sigma**4

g = seeded(74)
formula(
    "07-4", "What the bound asks of a data prediction", 2, "it is minus the slope of the signal-to-noise ratio.", _factor, [
        (0.2 + 0.7 * torch.rand(n, generator=g), 0.3 + 1.5 * torch.rand(n, generator=g), 1 + 8 * torch.rand(n, generator=g))
        for n in (7, 4)
    ], [
        (lambda a, s, g2: g2 * a**2 / s**2, "the error of the noise has been turned into that of the data, but the score is not the noise: one more division by the noise's variance is missing."),
        (lambda a, s, g2: g2 / s**2, "this is the factor of the squared error of the noise; turn that into the error of the data."),
        (lambda a, s, g2: a**2 / s**4, "this is the plain squared error of the score; the likelihood weighting is missing."),
        (lambda a, s, g2: a**2 / s**2, "this is the weighting called simple, the signal-to-noise ratio; the likelihood weighting is asked for."),
        (lambda a, s, g2: g2 * a / s**2, "the factor of the error itself is there, not that of its square: a square root too many."),
        (lambda a, s, g2: g2.sqrt() * a / s**2, "this is the factor of the error, not of its square: there is a square root too many."),
        (lambda a, s, g2: g2**2 * a**2 / s**4, "the squared diffusion is squared again: the argument is a square already."),
        (lambda a, s, g2: g2.sqrt() * a**2 / s**4, "the weighting is the squared diffusion; the argument is a square already, take no root of it."),
        (lambda a, s, g2: g2 * s**4 / a**2, "the fraction of alpha and sigma stands on its head: near the data, where little noise is left, a small error of the data must weigh much."),
        (lambda a, s, g2: g2 * s**2 / a**2, "this is the inverse of the signal-to-noise ratio: which of the two errors is larger when little noise is left?"),
        (lambda a, s, g2: g2 / 2 * a**2 / s**4, "this is half of what is asked for: the half stands before the integral in the bound, not in the weighting."),
        (lambda a, s, g2: g2 / s**4, "alpha is missing: an error of the data is faded before it becomes an error of the noise."),
        (lambda a, s, g2: g2 / (a**2 * s**2), "alpha divides where it should multiply, and sigma appears only once as a variance."),
        (lambda a, s, g2: (g2 * a**2 / s**4).mean(), "one number for all times: return the factor of each."),
        (lambda a, s, g2: g2, "this is the weighting alone: turn the error of the score into that of the data."),
        (lambda a, s, g2: g2 * a**2 / s**3, "a power of sigma is missing: the error of the score has two of them, and it is squared."),
        (lambda a, s, g2: g2 * a / s**4, "alpha is not squared, but the error is."),
        (lambda a, s, g2: g2 * a**4 / s**4, "alpha is squared once too often: one division by sigma comes from the score, not from the conversion."),
        (lambda a, s, g2: g2 * a**2, "sigma is missing: the error of the score grows without bound near the data."),
        (lambda a, s, g2: g2 * a**2 / s, "the powers of sigma are not squared, and one is missing."),
        (lambda a, s, g2: g2 * a**2 * s**4, "sigma multiplies where it should divide."),
        (lambda a, s, g2: g2 * s**2 / a**4, "alpha and sigma have changed places."),
        (lambda a, s, g2: g2 * (1 - s**2) / s**4, "this takes alpha from a path that preserves the variance; it is given for itself."),
        (lambda a, s, g2: g2 * a**2 / s**6, "sigma is squared once too often."),
        (lambda a, s, g2: g2 * a / s, "this converts an error of the noise, unsquared, and it is the score's error that is weighted."),
        (lambda a, s, g2: 2 * g2 * a**2 / s**4, "this is twice what is asked for: no half is to be undone in the weighting."),
    ],
)

def _sampler(
    score, path, x, ts, eta, noises, *, pull=_pull, sign=-1, fade=1, loud=lambda n: n, level=0.5, power=0.5, at=(0, 0, 0), last=None,
    which=lambda i: i,
):
    """07-5: the reverse process by Euler-Maruyama. Planted are a half missing at the score and a root missing at the noise.

    pull, sign, fade: of ``_step``. loud, level, power: the noise's factor, the powers of g^2 and of the step's length in it. at:
    the ends of the step at which score, f and g^2 are taken. last: where the steps are cut. which: the noise that a step uses.
    """
    for i, pair in enumerate(list(pairwise(ts))[:last]):
        asked, fading, diffusing = (pair[end] for end in at)
        x = _step(
            x, score(x, asked), path.f(fading), path.g2(diffusing), eta, *pair, noises[which(i)],
            pull=pull, sign=sign, fade=fade, kick=lambda n, g2, h: loud(n) * g2**level * h**power,
        )
    return x

HALF = "without noise the score must have half of the squared diffusion as its factor; yours has all of it."
SPREAD = "the noise of a step must have the step's length as its variance; yours has it as its standard deviation."
DATA = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), stds=torch.tensor([0.3, 0.5]))
g = seeded(75)
formula(
    "07-5", "A reverse sampler with two faults", 3, "it agrees with the library's steps for the same noises.", _sampler, [
        (lambda x, t: DATA.score(x, VP(), t), VP(), draw(g, 6, 2), ts, eta, draw(g, len(ts) - 1, 6, 2))
        for ts, eta in ((grid(VP(), 5)[:-1], 0.5), (grid(VP(), 8)[:-2], 1.0), (grid(VP(), 4)[:-1], 0.0))
    ], [
        ({"pull": lambda n, g2, h: (1 + n**2) * g2, "power": 1}, f"both faults are still there. One: {HALF} Two: {SPREAD}"),
        ({"power": 1}, f"the drift is mended, one fault is left: {SPREAD}"),
        ({"pull": lambda n, g2, h: (1 + n**2) * g2}, f"the noise is mended, one fault is left: {HALF}"),
        ({"pull": lambda n, g2, h: (1 + n**2) / 4 * g2}, "the half stands there twice; without noise the score must have half of the squared diffusion, not a quarter."),
        ({"power": 0}, "the noise no longer depends on the length of the step at all."),
        ({"pull": lambda n, g2, h: (1 + n**2) * g2, "power": 0}, f"the noise no longer depends on the length of the step at all. And {HALF}"),
        ({"pull": lambda n, g2, h: g2}, "the factor of the score is right for noise level 1 only; it must follow the noise level, down to a half without noise."),
        ({"pull": lambda n, g2, h: g2 / 2}, "the factor of the score is right without noise only; more noise needs more pull to balance it."),
        ({"power": 2}, "the length of the step is squared in the noise, where its root is asked for."),
        ({"sign": 1}, "the sign of the score is flipped: the samples run away from the data."),
        ({"sign": 1, "fade": -1}, "the drift has the wrong sign as a whole; the step's length is positive here, and this loop was right about the signs."),
        ({"fade": -1}, "the sign of the fading is flipped: what fades on the way out must grow on the way back."),
        ({"level": 1}, "the noise is multiplied by the squared diffusion; a square root is missing."),
        ({"level": 1, "power": 1}, "the noise is multiplied by a variance, that of the whole step; a square root is missing around it."),
        ({"at": (1, 1, 1)}, "the drift is taken at the time at which the step ends; this method takes it where the step starts."),
        ({"last": -1}, "the last step is not taken: the state must reach the last time."),
        ({"last": 1}, "only the first step is taken; does the `return` stand inside the loop?"),
        ({"which": lambda i: 0}, "every step uses the same noise; each has its own."),
        ({"pull": lambda n, g2, h: (1 + n) / 2 * g2}, "the noise level is not squared in the score's factor."),
        ({"pull": lambda n, g2, h: n**2 * g2}, "without noise the score has dropped out of the drift; half of the squared diffusion must be left."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 2 * g2**0.5}, "the score is multiplied by the diffusion where its square is asked for."),
        ({"at": (1, 0, 0)}, "the score is asked at the time at which the step ends; the state belongs to the other end."),
        ({"at": (0, 1, 0)}, "the fading is taken at the time at which the step ends; this method takes it where the step starts."),
        ({"fade": 0}, "the fading term is missing from the drift."),
        ({"pull": lambda n, g2, h: (1 + n**2) / 2 * g2 / h}, "the push along the score is not multiplied by the length of the step."),
        ({"loud": lambda n: -n}, "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
        ({"loud": lambda n: 1}, "the noise has its full strength whatever the noise level is."),
        ({"loud": lambda n: n**2}, "the noise level is squared where the noise is added; it belongs there to the first power."),
        ({"which": lambda i: -1}, "every step uses the last noise; each has its own."),
        ({"which": lambda i: -1 - i}, "the noises are used in the reverse order."),
        ({"loud": lambda n: 0}, "the noise is missing."),
        ({"level": 0.25, "power": 0.25}, "there is a root too many in the noise."),
    ],
)
