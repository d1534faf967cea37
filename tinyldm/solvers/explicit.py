"""Steps along the velocity of the probability-flow ODE, as any textbook on differential equations has them."""

from torch import Tensor

from ..dynamics import Dynamics


def euler(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Follow the velocity at t as far as s. Order 1. Implements :eq:`euler`."""
    return x.add(dynamics.velocity(x, t), alpha=(s - t).item()), None


def heun(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Average the velocities at both ends: two evaluations, order 2 (Karras et al. 2022, algorithm 1). Implements :eq:`heun`."""
    h, here = (s - t).item(), dynamics.velocity(x, t)
    there = dynamics.velocity(x.add(here, alpha=h), s)
    return x.add(here + there, alpha=h / 2), None
