"""Flow matching: one model on another path, couplings made by a flow, and how straight its lines are."""

import torch
from torch import Tensor

from ..broadcast import expand, rows
from ..dynamics import Dynamics
from ..errors import in_range, time_grid
from ..path import Path
from ..prediction import Predict, Prediction
from .loop import Solver, Step, sample


def on_path(predict: Predict, trained: Path, other: Path) -> Predict:
    """A model trained on one path as a model of another, without retraining. Implements :eq:`change-path`.

    At equal alpha/sigma the states of two paths differ by a factor only, so the model is asked at the time at which its own
    path has this ratio; where it has none, at the nearer end. predict: (x, t) -> ``Prediction`` on ``trained``.
    What is returned raises ``ValueError`` for times outside [0, 1].
    Source: Karras et al. (2022), section 2 and appendix B; Kingma et al. (2021), section 5.1.
    """
    low, high = trained.lam(torch.tensor([trained.t_max, trained.t_min], dtype=torch.float64)).tolist()

    def predict_on_other(x: Tensor, t: Tensor) -> Prediction:
        t = torch.as_tensor(t).double()
        in_range("t", t, 0.0, 1.0)
        own = trained.t_of_lam(other.lam(t).clamp(low, high))
        size = torch.sqrt(trained.alpha(own) ** 2 + trained.sigma(own) ** 2)
        given = torch.sqrt(other.alpha(t) ** 2 + other.sigma(t) ** 2)
        return predict((expand(size / given, x) * x).to(x), own)

    return predict_on_other


def coupling(dynamics: Dynamics, eps: Tensor, ts: Tensor, solver: Solver | Step) -> Tensor:
    """The data, (B, ...), to which the flow carries standard noise ``eps``: training on these pairs is reflow.

    Implements :eq:`reflow`. eps: (B, ...). ts: falling times. Raises what ``sample`` raises.
    Source: Liu et al., Flow Straight and Fast (2022), section 2.1 and algorithm 1.
    """
    return sample(dynamics, dynamics.path.at(time_grid("ts", ts)[0]).sigma * eps, ts, solver)


def straightness(dynamics: Dynamics, x: Tensor, ts: Tensor, solver: Solver | Step) -> Tensor:
    """The mean over time of |(x_end - x_start)/(t_end - t_start) - velocity|^2 along a trajectory, (B,).

    0 for a straight line.
    x: (B, ...), noise at ts[0]. ts: a fine falling grid. The mean is over time, by the trapezoidal rule.
    Raises what ``sample`` and ``Dynamics.velocity`` raise. Implements :eq:`straightness`.
    Source: Liu et al. (2022), section 2.2, equation 6, there over the data's and noise's ends.
    """
    ts = time_grid("ts", ts)
    states: list[Tensor] = [x]
    sample(dynamics, x, ts, solver, denoise=False, callback=lambda i, s, x: states.append(x))
    chord = (states[-1] - states[0]) / float(ts[-1] - ts[0])
    with torch.no_grad():
        bends = [rows((chord - dynamics.velocity(x, t)) ** 2).sum(1) for t, x in zip(ts, states, strict=True)]
    return torch.trapezoid(torch.stack(bends), ts.to(x), dim=0) / float(ts[-1] - ts[0])
