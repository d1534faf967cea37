"""Chapter 00: noising, solving for x0, PSNR, a prediction, a broken sampler."""

from itertools import pairwise

import torch

from ..broadcast import expand
from ..gaussian import GaussianMixture
from ..guidance import guided
from ..path import VP
from ..runtime import seeded
from ..solvers.grids import grid
from .core import choice, formula

# fmt: off

def _noised(x0, eps, alpha, *, data=lambda a: a, noise=lambda a: (1 - a**2).sqrt()):
    """00-1: x_t = alpha x0 + sqrt(1 - alpha^2) eps; data, noise: the two factors, from alpha."""
    return expand(data(alpha), x0) * x0 + expand(noise(alpha), x0) * eps

g = seeded(1)
formula(
    "00-1", "Noise a latent", 2, "the variance stays 1 whatever alpha is.", _noised, [
        # height, width and channels differ, so that a wrong broadcast cannot go unseen
        (torch.randn(s, generator=g), torch.randn(s, generator=g), 0.1 + 0.8 * torch.rand(s[0], generator=g))
        for s in ((3, 4, 8, 8), (2, 1, 5, 7), (6, 2))
    ], [
        ({"noise": lambda a: 1 - a**2}, "the noise is multiplied by its variance; a square root is missing."),
        ({"data": torch.square, "noise": lambda a: 1 - a**2}, "both factors are squared: a square root is missing on each."),
        ({"data": torch.sqrt, "noise": lambda a: (1 - a).sqrt()}, "alpha is the factor of the data itself here, not its square (DDPM's alpha-bar is the square)."),
        ({"noise": lambda a: (1 - a).sqrt()}, "the two variances do not add up to 1: what is the variance of alpha times x0?"),
        ({"data": lambda a: a, "noise": lambda a: 1 - a}, "these factors add up to 1; on a variance-preserving path their squares do."),
        ({"data": lambda a: (1 - a**2).sqrt(), "noise": lambda a: a}, "data and noise have changed places: alpha near 1 must leave the data almost as it was."),
        ({"noise": lambda a: -(1 - a**2).sqrt()}, "the sign of the noise is flipped."),
        ({"noise": torch.ones_like}, "the noise keeps its full strength whatever alpha is; the variance grows instead of staying 1."),
        ({"data": torch.ones_like}, "the data is not faded: it is not multiplied by alpha."),
        ({"data": torch.square}, "the factor of the data is squared; its square must add up to 1 with the square of the other, not itself."),
        ({"data": lambda a: a, "noise": lambda a: a}, "data and noise have the same factor; when one grows the other must shrink."),
        ({"data": lambda a: 1 - a, "noise": lambda a: a}, "these factors add up to 1, and alpha stands at the noise; on a variance-preserving path the squares add up to 1, and alpha belongs to the data."),
        ({"data": torch.neg}, "the sign of the data is flipped."),
        ({"noise": torch.zeros_like}, "the noise is missing."),
        ({"data": torch.zeros_like}, "the data is missing."),
    ],
)

def _data(x, v, alpha, sigma):
    """00-2: x0 from v on a variance-preserving path."""
    return alpha * x - sigma * v

g = seeded(2)
formula(
    "00-2", "From v back to the data", 2, "it undoes the rotation that took (x0, eps) to (x, v).", _data, [
        (torch.randn(shape, generator=g), torch.randn(shape, generator=g), angle.cos(), angle.sin())
        for shape in ((3, 4, 8, 8), (5, 2))
        for angle in [0.2 + 1.1 * torch.rand(shape[0], *(1,) * (len(shape) - 1), generator=g)]
    ], [
        (lambda x, v, a, s: a * x + s * v, "the sign of the v term is flipped; substitute the definitions of x and v and see what the x0 terms add up to."),
        (lambda x, v, a, s: s * v - a * x, "the sign is flipped: this is minus the data."),
        (lambda x, v, a, s: s * x + a * v, "this is the noise, not the data: you eliminated x0 instead of eps."),
        (lambda x, v, a, s: a * v - s * x, "x and v have changed places."),
        (lambda x, v, a, s: s * x - a * v, "alpha and sigma have changed places."),
        (lambda x, v, a, s: (x - s * v) / a, "this treats v as if it were the noise; v also contains a part of the data."),
        (lambda x, v, a, s: a**2 * x - s**2 * v, "both factors are squared; a root is missing, or you multiplied once too often."),
        (lambda x, v, a, s: x - s * v, "the factor of x is missing."),
        (lambda x, v, a, s: a * (a * x - s * v), "multiplied once too often by alpha."),
        (lambda x, v, a, s: s * (a * x - s * v), "multiplied once too often by sigma."),
        (lambda x, v, a, s: (a * x - s * v) / a, "divided by alpha once too often."),
        (lambda x, v, a, s: (a * x - s * v) / (a**2 - s**2), "a sign in the determinant is flipped: on this path it comes out as the sum of two squares."),
        (lambda x, v, a, s: a * x - v, "the factor of v is missing."),
        (lambda x, v, a, s: (a * x - s * v) / (a - s), "the determinant is wrong: on this path it comes out as the sum of two squares."),
    ],
)

def _psnr(x, y, *, signal=4.0, factor=10.0, log=torch.log10, error=lambda e: e.square().mean(1)):
    """00-3: one value an image. signal: the power of the range. factor: of the logarithm. error: from the differences."""
    return factor * log(signal / error((x - y).flatten(1)))

def _rms(e):
    return e.square().mean(1).sqrt()

g = seeded(3)
formula(
    "00-3", "Peak signal-to-noise ratio", 2, "one value an image, and 6.02 dB more when the error halves.", _psnr, [
        (x, (x + spread * torch.randn(shape, generator=g)).clamp(-1, 1))
        for shape in ((4, 1, 8, 8), (3, 3, 6, 10))
        for x in [2 * torch.rand(shape, generator=g) - 1]
        for spread in [torch.linspace(0.05, 0.4, shape[0]).reshape(-1, 1, 1, 1)]
    ], [
        ({"signal": 1}, "the range is taken as 1, but these images run from -1 to 1."),
        ({"signal": 2}, "the range is not squared; error and signal must both be powers."),
        ({"signal": 16}, "the range is taken as 4, or squared twice: these images run from -1 to 1."),
        ({"signal": 2, "error": _rms, "factor": 1}, "the factor of the decibel is missing; for a ratio of amplitudes it is twice that for powers."),
        ({"log": torch.log, "factor": 1}, "the logarithm is the natural one, and the factor of the decibel is missing."),
        ({"log": torch.log, "signal": 1}, "the logarithm is the natural one, and the range is taken as 1 although these images run from -1 to 1."),
        ({"signal": 1, "error": lambda e: e.square().sum(1)}, "the squared error is summed over the pixels, and the range is taken as 1 although these images run from -1 to 1."),
        (lambda x, y: _psnr(x, y, signal=(x.flatten(1).amax(1) - x.flatten(1).amin(1)) ** 2), "the range is measured from each picture; it belongs to the format of the pixels and is the same for all."),
        ({"error": lambda e: e.var(1)}, "this takes the variance of the error, which forgives a wrong brightness; PSNR averages its square."),
        ({"signal": 255**2}, "the range is taken as 255, but these images run from -1 to 1."),
        ({"factor": 20}, "twice too large: the factor 20 belongs to a ratio of amplitudes, this is a ratio of powers."),
        ({"signal": 2, "error": _rms}, "half of what is asked for: this is a ratio of amplitudes with the factor that belongs to powers."),
        ({"error": _rms}, "the error has a square root too many: a root mean square against a squared range."),
        ({"factor": 1}, "the factor of the decibel is missing: these are bels."),
        ({"log": torch.log}, "the logarithm is the natural one; decibels use base 10."),
        ({"error": lambda e: e.square().sum(1)}, "the squared error is summed over the pixels; it should be a mean, or larger images look worse."),
        ({"error": lambda e: e.abs().mean(1)}, "this averages absolute errors; PSNR averages squared ones."),
        (lambda x, y: -_psnr(x, y), "the fraction stands on its head, so the sign is flipped: a better picture must have a higher PSNR."),
        (lambda x, y: _rms((x - y).flatten(1)) ** 2, "this is the mean squared error itself; the ratio and the logarithm are still to come."),
        ({"error": lambda e: e.square().mean()}, "one number for the whole batch: every image has a PSNR of its own, so average over all dimensions but the first."),
        (lambda x, y: _psnr(x, y).mean(), "one number for the whole batch: return the value of each image."),
    ],
)

choice(
    "00-4", "The forgotten scale", 1, "the signal-to-noise ratio is 25 times what the path intends, at every time.", "b", {
        "a": "a network can learn any scale, but the path cannot: the noise has the same strength as before, so what changes is how much of the data is still visible at each time.",
        "c": "the direction is reversed: the data has become larger, and the noise has not. Which of the two drowns?",
        "d": "this holds for a scale that alpha and sigma share; here only the data is multiplied.",
    },
)

def _sampled(
    on, off, scale, path, x, ts, *, extra=(0, 0), sign=1, stop=None,
    fade=lambda p, t, s: p.alpha(s), keep=lambda p, t, s: p.sigma(s),
):
    """00-5: guided DDIM. Planted are a unit too much of guidance and sigma at the wrong end of the step.

    extra: added to the scale for x0 and for eps. sign: of the guidance. stop: where the times are cut. fade, keep: the factors
    of the data and of the noise.
    """
    for t, s in pairwise(ts[:stop]):
        c, u = on(x, t), off(x, t)
        x0 = u.x0 + sign * (scale + extra[0]) * (c.x0 - u.x0)
        eps = u.eps + sign * (scale + extra[1]) * (c.eps - u.eps)
        x = fade(path, t, s) * x0 + keep(path, t, s) * eps
    return x

def _old_alpha(path, t, s):
    return path.alpha(t)

def _old_sigma(path, t, s):
    return path.sigma(t)

def _network(mean, std):
    """The exact prediction for data N(mean, std^2): a network that needs no training."""
    return GaussianMixture(torch.ones(1), torch.full((1, 3), mean), stds=torch.tensor([std])).predict(VP())

NOISE = "the pictures keep their noise: at the end of a step the state should carry the noise of the time it has arrived at."
STRONG = "scale 1 must give the conditional prediction and 0 the unconditional one; yours is one unit too strong (w against 1 + w)."
HALF = "the guidance is mended in one of the two predictions only; the other one still starts from the conditional one."
g = seeded(5)
formula(
    "00-5", "A sampler with two faults", 3, "it agrees with the library's solver on every grid and scale.", _sampled, [
        # the first grid ends early, where a last step can still be seen
        (_network(1.0, 0.5), _network(-0.5, 1.0), w, VP(), torch.randn(4, 3, generator=g), grid(VP(), n)[:end])
        for w, n, end in ((1.0, 6, -2), (3.0, 9, None), (0.0, 4, None))
    ], [
        ({"extra": (1, 1), "keep": _old_sigma}, f"both faults are still there. One: {NOISE} Two: look at what scale 0 and scale 1 should give."),
        ({"keep": _old_sigma}, f"the guidance is mended, one fault is left: {NOISE}"),
        ({"extra": (1, 1)}, f"the noise is mended, one fault is left: {STRONG}"),
        ({"extra": (0, 1)}, HALF),
        ({"extra": (1, 0)}, HALF),
        ({"extra": (0, 1), "keep": _old_sigma}, f"{HALF} And {NOISE}"),
        ({"extra": (1, 0), "keep": _old_sigma}, f"{HALF} And {NOISE}"),
        ({"sign": -1}, "the sign of the guidance is flipped: it moves away from the condition."),
        ({"fade": _old_alpha}, "the noise arrives at the new time, but the data is faded as at the old one."),
        ({"fade": _old_alpha, "keep": _old_sigma}, "a step leaves the state where it was: what is predicted and what is put together belong to one time."),
        ({"keep": lambda p, t, s: p.sigma(s) ** 2}, "the noise is multiplied by its variance; a square root is missing."),
        ({"fade": lambda p, t, s: p.sigma(s), "keep": lambda p, t, s: p.alpha(s)}, "alpha and sigma have changed places: which belongs to the data?"),
        (lambda on, off, scale, path, x, ts: _sampled(off, on, scale, path, x, ts), "conditional and unconditional have changed places: scale 0 must be the unconditional one."),
        (lambda on, off, scale, path, x, ts: _sampled(on, off, scale, path, x, ts.flip(0)), "the loop runs backwards, from data to noise; the times in ts already fall."),
        ({"stop": 2}, "only the first step is taken; does the `return` stand inside the loop?"),
        ({"stop": -1}, "the last step is not taken: the state must reach ts[-1]."),
        (lambda on, off, scale, path, x, ts: guided(on, off, scale)(_sampled(on, off, scale, path, x, ts[:-1]), ts[-2]).x0, "this is the predicted data of the last step; the state at the last time is asked for."),
        (lambda on, off, scale, path, x, ts: guided(on, off, scale)(_sampled(on, off, scale, path, x, ts), ts[-1]).x0, "the loop is right, but the function should return the state at the last time, without a final denoising."),
    ],
)
