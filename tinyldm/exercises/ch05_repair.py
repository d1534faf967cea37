"""Chapter 05's broken ancestral sampler: what a repair may still have wrong."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..gaussian import GaussianMixture
from ..path import VP, DiscreteVP, Path
from ..prediction import Predict
from ..runtime import seeded
from ..solvers.grids import grid
from .before import Dials, grade_dials


def _ancestral(
    predict: Predict,
    path: Path,
    x: Tensor,
    ts: Tensor,
    noises: Tensor,
    *,
    power: float = 2.0,
    last: float = 2.0,
    spread: float = 1.0,
    noise_at: int = 1,
    root: float = 0.5,
    sign: float = 1.0,
    fade: int = 1,
    undone: bool = True,
    swapped: bool = False,
    look: int = 0,
    shared: bool = False,
    late: bool = False,
) -> Tensor:
    """Ancestral sampling with every mistake as a dial.

    power: of the ratio in the mean; last: of the ratio in the variance; spread, root: powers of sigma and of 1 - ratio^2 in
    the noise's factor; noise_at: at which end of the step sigma is taken there; fade: at which end the mean is faded (2: at
    none); look: at which end the network is asked; shared, late: every step has the first noise, or they come in reverse.
    """
    for i, (t, s) in enumerate(pairwise(ts)):
        pair, noise = (t, s), noises[0 if shared else -1 - i if late else i]
        x0 = predict(x, pair[look]).x0
        ratio = path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))
        opinions = (x0, x / path.alpha(t) if undone else x)
        first, second = opinions[::-1] if swapped else opinions
        mean = (1 - ratio**power) * first + ratio**power * second
        mean = mean * (path.alpha(pair[fade]) if fade < 2 else 1)
        x = mean + sign * path.sigma(pair[noise_at]) ** spread * (1 - ratio**last) ** root * noise
    return x


DIALS: Dials = {
    "power": [
        (4, "the ratio in the mean is squared once too often."),
        (-2, "the ratio in the mean stands on its head."),
    ],
    "last": [
        (1, "the ratio in the noise's factor has lost its square."),
        (4, "the ratio in the noise's factor is squared once too often."),
    ],
    "spread": [(0, "sigma is missing from the noise's factor."), (0.5, "there is a root too many on sigma.")],
    "root": [(0.25, "there is a root too many in the noise's factor."), (0, "the noise's factor does not know how long the step is.")],
    "noise_at": [(0, "this adds the forward step's noise; the narrower of the two usual choices is asked for, which belongs to the other end of the step.")],
    "sign": [(0.0, "no fresh noise is added."), (-1.0, "the sign of the noise is flipped; in law that is the same, but use the noises as they are given.")],
    "fade": [(0, "the mean is faded as at the time at which the step starts."), (2, "the mean is not faded to the time at which it arrives.")],
    "undone": [(False, "the noisy state is no opinion on the data before its own fading is undone.")],
    "swapped": [(True, "the two opinions in the mean have changed places; which of them is trusted when the step is short?")],
    "look": [(1, "the network is asked at the time at which the step ends; the state belongs to the other end.")],
    "shared": [(True, "every step uses the same noise; each has its own.")],
    "late": [(True, "the noises are used in the reverse order.")],
}  # fmt: skip


def _last_prediction(predict: Predict, path: Path, x: Tensor, ts: Tensor, noises: Tensor) -> Tensor:
    return predict(_ancestral(predict, path, x, ts[:-1], noises), ts[-2]).x0


def grade_ancestral(answer: Any) -> None:
    """05-5: two planted bugs, the ratio unsquared in the mean and a variance for a standard deviation."""
    g = seeded(55)
    data = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0], [0.7]]), stds=torch.tensor([0.3, 0.5]))
    cases = []
    for path, n in ((VP(), 5), (DiscreteVP.from_betas("linear"), 8)):
        ts = grid(path, n)
        cases.append(
            {
                "predict": data.predict(path),
                "path": path,
                "x": torch.randn(6, 1, generator=g, dtype=torch.float64),
                "ts": ts[:-1],  # end early, where a last step can still be seen
                "noises": torch.randn(n - 1, 6, 1, generator=g, dtype=torch.float64),
            }
        )

    def dials(**chosen: Any) -> Callable[..., Tensor]:
        return partial(_ancestral, **chosen)

    mean = "the two opinions in the mean are weighed by the root of the right ratio."
    std = "the noise is multiplied by the variance; a square root is missing."
    grade_dials(
        answer,
        _ancestral,
        cases,
        DIALS,
        wrong=[
            (dials(power=1, spread=2, root=1), f"both faults are still there. One: {mean} Two: {std}"),
            (dials(spread=2, root=1), f"the mean is mended, one fault is left: {std}"),
            (dials(power=1), f"the noise is mended, one fault is left: {mean}"),
            (dials(root=1), "of the noise's factor, only one of its two parts has got its square root."),
            (dials(spread=2), "of the noise's factor, sigma is still squared."),
            (dials(power=1, last=1), "neither ratio is squared: it is the ratio of the signal-to-noise ratios that both need."),
            (dials(power=4, last=4), "the ratio is squared once too often, in both places."),
            (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:-1], noises), "the last step is not taken: the state must reach ts[-1]."),
            (lambda p, path, x, ts, noises: _ancestral(p, path, x, ts[:2], noises), "only the first step is taken; does the `return` stand inside the loop?"),
            (lambda p, path, x, ts, noises: p(_ancestral(p, path, x, ts, noises), ts[-1]).x0, "the loop is right, but the function should return the state at the last time, without a final denoising."),
            (_last_prediction, "this is the predicted data of the last step; return the state."),
        ],
    )  # fmt: skip
