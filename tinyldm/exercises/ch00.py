"""Chapter 00: noising, solving for x0, PSNR, a prediction, a broken sampler."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..broadcast import expand
from ..dynamics import Dynamics
from ..guidance import guided
from ..metrics import psnr
from ..path import VP, Path
from ..prediction import Predict, Prediction
from ..runtime import seeded
from ..solvers import ddim, sample
from ..solvers.grids import grid
from .before import Exercise, grade_choice, grade_function, register


def _noise() -> list[dict[str, Any]]:
    """Batches whose height, width and channels differ, so that a wrong broadcast cannot go unseen."""
    g = seeded(1)
    shapes = [(3, 4, 8, 8), (2, 1, 5, 7), (6, 2)]
    return [
        {
            "x0": torch.randn(s, generator=g),
            "eps": torch.randn(s, generator=g),
            "alpha": 0.1 + 0.8 * torch.rand(s[0], generator=g),
        }
        for s in shapes
    ]


def _mix(x0: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return expand(a, x0) * x0 + expand(b, x0) * eps


def grade_noise(answer: Any) -> None:
    """00-1: x_t = alpha x0 + sqrt(1 - alpha^2) eps."""
    grade_function(
        answer,
        lambda x0, eps, alpha: _mix(x0, eps, alpha, (1 - alpha**2).sqrt()),
        _noise(),
        wrong=[
            (lambda x0, eps, a: _mix(x0, eps, a, 1 - a**2), "the noise is multiplied by its variance; a square root is missing."),
            (lambda x0, eps, a: _mix(x0, eps, a**2, 1 - a**2), "both factors are squared: a square root is missing on each."),
            (lambda x0, eps, a: _mix(x0, eps, a.sqrt(), (1 - a).sqrt()), "alpha is the factor of the data itself here, not its square (DDPM's alpha-bar is the square)."),
            (lambda x0, eps, a: _mix(x0, eps, a, (1 - a).sqrt()), "the two variances do not add up to 1: what is the variance of alpha times x0?"),
            (lambda x0, eps, a: _mix(x0, eps, a, 1 - a), "these factors add up to 1; on a variance-preserving path their squares do."),
            (lambda x0, eps, a: _mix(x0, eps, (1 - a**2).sqrt(), a), "data and noise have changed places: alpha near 1 must leave the data almost as it was."),
            (lambda x0, eps, a: _mix(x0, -eps, a, (1 - a**2).sqrt()), "the sign of the noise is flipped."),
            (lambda x0, eps, a: _mix(x0, eps, a, torch.ones_like(a)), "the noise keeps its full strength whatever alpha is; the variance grows instead of staying 1."),
            (lambda x0, eps, a: _mix(x0, eps, torch.ones_like(a), (1 - a**2).sqrt()), "the data is not faded: it is not multiplied by alpha."),
            (lambda x0, eps, a: _mix(x0, eps, a**2, (1 - a**2).sqrt()), "the factor of the data is squared; its square must add up to 1 with the square of the other, not itself."),
            (lambda x0, eps, a: _mix(x0, eps, a, a), "data and noise have the same factor; when one grows the other must shrink."),
            (lambda x0, eps, a: _mix(x0, eps, 1 - a, a), "these factors add up to 1, and alpha stands at the noise; on a variance-preserving path the squares add up to 1, and alpha belongs to the data."),
            (lambda x0, eps, a: _mix(-x0, eps, a, (1 - a**2).sqrt()), "the sign of the data is flipped."),
            (lambda x0, eps, a: _mix(x0, eps, a, torch.zeros_like(a)), "the noise is missing."),
            (lambda x0, eps, a: _mix(x0, eps, torch.zeros_like(a), (1 - a**2).sqrt()), "the data is missing."),
        ],
    )  # fmt: skip


def grade_x0_from_v(answer: Any) -> None:
    """00-2: x0 = alpha x - sigma v on a variance-preserving path."""
    g = seeded(2)
    cases = []
    for shape in [(3, 4, 8, 8), (5, 2)]:
        angle = 0.2 + 1.1 * torch.rand(shape[0], *(1,) * (len(shape) - 1), generator=g)
        cases.append(
            {
                "x": torch.randn(shape, generator=g),
                "v": torch.randn(shape, generator=g),
                "alpha": angle.cos(),
                "sigma": angle.sin(),
            }
        )
    grade_function(
        answer,
        lambda x, v, alpha, sigma: alpha * x - sigma * v,
        cases,
        wrong=[
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
    )  # fmt: skip


def grade_psnr(answer: Any) -> None:
    """00-3: 10 log10(range^2 / mse), one value an image."""
    g = seeded(3)
    cases = []
    for shape in [(4, 1, 8, 8), (3, 3, 6, 10)]:
        x = 2 * torch.rand(shape, generator=g) - 1
        spread = torch.linspace(0.05, 0.4, shape[0]).reshape(-1, 1, 1, 1)
        cases.append({"x": x, "y": (x + spread * torch.randn(shape, generator=g)).clamp(-1, 1)})

    def mse(x: Tensor, y: Tensor) -> Tensor:
        return ((x - y) ** 2).flatten(1).mean(1)

    def decibels(ratio: Tensor, factor: float = 10) -> Tensor:
        return factor * torch.log10(ratio)

    grade_function(
        answer,
        psnr,
        cases,
        wrong=[
            (lambda x, y: decibels(1 / mse(x, y)), "the range is taken as 1, but these images run from -1 to 1."),
            (lambda x, y: decibels(2 / mse(x, y)), "the range is not squared; error and signal must both be powers."),
            (lambda x, y: decibels(16 / mse(x, y)), "the range is taken as 4, or squared twice: these images run from -1 to 1."),
            (lambda x, y: torch.log10(2 / mse(x, y).sqrt()), "the factor of the decibel is missing; for a ratio of amplitudes it is twice that for powers."),
            (lambda x, y: torch.log(4 / mse(x, y)), "the logarithm is the natural one, and the factor of the decibel is missing."),
            (lambda x, y: 10 * torch.log(1 / mse(x, y)), "the logarithm is the natural one, and the range is taken as 1 although these images run from -1 to 1."),
            (lambda x, y: decibels(1 / ((x - y) ** 2).flatten(1).sum(1)), "the squared error is summed over the pixels, and the range is taken as 1 although these images run from -1 to 1."),
            (lambda x, y: decibels((x.flatten(1).amax(1) - x.flatten(1).amin(1)) ** 2 / mse(x, y)), "the range is measured from each picture; it belongs to the format of the pixels and is the same for all."),
            (lambda x, y: decibels(4 / (x - y).flatten(1).var(1)), "this takes the variance of the error, which forgives a wrong brightness; PSNR averages its square."),
            (lambda x, y: decibels(255**2 / mse(x, y)), "the range is taken as 255, but these images run from -1 to 1."),
            (lambda x, y: decibels(4 / mse(x, y), 20), "twice too large: the factor 20 belongs to a ratio of amplitudes, this is a ratio of powers."),
            (lambda x, y: decibels(2 / mse(x, y).sqrt()), "half of what is asked for: this is a ratio of amplitudes with the factor that belongs to powers."),
            (lambda x, y: decibels(4 / mse(x, y).sqrt()), "the error has a square root too many: a root mean square against a squared range."),
            (lambda x, y: decibels(4 / mse(x, y), 1), "the factor of the decibel is missing: these are bels."),
            (lambda x, y: 10 * torch.log(4 / mse(x, y)), "the logarithm is the natural one; decibels use base 10."),
            (lambda x, y: decibels(4 / ((x - y) ** 2).flatten(1).sum(1)), "the squared error is summed over the pixels; it should be a mean, or larger images look worse."),
            (lambda x, y: decibels(4 / (x - y).abs().flatten(1).mean(1)), "this averages absolute errors; PSNR averages squared ones."),
            (lambda x, y: decibels(mse(x, y) / 4), "the fraction stands on its head, so the sign is flipped: a better picture must have a higher PSNR."),
            (lambda x, y: mse(x, y), "this is the mean squared error itself; the ratio and the logarithm are still to come."),
            (lambda x, y: decibels(4 / ((x - y) ** 2).mean()), "one number for the whole batch: every image has a PSNR of its own, so average over all dimensions but the first."),
            (lambda x, y: psnr(x, y).mean(), "one number for the whole batch: return the value of each image."),
        ],
    )  # fmt: skip


def grade_scale(answer: Any) -> None:
    """00-4: what happens when latents of standard deviation 5 go in unscaled."""
    grade_choice(
        answer,
        "b",
        {
            "a": "a network can learn any scale, but the path cannot: the noise has the same strength as before, so what changes is how much of the data is still visible at each time.",
            "c": "the direction is reversed: the data has become larger, and the noise has not. Which of the two drowns?",
            "d": "this holds for a scale that alpha and sigma share; here only the data is multiplied.",
        },
    )


def _posterior(path: Path, mean: float, std: float) -> Predict:
    """The exact prediction for data N(mean, std^2): a network that needs no training."""

    def predict(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        x0 = mean + alpha * std**2 * (x - alpha * mean) / (alpha**2 * std**2 + sigma**2)
        return Prediction(x0, (x - alpha * x0) / sigma)

    return predict


def _loop(
    on: Predict,
    off: Predict,
    scale: float,
    path: Path,
    x: Tensor,
    ts: Tensor,
    *,
    extra: tuple[int, int] = (0, 0),
    fade: int = 1,
    keep: int = 1,
    sign: int = 1,
    power: int = 1,
) -> Tensor:
    """Guided DDIM with every mistake as a dial.

    extra: added to the scale for x0 and for eps. fade, keep: at which end of the step alpha and sigma are taken.
    """
    for pair in pairwise(ts):
        c, u = on(x, pair[0]), off(x, pair[0])
        x0 = u.x0 + sign * (scale + extra[0]) * (c.x0 - u.x0)
        eps = u.eps + sign * (scale + extra[1]) * (c.eps - u.eps)
        x = path.alpha(pair[fade]) * x0 + path.sigma(pair[keep]) ** power * eps
    return x


class _Swapped(VP):
    """A path on which alpha and sigma have changed places."""

    def alpha(self, t: Tensor) -> Tensor:
        return super().sigma(t)

    def sigma(self, t: Tensor) -> Tensor:
        return super().alpha(t)


def _belief(on: Predict, off: Predict, scale: float, path: Path, x: Tensor, ts: Tensor) -> Tensor:
    """The guided x0 of the last step, which a student may return in place of the state."""
    return guided(on, off, scale)(_loop(on, off, scale, path, x, ts[:-1]), ts[-2]).x0


def grade_sampler(answer: Any) -> None:
    """00-5: two planted bugs, sigma at the wrong time and guidance that starts from the wrong prediction."""
    g, path = seeded(5), VP()
    on, off = _posterior(path, 1.0, 0.5), _posterior(path, -0.5, 1.0)
    cases = [
        # the first grid ends early, where a last step can still be seen
        {"on": on, "off": off, "scale": w, "path": path, "x": torch.randn(4, 3, generator=g), "ts": grid(path, n)[:end]}
        for w, n, end in ((1.0, 6, -2), (3.0, 9, None), (0.0, 4, None))
    ]

    def dials(**chosen: Any) -> Any:
        return lambda *arguments: _loop(*arguments, **chosen)

    noise = "the pictures keep their noise: at the end of a step the state should carry the noise of the time it has arrived at."
    strong = "scale 1 must give the conditional prediction and 0 the unconditional one; yours is one unit too strong (w against 1 + w)."
    half = "the guidance is mended in one of the two predictions only; the other one still starts from the conditional one."
    grade_function(
        answer,
        lambda on, off, scale, path, x, ts: sample(Dynamics(path, guided(on, off, scale)), x, ts, ddim, denoise=False),
        cases,
        wrong=[
            (dials(extra=(1, 1), keep=0), f"both faults are still there. One: {noise} Two: look at what scale 0 and scale 1 should give."),
            (dials(keep=0), f"the guidance is mended, one fault is left: {noise}"),
            (dials(extra=(1, 1)), f"the noise is mended, one fault is left: {strong}"),
            (dials(extra=(0, 1)), half),
            (dials(extra=(1, 0)), half),
            (dials(extra=(0, 1), keep=0), f"{half} And {noise}"),
            (dials(extra=(1, 0), keep=0), f"{half} And {noise}"),
            (dials(sign=-1), "the sign of the guidance is flipped: it moves away from the condition."),
            (dials(fade=0), "the noise arrives at the new time, but the data is faded as at the old one."),
            (dials(fade=0, keep=0), "a step leaves the state where it was: what is predicted and what is put together belong to one time."),
            (dials(power=2), "the noise is multiplied by its variance; a square root is missing."),
            (lambda on, off, scale, path, x, ts: _loop(on, off, scale, _Swapped(), x, ts), "alpha and sigma have changed places: which belongs to the data?"),
            (lambda on, off, scale, path, x, ts: _loop(off, on, scale, path, x, ts), "conditional and unconditional have changed places: scale 0 must be the unconditional one."),
            (lambda on, off, scale, path, x, ts: _loop(on, off, scale, path, x, ts.flip(0)), "the loop runs backwards, from data to noise; the times in ts already fall."),
            (lambda on, off, scale, path, x, ts: _loop(on, off, scale, path, x, ts[:2]), "only the first step is taken; does the `return` stand inside the loop?"),
            (lambda on, off, scale, path, x, ts: _loop(on, off, scale, path, x, ts[:-1]), "the last step is not taken: the state must reach ts[-1]."),
            (_belief, "this is the predicted data of the last step; the state at the last time is asked for."),
            (lambda on, off, scale, path, x, ts: sample(Dynamics(path, guided(on, off, scale)), x, ts, ddim), "the loop is right, but the function should return the state at the last time, without a final denoising."),
        ],
    )  # fmt: skip


for _exercise in (
    Exercise("00-1", "Noise a latent", 2, grade_noise, "the variance stays 1 whatever alpha is."),
    Exercise(
        "00-2", "From v back to the data", 2, grade_x0_from_v, "it undoes the rotation that took (x0, eps) to (x, v)."
    ),
    Exercise(
        "00-3",
        "Peak signal-to-noise ratio",
        2,
        grade_psnr,
        "one value an image, and 6.02 dB more when the error halves.",
    ),
    Exercise(
        "00-4",
        "The forgotten scale",
        1,
        grade_scale,
        "the signal-to-noise ratio is 25 times what the path intends, at every time.",
    ),
    Exercise(
        "00-5",
        "A sampler with two faults",
        3,
        grade_sampler,
        "it agrees with the library's solver on every grid and scale.",
    ),
):
    register(_exercise)
