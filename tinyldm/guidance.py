"""Leading a denoiser: away from what it would predict without the condition, past what it predicts with it."""

import torch
from torch import Tensor

from .errors import expect
from .prediction import Predict, Prediction


def guided(conditional: Predict, unconditional: Predict, scale: float) -> Predict:
    """Extrapolate from the unconditional prediction through the conditional one. Implements :eq:`cfg`.

    scale: 0 is unconditional, 1 conditional, above 1 exaggerates what the condition changes.
    Source: Ho and Salimans (2022), equation 6, where the weight w is our scale - 1.
    Raises ``ValueError`` for a scale that is negative or not a number.
    """
    expect(scale >= 0, "scale", scale, "a number >= 0 (0 = unconditional, 1 = conditional)")
    if scale in (0, 1):  # one of the two terms vanishes: do not compute it
        return conditional if scale == 1 else unconditional

    def predict(x: Tensor, t: Tensor) -> Prediction:
        on, off = conditional(x, t), unconditional(x, t)
        return Prediction(torch.lerp(off.x0, on.x0, scale), torch.lerp(off.eps, on.eps, scale))

    return predict
