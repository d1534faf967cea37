"""Leading a denoiser: away from what it would predict without the condition, past what it predicts with it.

Everything here makes a ``Predict`` of one or two others, so that no solver knows of guidance. A negative prompt is another
condition in place of none; autoguidance is a weaker network in place of the same one: both are ``guided``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .broadcast import expand, mix, rows
from .denoiser import Denoiser
from .errors import choose, expect
from .nn import Condition
from .path import Path
from .prediction import Predict, Prediction, resolve

Pair = Callable[[Tensor, Tensor], tuple[Prediction, Prediction]]  # with the condition, and without
Form = Callable[[Path, Tensor, Tensor, Prediction, Prediction, float], Prediction]
CONVENTIONS: dict[str, Callable[[float], float]] = {  # to our scale, in which 0 is unconditional and 1 conditional
    "scale": lambda s: s,  # off + s (on - off): Imagen, Stable Diffusion, diffusers' guidance_scale
    "weight": lambda w: 1 + w,  # (1 + w) on - w off: Ho and Salimans (2022), equation 6
}


def guided(conditional: Predict, unconditional: Predict, scale: float, convention: str = "scale") -> Predict:
    """Extrapolate from the unconditional prediction through the conditional one. Implements :eq:`cfg`.

    scale: 0 is unconditional, 1 conditional, above 1 exaggerates what the condition changes; with the convention "weight"
    it is the w of Ho and Salimans (2022), equation 6, which is less by one: -1 is unconditional, 0 conditional.
    Raises ``ValueError`` for a scale that is not a number, one on the far side of the unconditional, or another convention.
    """
    scale = choose("convention", convention, CONVENTIONS)(scale)
    expect(scale >= 0, "scale", scale, "a number >= 0 (0 = unconditional, 1 = conditional)")
    if scale in (0, 1):  # one of the two terms vanishes: do not compute it
        return conditional if scale == 1 else unconditional

    def predict(x: Tensor, t: Tensor) -> Prediction:
        return _led(conditional(x, t), unconditional(x, t), scale)

    return predict


def _led(on: Prediction, off: Prediction, scale: float) -> Prediction:
    return Prediction(torch.lerp(off.x0, on.x0, scale), torch.lerp(off.eps, on.eps, scale))


def plain(path: Path, x: Tensor, t: Tensor, on: Prediction, off: Prediction, scale: float) -> Prediction:
    """Classifier-free guidance as it is, see ``guided``."""
    return _led(on, off, scale)


def rescaled(path: Path, x: Tensor, t: Tensor, on: Prediction, off: Prediction, scale: float, share: float = 0.7) -> Prediction:
    """Guidance whose clean picture gets back, by a ``share``, the spread that the conditional one has: less saturated.

    Implements :eq:`cfg-rescale`. Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed (2023),
    equations 14 to 16, who rescale the network's output where we rescale the clean picture.
    """
    led = _led(on, off, scale).x0
    expect(led[0].numel() > 1, "x", f"shape {tuple(x.shape)}", "more than one entry a sample, or there is no spread")
    ratio = rows(on.x0).std(1) / rows(led).std(1)
    return resolve("x0", path, x, t, expand(1 + share * (ratio - 1), led) * led)


def projected(path: Path, x: Tensor, t: Tensor, on: Prediction, off: Prediction, scale: float, along: float = 0.0) -> Prediction:
    """Guidance of whose push the part along the clean picture, which mostly adds contrast, counts only ``along`` as much.

    Implements :eq:`cfg-projected`. Source: Sadat et al., Eliminating Oversaturation and Artifacts of High Guidance Scales
    (2024), section 4.
    """
    push = rows(on.x0 - off.x0)
    clean = torch.nn.functional.normalize(rows(on.x0), dim=1)
    inline = (push * clean).sum(1, keepdim=True) * clean
    x0 = on.x0 + (scale - 1) * (push + (along - 1) * inline).reshape(x.shape)
    return resolve("x0", path, x, t, x0)


def zero_star(path: Path, x: Tensor, t: Tensor, on: Prediction, off: Prediction, scale: float) -> Prediction:
    """Guidance away from the unconditional velocity times s*, the factor that brings it nearest to the conditional one.

    Implements :eq:`cfg-zero-star`. Source: Fan et al., CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models
    (2025), section 3.
    """
    moment = path.at(t)
    toward, away = (mix(moment.d_alpha, p.x0, moment.d_sigma, p.eps) for p in (on, off))
    best = (rows(toward) * rows(away)).sum(1) / rows(away).square().sum(1)
    return resolve("flow", path, x, t, torch.lerp(expand(best, away) * away, toward, scale))


FORMS: dict[str, Form] = {"plain": plain, "rescaled": rescaled, "projected": projected, "zero_star": zero_star}


@dataclass(frozen=True)
class Guidance:
    """How to lead: how far, when, and in which form.

    scale: as in ``guided``. interval: the times (low, high) at which the denoiser is led; at all others it is only told the
    condition, at half the cost. form: a name of ``FORMS``, or a function like those there.
    Raises ``ValueError`` for a negative scale, an interval outside 0 <= low <= high <= 1, another name.
    Source of the interval: Kynkäänniemi et al., Applying Guidance in a Limited Interval (2024).
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    form: str | Form = "plain"

    def __post_init__(self) -> None:
        expect(self.scale >= 0, "scale", self.scale, "a number >= 0 (0 = unconditional, 1 = conditional)")
        low, high = self.interval
        expect(0 <= low <= high <= 1, "interval", self.interval, "two times with 0 <= low <= high <= 1")
        if not callable(self.form):
            choose("form", self.form, FORMS)

    def lead(self, path: Path, conditional: Predict, unconditional: Predict, pair: Pair | None = None) -> Predict:
        """The led prediction. pair: how both are asked, see ``apart`` (what happens if nothing is said) and ``together``."""
        if self.form == "plain" and self.interval == (0, 1) and pair is None:
            return guided(conditional, unconditional, self.scale)  # which asks one of them only where the other has no say
        if self.scale == 1:
            return conditional
        ask = pair or apart(conditional, unconditional)
        form = self.form if callable(self.form) else FORMS[self.form]
        low, high = self.interval

        def predict(x: Tensor, t: Tensor) -> Prediction:
            if not low <= float(torch.as_tensor(t).max()) <= high:
                return conditional(x, t)
            return form(path, x, t, *ask(x, t), self.scale)

        return predict


def apart(conditional: Predict, unconditional: Predict) -> Pair:
    """Both predictions by two calls."""
    return lambda x, t: (conditional(x, t), unconditional(x, t))


def together(denoiser: Denoiser, on: Condition, off: Condition) -> Pair:
    """Both predictions by one call of twice the batch.

    on, off: of the batch of x, or of 1. Raises ``ValueError`` for conditions that fill different slots.
    """
    on.joined(off)  # refuses now, not in the first step

    def pair(x: Tensor, t: Tensor) -> tuple[Prediction, Prediction]:
        times, both = torch.as_tensor(t), on.broadcast(len(x)).joined(off.broadcast(len(x)))
        p = denoiser(torch.cat([x, x]), torch.cat([times, times]) if times.ndim else times, both)
        (x0, other_x0), (eps, other_eps) = p.x0.chunk(2), p.eps.chunk(2)
        return Prediction(x0, eps), Prediction(other_x0, other_eps)

    return pair


def classifier_guided(predict: Predict, path: Path, log_prob: Callable[[Tensor, Tensor], Tensor], scale: float = 1.0) -> Predict:
    """Lead by a classifier: the score gains ``scale`` times the gradient of log p(c | x_t).

    Implements :eq:`classifier-guidance`.

    log_prob: (x (B, ...), t) -> (B,), of a classifier that has learned from noisy data too; differentiated in x.
    Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis (2021), algorithm 2.
    """

    def led(x: Tensor, t: Tensor) -> Prediction:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(log_prob(x, t).sum(), x)
        p, sigma = predict(x.detach(), t), path.at(t).sigma
        return resolve("eps", path, x.detach(), t, mix(1.0, p.eps, -scale * sigma, slope))

    return led
