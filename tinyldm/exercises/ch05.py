"""Chapter 05: alpha from betas, the step back, the weight of v, a prediction about the bound, a broken ancestral sampler."""

import math
from itertools import pairwise

import torch

from ..gaussian import GaussianMixture
from ..path import VP, DiscreteVP
from ..runtime import seeded
from ..solvers.grids import grid
from .core import choice, draw, formula, rows

# fmt: off

def _bar(b):
    """The paper's alpha-bar."""
    return (1 - b).cumprod(0)

def _shifted(b):
    return torch.cat([torch.ones(1), _bar(b)[:-1]])

def _alphas(betas):
    """05-1: the root of the running product of 1 - beta."""
    return _bar(betas).sqrt()

ADDED = "fadings one after the other multiply; here they are added up."
formula(
    "05-1", "From betas to alpha", 2, "each entry has been through all the steps up to its own.", _alphas, [
        (torch.linspace(1e-4, 0.02, 50, dtype=torch.float64),),
        (torch.tensor([0.1, 0.3, 0.2, 0.6], dtype=torch.float64),),
    ], [
        (lambda b: (1 - b).cumprod(0), "this is alpha-bar of the paper, the square of the factor of the data; a square root is missing."),
        (lambda b: (1 - b).sqrt(), "this is what a single step leaves of the state; the data has been through all the steps before as well."),
        (lambda b: 1 - b, "this is the paper's alpha without a bar: one step only, and squared."),
        (lambda b: (1 - (1 - b).cumprod(0)).sqrt(), "this is the noise's standard deviation, not the factor of the data."),
        (lambda b: 1 - (1 - b).cumprod(0), "this is the noise's variance, not the factor of the data."),
        (lambda b: b.cumprod(0).sqrt(), "the betas themselves are multiplied; a step keeps what beta leaves of the variance."),
        (lambda b: b.cumprod(0), "the betas themselves are multiplied, and a square root is missing."),
        (lambda b: (1 - b.cumsum(0)).clamp(min=0).sqrt(), "the betas are added up; fadings one after the other multiply."),
        (lambda b: torch.exp(-b.cumsum(0) / 2), "this is the limit of infinitely many small steps; a table has finite ones, so its factors multiply."),
        (lambda b: (1 - b**2).cumprod(0).sqrt(), "beta is already a variance; here it is squared once more."),
        (lambda b: (1 - b).cumprod(0) ** 2, "squared where a square root is asked for."),
        (lambda b: _shifted(b).sqrt(), "the table is shifted by one: its first entry is the state after one step, not the clean data."),
        (_shifted, "the table is shifted by one, and a square root is missing."),
        (lambda b: _bar(b).sqrt().roll(1), "the table is shifted by one: what should stand last has come to the front, and its first entry should be the state after one step."),
        (lambda b: torch.cat([_bar(b)[1:], _bar(b)[-1:]]).sqrt(), "each entry has been through a step too many: the first is the state after one step."),
        (lambda b: torch.cat([torch.ones(1), _bar(b).sqrt()]), "clean data is not in the table: its first entry is the state after one step."),
        (lambda b: torch.cat([torch.ones(1), _bar(b)]), "clean data is not in the table, and a square root is missing."),
        (lambda b: _bar(b)[1:].sqrt(), "the state after the first step is missing."),
        (lambda b: (1 + b).cumprod(0).sqrt(), "the sign of beta is flipped: a step keeps less than all of the state."),
        (lambda b: (1 + b).cumprod(0), "the sign of beta is flipped, and a square root is missing."),
        (lambda b: (1 - b).cumsum(0).sqrt(), ADDED),
        (lambda b: (1 - b).sqrt().cumsum(0), ADDED),
        (lambda b: (1 - b).cumsum(0), ADDED),
        (lambda b: 1 - b.cumsum(0), "the betas are added up, and a square root is missing; fadings one after the other multiply."),
        (lambda b: 1 - b.cumprod(0), "the product is taken over the betas; each step keeps its own part first, and these parts multiply."),
        (lambda b: (1 - b.cumprod(0)).sqrt(), "the product is taken over the betas; each step keeps its own part first, and these parts multiply. (The root is right.)"),
        (lambda b: torch.exp(-b.cumsum(0)), "this is alpha-bar in the limit of infinitely many small steps; a table has finite ones, and a square root is missing."),
        (lambda b: (1 - b.sqrt()).cumprod(0), "the root is taken of beta alone; it belongs over what beta leaves of the variance."),
        (lambda b: (1 - b / 2).cumprod(0), "this is the root to first order, which is close for small betas only."),
        (lambda b: _bar(b) / (1 - _bar(b)), "this is the signal-to-noise ratio, not the factor of the data."),
        (lambda b: (_bar(b) / (1 - _bar(b))).sqrt(), "this is the ratio of data to noise, not the factor of the data."),
        (lambda b: _bar(b).log() / 2, "this is the logarithm of what is asked for."),
        (lambda b: _bar(b).log(), "this is the logarithm of alpha-bar; undo it, and mind the square root."),
        (lambda b: _bar(b).sqrt().flip(0), "the right numbers in reverse: the first entry is the cleanest."),
        (lambda b: (1 - b**2).sqrt(), "this is one step only, and beta, a variance already, is squared."),
        (lambda b: b.sqrt(), "this is the strength of a step's fresh noise, not what is left of the data."),
        (lambda b: b.cumsum(0), "the betas are added up: this is about the noise, and only to first order."),
        (lambda b: 1 - _bar(b).sqrt(), "this is what is lost of the data, not what is left."),
        (lambda b: (1 - b).prod().sqrt(), "this is the last entry alone; the table has one for each step."),
        (lambda b: (1 - b).prod(), "this is the last entry alone, and squared; the table has one for each step."),
        (lambda b: (1 - b).prod().sqrt().expand_as(b), "this is the value at the last entry everywhere; each entry has been through the steps up to its own."),
        (lambda b: (1 - b).flip(0).cumprod(0).flip(0).sqrt(), "the product runs from the noisy end; the data starts at the clean one."),
    ],
    tolerance=1e-5,
)

def _ratio(alpha_t, sigma_t, alpha_s, sigma_s):
    """The root of the ratio of the signal-to-noise ratios at the ends of a step: how much the noisy state is trusted."""
    return alpha_t * sigma_s / (alpha_s * sigma_t)

def _mean(
    x, x0, alpha_t, sigma_t, alpha_s, sigma_s, *, power=2, data=lambda w: 1 - w, state=lambda w: w, swapped=False, undo=1, fade=1,
):
    """05-2, 05-5: the mean of q(x_s | x_t, x0), two opinions on the data, faded.

    power: of the ratio. data, state: the weights of the opinions; swapped: they change places. undo: how often the state's own
    fading is undone. fade: at which end of the step the mean is faded, 2: at none.
    """
    trust = _ratio(alpha_t, sigma_t, alpha_s, sigma_s) ** power
    opinions = x0, x / alpha_t**undo
    first, second = opinions[::-1] if swapped else opinions
    return (alpha_t, alpha_s, 1)[fade] * (data(trust) * first + state(trust) * second)

def _std(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, *, last=2, spread=1, root=0.5, noise_at=1):
    """05-2, 05-5: the standard deviation of q(x_s | x_t, x0).

    last: the power of the ratio. spread, root: those of sigma and of what the ratio leaves. noise_at: the end of the step at
    which sigma is taken.
    """
    return (sigma_t, sigma_s)[noise_at] ** spread * (1 - _ratio(alpha_t, sigma_t, alpha_s, sigma_s) ** last) ** root

# pairs of times on a path that preserves the variance, and on one that does not: the formula knows both
EARLY = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
LATE = EARLY + torch.tensor([0.05, 0.2, 0.3], dtype=torch.float64)

def _ends(t, s):
    """(alpha_t, sigma_t, alpha_s, sigma_s) at two angles."""
    return t.cos(), t.sin(), s.cos(), s.sin()

g = seeded(51)
rows(
    "05-2", "The step back", 3, "and it holds on every path, also where the variance is not preserved.", {
        "mean": (_mean, [
            ({"swapped": True}, "the two opinions have changed places; which of them is trusted when the step is short?"),
            ({"fade": 2}, "the state is not faded to the time at which it arrives."),
            ({"undo": 0}, "the noisy state is not an opinion on the data before its own fading is undone."),
            ({"data": lambda w: 1, "state": lambda w: 0}, "it forgets the noisy state."),
            ({"power": 1}, "this is the deterministic step of DDIM, which keeps all of the old noise: its weights use the root of the ratio of the signal-to-noise ratios."),
            ({"fade": 0}, "it is faded as at the time the step starts from."),
            ({"data": lambda w: w - 1}, "the sign of the data's part is flipped."),
            ({"power": -2}, "the ratio of the signal-to-noise ratios stands on its head."),
            ({"undo": -1}, "the fading of the noisy state is done once more where it should be undone."),
            ({"state": lambda w: -w}, "the sign of the noisy state's part is flipped."),
            ({"data": lambda w: 1}, "the weights of the two opinions must add up to 1; that of the data is too large."),
            ({"state": lambda w: 1}, "the weights of the two opinions must add up to 1; that of the noisy state is too large."),
            (lambda x, x0, at, *z: _mean(x, x0, at, *z) / at, "the fading of the noisy state is undone for the data as well."),
            (lambda x, x0, *z: _mean(x0, x, *z), "the noisy state and the data have changed places."),
            ({"data": lambda w: 0, "state": lambda w: 1}, "it forgets the data: this only undoes the fading of the step."),
            (lambda x, x0, at, st, a, s: at / a * x, "this is the mean of the forward step; here the later state is given."),
            ({"power": 4}, "the ratio of the signal-to-noise ratios is squared once too often."),
            (lambda x, x0, at, st, a, s: (a * (1 - (at / a) ** 2) * x0 + at / a * (1 - a**2) * x) / (1 - at**2), "this holds where the variance is preserved only; derive it from alpha and sigma."),
        ]),
        "standard deviation": (_std, [
            ({"spread": 2, "root": 1}, "this is the variance; a square root is missing."),
            ({"last": 1}, "the ratio of the signal-to-noise ratios is not squared, or rooted once too often."),
            ({"noise_at": 0}, "this is the noise that the forward step adds, the wider of the two usual choices."),
            ({"noise_at": 0, "spread": 2, "root": 1}, "this is the forward step's noise, and its variance at that: a square root is missing too."),
            ({"root": 0}, "this is the spread around the data alone; the noisy state tells something too and narrows it."),
            ({"root": 1}, "the shrinking factor belongs to the variance; a square root is missing on it."),
            (lambda x, x0, at, st, a, s: (1 - at**2 / a**2).sqrt(), "this is the root of a beta of the forward chain, right only where the variance is preserved, and even there too wide."),
            (lambda x, x0, at, st, a, s: s * (1 - at**2 / a**2).clamp(min=0).sqrt() / st, "this holds where the variance is preserved only; here data and noise need not add up to 1."),
            (lambda x, x0, at, st, a, s: s * _ratio(at, st, a, s), "this is what DDIM keeps of the old noise; what a step draws afresh is asked for."),
            ({"spread": 0}, "the noise of the time at which the step arrives is missing as a factor."),
            (lambda x, x0, at, st, a, s: s * (1 + _ratio(at, st, a, s) ** 2).sqrt(), "a sign under the root is flipped: the noisy state narrows the spread."),
            ({"spread": 0.5}, "sigma stands under the root and must be squared there."),
            ({"last": 4}, "the ratio of the signal-to-noise ratios is squared once too often."),
            ({"noise_at": 0, "root": 0}, "this is all of the noise at the time from which the step starts."),
            (lambda x, x0, at, st, a, s: (st**2 - s**2).sqrt(), "the noise that is there at the earlier time fades on the way, which is forgotten here; and the two opinions narrow it further."),
            (lambda x, x0, at, st, a, s: ((1 - (at / a) ** 2) * (1 - a**2) / (1 - at**2)).clamp(min=0).sqrt(), "this holds where the variance is preserved only; derive it from alpha and sigma."),
        ]),
    },
    [(*draw(g, 2, 3), *ends) for ends in (_ends(LATE * math.pi / 2, EARLY * math.pi / 2), (1 - LATE, LATE, 1 - EARLY, EARLY))], [
        ({"mean": _std, "standard deviation": _mean}, "mean and standard deviation have changed places."),
        (_mean, "only the mean is returned; stack it with the standard deviation."),
        (_std, "only the standard deviation is returned; stack it with the mean, the mean first."),
    ],
)

def _snr(a, s):
    return (a / s) ** 2

def _noise(at, st, a, s):
    """The weight of the noise's error."""
    return (_snr(a, s) / _snr(at, st) - 1) / 2

def _v_weight(alpha_t, sigma_t, alpha_s, sigma_s):
    """05-3: the weight of |v - v_hat|^2 in a step's divergence on a variance-preserving path."""
    return alpha_t**2 * _noise(alpha_t, sigma_t, alpha_s, sigma_s)

ANGLE = torch.tensor([0.2, 0.9, 1.3], dtype=torch.float64)
formula(
    "05-3", "The weight of v", 2, "at the noisy end the bound asks less of v than of the noise.", _v_weight, [
        _ends(LATE * math.pi / 2, EARLY * math.pi / 2), _ends(ANGLE, ANGLE - torch.tensor([0.1, 0.3, 0.02], dtype=torch.float64)),
    ], [
        (_noise, "this is the weight of the noise's error; the error of v is a multiple of it that depends on the time."),
        (lambda at, st, a, s: (_snr(a, s) - _snr(at, st)) / 2, "this is the weight of the data's error; the error of v is a multiple of it that depends on the time."),
        (lambda at, st, a, s: _noise(at, st, a, s) / at**2, "the factor between the errors of v and of the noise stands on its head: near the noisy end, which of them is larger?"),
        (lambda at, st, a, s: at * _noise(at, st, a, s), "the factor between the two errors is not squared, but the errors are."),
        (lambda at, st, a, s: _noise(at, st, a, s) / at, "the factor between the two errors stands on its head, and it is not squared."),
        (lambda at, st, a, s: a**2 * _noise(at, st, a, s), "the network is asked at the time the step starts from; the conversion is taken at the other end."),
        (lambda at, st, a, s: st**2 * _noise(at, st, a, s), "this converts between v and the data's error, but starts from the weight of the noise's error."),
        (lambda at, st, a, s: at**2 * (_snr(a, s) - _snr(at, st)) / 2, "this converts between v and the noise's error, but starts from the weight of the data's error."),
        (lambda at, st, a, s: 2 * at**2 * _noise(at, st, a, s), "the half of the Gaussian's exponent is missing."),
        (lambda at, st, a, s: at**2 * (1 - _snr(at, st) / _snr(a, s)) / 2, "the two times have changed places in the ratio of the signal-to-noise ratios, and the sign with them."),
        (lambda at, st, a, s: at**2 * (_snr(at, st) / _snr(a, s) - 1) / 2, "the two times have changed places in the ratio of the signal-to-noise ratios."),
        (lambda at, st, a, s: at**2 * (_snr(a, s) / _snr(at, st)).log() / 2, "this is the weight in the limit of short steps; this step has a finite length."),
        (lambda at, st, a, s: at**2 * (_snr(a, s) / _snr(at, st)).log(), "the ratio is subtracted from 1 in the divergence; its logarithm is right for short steps only, and a half is missing."),
        (lambda at, st, a, s: (_snr(a, s) - _snr(at, st)) / 2 / st**2, "the factor between the errors of v and of the data stands on its head: at the clean end, which of them is larger?"),
        (lambda at, st, a, s: (_snr(a, s) - _snr(at, st)) / 2 * s**2, "the network is asked at the time the step starts from; the conversion from the data's error is taken at the other end."),
        (lambda at, st, a, s: (_snr(a, s) - _snr(at, st)) / 2 * st, "the factor between the errors of v and of the data is not squared, but the errors are."),
        (lambda at, st, a, s: _noise(at, st, a, s) / st**2, "this divides by the factor that belongs to the data's error, but starts from the weight of the noise's error."),
        (lambda at, st, a, s: at**2 * _snr(a, s) / _snr(at, st) - 1 / 2, "the 1 and the half belong inside one bracket, which the conversion multiplies."),
        (lambda at, st, a, s: at**2 * ((a / at) ** 2 - 1) / 2, "sigma is missing from the signal-to-noise ratios."),
        (lambda at, st, a, s: at**2 * ((a * s / (at * st)) ** 2 - 1) / 2, "in the signal-to-noise ratios sigma multiplies where it should divide."),
        (lambda at, st, a, s: at**2 * _snr(a, s) / _snr(at, st) / 2, "a step of no length must cost nothing; something is left to subtract."),
        (lambda at, st, a, s: at**2 * (_snr(a, s).sqrt() / _snr(at, st).sqrt() - 1) / 2, "the signal-to-noise ratio is a ratio of powers; these are amplitudes."),
    ],
)

choice(
    "05-4", "Twice as many steps", 1, "a sum that approaches its integral at first order.", "c", {
        "a": "the sum has a limit, the integral; if every weight stayed as it is, twice as many terms would double it.",
        "b": "the weights do halve, nearly; but the sum stays above the integral by something of second order in each of the steps, and how many of those are there?",
        "d": "the weights belong to the steps, not to the entries: a step that is half as long gains half as much.",
    },
)

def _ancestral(
    predict, path, x, ts, noises, *, power=2, last=2, spread=1, noise_at=1, root=0.5, sign=1, fade=1, undo=1, swapped=False, look=0,
    shared=False, late=False,
):
    """05-5: ancestral sampling. Planted are the ratio unsquared in the mean and a variance for a standard deviation.

    power, fade, undo, swapped: of ``_mean``; last, spread, root, noise_at: of ``_std``. sign: of the noise. look: the end of the
    step at which the network is asked. shared, late: every step has the first noise, or they come in reverse.
    """
    for i, (t, s) in enumerate(pairwise(ts)):
        step = x, predict(x, (t, s)[look]).x0, path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
        mean = _mean(*step, power=power, fade=fade, undo=undo, swapped=swapped)
        std = _std(*step, last=last, spread=spread, root=root, noise_at=noise_at)
        x = mean + sign * std * noises[0 if shared else -1 - i if late else i]
    return x

MEAN = "the two opinions in the mean are weighed by the root of the right ratio."
STD = "the noise is multiplied by the variance; a square root is missing."
DATA = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0], [0.7]]), stds=torch.tensor([0.3, 0.5]))
g = seeded(55)
formula(
    "05-5", "An ancestral sampler with two faults", 3, "it draws from the exact Gaussian at every step.", _ancestral, [
        (DATA.predict(path), path, draw(g, 6, 1), grid(path, n)[:-1], draw(g, n - 1, 6, 1))  # end early, where a last step can still be seen
        for path, n in ((VP(), 5), (DiscreteVP.from_betas("linear"), 8))
    ], [
        ({"power": 1, "spread": 2, "root": 1}, f"both faults are still there. One: {MEAN} Two: {STD}"),
        ({"spread": 2, "root": 1}, f"the mean is mended, one fault is left: {STD}"),
        ({"power": 1}, f"the noise is mended, one fault is left: {MEAN}"),
        ({"root": 1}, "of the noise's factor, only one of its two parts has got its square root."),
        ({"spread": 2}, "of the noise's factor, sigma is still squared."),
        ({"power": 1, "last": 1}, "neither ratio is squared: it is the ratio of the signal-to-noise ratios that both need."),
        ({"power": 4, "last": 4}, "the ratio is squared once too often, in both places."),
        (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:-1], noises), "the last step is not taken: the state must reach ts[-1]."),
        (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:2], noises), "only the first step is taken; does the `return` stand inside the loop?"),
        (lambda p, path, x, ts, noises: p(_ancestral(p, path, x, ts, noises), ts[-1]).x0, "the loop is right, but the function should return the state at the last time, without a final denoising."),
        (lambda p, path, x, ts, noises: p(_ancestral(p, path, x, ts[:-1], noises), ts[-2]).x0, "this is the predicted data of the last step; return the state."),
        ({"power": 4}, "the ratio in the mean is squared once too often."),
        ({"power": -2}, "the ratio in the mean stands on its head."),
        ({"last": 1}, "the ratio in the noise's factor has lost its square."),
        ({"last": 4}, "the ratio in the noise's factor is squared once too often."),
        ({"spread": 0}, "sigma is missing from the noise's factor."),
        ({"spread": 0.5}, "there is a root too many on sigma."),
        ({"root": 0.25}, "there is a root too many in the noise's factor."),
        ({"root": 0}, "the noise's factor does not know how long the step is."),
        ({"noise_at": 0}, "this adds the forward step's noise; the narrower of the two usual choices is asked for, which belongs to the other end of the step."),
        ({"sign": 0}, "no fresh noise is added."),
        ({"sign": -1}, "the sign of the noise is flipped; in law that is the same, but use the noises as they are given."),
        ({"fade": 0}, "the mean is faded as at the time at which the step starts."),
        ({"fade": 2}, "the mean is not faded to the time at which it arrives."),
        ({"undo": 0}, "the noisy state is no opinion on the data before its own fading is undone."),
        ({"swapped": True}, "the two opinions in the mean have changed places; which of them is trusted when the step is short?"),
        ({"look": 1}, "the network is asked at the time at which the step ends; the state belongs to the other end."),
        ({"shared": True}, "every step uses the same noise; each has its own."),
        ({"late": True}, "the noises are used in the reverse order."),
    ],
)
