"""Steps along the velocity of the probability-flow ODE, as any textbook on differential equations has them."""

from torch import Tensor

from ..dynamics import Dynamics


def euler(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Follow the velocity at t as far as s. Order 1. Implements :eq:`euler`.

    Raises what ``Dynamics.velocity`` raises. Source: Karras et al. (2022), algorithm 1 without the correction.
    """
    return x.add(dynamics.velocity(x, t), alpha=(s - t).item()), None


def heun(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: None = None) -> tuple[Tensor, None]:
    """Average the velocities at both ends: two evaluations, order 2. Implements :eq:`heun`.

    Raises what ``Dynamics.velocity`` raises, at t or at s.
    Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models (2022), algorithm 1.
    """
    h, here = (s - t).item(), dynamics.velocity(x, t)
    there = dynamics.velocity(x.add(here, alpha=h), s)
    return x.add(here + there, alpha=h / 2), None
