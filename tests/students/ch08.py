"""What students of chapter 08 hand in."""

from functools import partial

import torch

import tinyldm as tl

GIVEAWAY = r"\*|/|=|sqrt|log\(|\bsigma_|\balpha_|h_last|answer is|letter c"


def heun_plain(velocity, x, t, s):
    here = velocity(x, t)
    return x + (s - t) * (here + velocity(x + (s - t) * here, s)) / 2


def heun_corrected(velocity, x, t, s):
    """Euler, then the correction."""
    h = (s - t).item()
    here = velocity(x, t)
    guess = x + h * here
    return guess + h / 2 * (velocity(guess, s) - here)


def heun_mean_of_two(velocity, x, t, s):
    """The mean of where Euler from either end would lead."""
    here = velocity(x, t)
    there = velocity(torch.lerp(x, x + here, s - t), s)
    return torch.stack([x + (s - t) * here, x + (s - t) * there]).mean(0)


def exponential_ddim(x, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    eps = (x - alpha_t * x0) / sigma_t
    return alpha_s * x0 + sigma_s * eps


def exponential_expm1(x, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    h = torch.log(alpha_s / sigma_s) - torch.log(alpha_t / sigma_t)
    return sigma_s / sigma_t * x - alpha_s * torch.expm1(-h) * x0


def exponential_snr(x, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    return sigma_s * (x / sigma_t + (alpha_s / sigma_s - alpha_t / sigma_t) * x0)


def order_log10(coarse, fine, ratio):
    return (coarse.log10() - fine.log10()) / torch.tensor(ratio).log10()


def order_double(coarse, fine, ratio):
    return torch.log2(coarse.double() / fine.double()) / torch.log2(torch.tensor(ratio).double())


def solver(ratio="h_last / h", sign="-", extra="", result="x", weights="(1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * old"):
    """The chapter's loop with its lines exchanged."""
    text = f"""
def solve(x0_of, path, x, ts):
    before = None
    for t, s in zip(ts[:-1], ts[1:]):
        x0, h = x0_of(x, t), path.lam(s) - path.lam(t)
        guess = x0
        if before is not None:
            old, h_last = before
            r = {ratio}
            guess = {weights}
        x = path.sigma(s) / path.sigma(t) * x
        x = x {sign} path.alpha(s) * torch.expm1(-h) * guess
        before = x0, h
        {extra}
    return {result}
"""
    scope = {"torch": torch}
    exec(text, scope)
    return scope["solve"]


def library(x0_of, path, x, ts, denoise=False):
    def predict(x, t):
        x0 = x0_of(x, t)
        return tl.Prediction(x0, (x - path.alpha(t) * x0) / path.sigma(t))

    return tl.sample(tl.Dynamics(path, predict), x, ts, tl.dpmpp_2m, denoise=denoise)


RIGHT = [
    ("08-1", heun_plain),
    ("08-1", heun_corrected),
    ("08-1", heun_mean_of_two),
    ("08-2", exponential_ddim),
    ("08-2", exponential_expm1),
    ("08-2", exponential_snr),
    ("08-3", order_log10),
    ("08-3", order_double),
    ("08-3", lambda coarse, fine, ratio: (coarse.log() - fine.log()) / torch.tensor(ratio).log()),
    ("08-4", "c"),
    ("08-4", " (C) "),
    ("08-5", solver()),
    ("08-5", solver(weights="x0 + (x0 - old) / (2 * r)")),
    ("08-5", solver(ratio="h / h_last", weights="(1 + r / 2) * x0 - r / 2 * old")),
    ("08-5", solver(weights="old + (x0 - old) * (h_last + h / 2) / h_last")),
    ("08-5", library),
]


def velocity_sum(velocity, x, t, s):
    here = velocity(x, t)
    return x + (s - t) * (here + velocity(x + (s - t) * here, s))


MISTAKES = [
    ("08-1", lambda u, x, t, s: x + (s - t) * u(x, t), "Euler's step", "sign|half"),
    ("08-1", velocity_sum, "one half is missing", "sign"),
    ("08-1", lambda u, x, t, s: x + (s - t) * (u(x, t) + u(x, s)) / 2, "old state", "time of arrival"),
    ("08-1", lambda u, x, t, s: x + (s - t) * (u(x, t) + u(x + (s - t) * u(x, t), t)) / 2, "old time", "old state"),
    ("08-1", lambda u, x, t, s: x + (s - t) * u(x + (s - t) / 2 * u(x, t), (s + t) / 2), "midpoint", "sign"),
    ("08-1", lambda u, x, t, s: heun_plain(u, x, t, 2 * t - s), "values are not|factor|direction", "root"),
    ("08-1", lambda u, x, t, s: heun_plain(u, x, t, s) - x, "state itself", "sign"),
    ("08-1", lambda u, x, t, s: x + (t - s) * (u(x, t) + u(x + (t - s) * u(x, t), s)) / 2, "sign of the step", "half"),
    ("08-2", lambda x, y, a, b, c, d: d / b * x + c * y, "counted twice", "sign"),
    ("08-2", lambda x, y, a, b, c, d: b / d * x + (c - a * d / b) * y, "stands on its head", "sign"),
    ("08-2", lambda x, y, a, b, c, d: d / b * x - (c - a * d / b) * y, "sign of the data's term", "root"),
    ("08-2", lambda x, y, a, b, c, d: c / a * x + (c - a * d / b) * y, "factors of the data", "sign"),
    ("08-2", lambda x, y, a, b, c, d: exponential_ddim(x, y, c, d, a, b), "wrong direction", "root"),
    ("08-2", lambda x, y, a, b, c, d: d / b * x + c * (1 - (a * d / (b * c)) ** 2) * y, "full log-SNR", "sign"),
    ("08-2", lambda x, y, a, b, c, d: exponential_ddim(x, y, a, b, c, d) / d, "divided by its noise level", "sign"),
    ("08-3", lambda a, b, r: torch.log2(a / b), "doubled", "sign"),
    ("08-3", lambda a, b, r: -order_log10(a, b, r), "sign is flipped", "base"),
    ("08-3", lambda a, b, r: a / b / r, "logarithms are missing", "sign"),
    ("08-3", lambda a, b, r: (a / b).log(), "how much more work", "sign"),
    ("08-3", lambda a, b, r: (a / b).log10(), "digits gained", "sign"),
    ("08-3", lambda a, b, r: order_log10(a, b, r) + 1, "power of the local error", "sign"),
    ("08-3", lambda a, b, r: order_log10(a, b, r).mean(), "own", "sign"),
    ("08-4", "a", "not how large", "sign"),
    ("08-4", "b", "equally fast", "sign"),
    ("08-4", "d", "twice as often", "sign"),
    ("08-1", lambda u, x, t, s: x + (s - t) * (u(x, t) + u(x + u(x, t), s)) / 2, "look ahead.*length of the step", "sign"),
    ("08-1", lambda u, x, t, s: x + (s - t) * (u(x + (s - t) * u(x, t), s) - u(x, t)) / 2, "difference", "sign"),
    ("08-2", lambda x, y, a, b, c, d: c * y + d * (x - y) / b, "alpha is missing", "sign"),
    ("08-2", lambda x, y, a, b, c, d: a * y + d * (x - a * y) / b, "old time", "sign"),
    ("08-3", lambda a, b, r: torch.log(a / b / r), "subtracted", "sign"),
    ("08-3", lambda a, b, r: order_log10(a, b, r).round(), "do not round", "sign"),
    ("08-5", solver(weights="(1 + 1 / (2 * r)) * x0 + 1 / (2 * r) * old"), "add up to 1", "faults"),
    ("08-5", solver(ratio="1"), "equal steps only", "sign"),
    ("08-5", solver("h / h_last", "+"), "both faults", "mended"),
    ("08-5", solver("h / h_last"), "sign is mended.*wrong slope", "both"),
    ("08-5", solver(sign="+"), "ratio is mended.*wrong sign", "both"),
    ("08-5", solver(weights="x0"), "DDIM", "sign"),
    ("08-5", solver(weights="(1 + 1 / r) * x0 - 1 / r * old"), "half-way", "sign"),
    ("08-5", solver(weights="(1 - 1 / (2 * r)) * x0 + 1 / (2 * r) * old"), "backwards", "faults"),
    ("08-5", solver(extra="before = guess, h"), "extrapolation", "sign"),
    ("08-5", solver(extra="return x"), "inside the loop", "sign"),
    ("08-5", solver(result="x0"), "predicted data", "sign"),
    ("08-5", partial(library, denoise=True), "closing denoise", "sign"),
    ("08-5", lambda x0_of, path, x, ts: library(x0_of, path, x, ts[:-1]), "last step", "sign"),
]
