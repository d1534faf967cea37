"""What students of chapter 06 hand in."""

import torch

GIVEAWAY = r"\*|/|=|√|sqrt|dt\*\*|answer is|letter c"


def rows(f, g2):
    return lambda a, da, s, ds: torch.stack([f(a, da, s, ds), g2(a, da, s, ds)])


def jump(factor, std):
    return lambda a, s, b, r: torch.stack([factor(a, s, b, r), std(a, s, b, r)])


def ratio(a, *rest):
    return rest[0] / a


def std(a, s, b, r):
    return (r**2 - (b * s / a) ** 2).sqrt()


def simulator(update, step=lambda ts, i: ts[i + 1] - ts[i], last=None):
    def simulate(path, x, ts, noises):
        for i in range(len(ts) - 1)[:last]:
            x = update(path, x, ts[i], step(ts, i), noises[i])
        return x

    return simulate


def with_noise(power=0.5, root=0.5, sign=1):
    return lambda p, x, t, dt, e: x + sign * p.f(t) * x * dt + p.g2(t) ** power * dt**root * e


def broken(power=1.0):
    def simulate(path, x, ts, noises):
        for t, noise in zip(ts[:-1], noises):
            dt = 1 / len(noises)
            x = x + path.f(t) * x * dt + path.g2(t) ** power * dt**0.5 * noise
        return x

    return simulate


RIGHT = [
    ("06-1", rows(ratio, lambda a, da, s, ds: 2 * s * ds - 2 * da / a * s**2)),
    ("06-1", rows(ratio, lambda a, da, s, ds: 2 * s**2 * (ds / s - da / a))),
    ("06-1", lambda a, da, s, ds: torch.stack([da / a, 2 * s * (ds * a - s * da) / a]).numpy()),
    ("06-2", lambda x, f, g2, dt, noise: x + f * x * dt + (g2 * dt) ** 0.5 * noise),
    ("06-2", lambda x, f, g2, dt, noise: (1 + f * dt) * x + g2.sqrt() * (noise * dt.sqrt())),
    ("06-2", lambda x, f, g2, dt, noise: torch.add(x * (1 + f * dt), noise, alpha=float((g2 * dt).sqrt()))),
    ("06-3", "c"),
    ("06-3", " (C) "),
    ("06-4", jump(lambda a, s, b, r: b / a, std)),
    ("06-4", lambda a, s, b, r: torch.stack([b / a, b * ((r / b) ** 2 - (s / a) ** 2) ** 0.5])),
    ("06-5", simulator(with_noise())),
    ("06-5", simulator(lambda p, x, t, dt, e: (1 + p.f(t) * dt) * x + (p.g2(t) * dt).sqrt() * e)),
]
MISTAKES = [
    ("06-1", rows(ratio, lambda a, da, s, ds: 2 * s * ds + 2 * da / a * s**2), "sign"),
    ("06-1", rows(ratio, lambda a, da, s, ds: 2 * s * ds - da / a * s**2), "lost a factor"),
    ("06-1", rows(ratio, lambda a, da, s, ds: 2 * s * ds), "drift is forgotten"),
    ("06-1", rows(ratio, lambda a, da, s, ds: -2 * da / a), "variance is preserved"),
    ("06-1", rows(ratio, lambda a, da, s, ds: (2 * s * ds - 2 * da / a * s**2).sqrt()), "root too many"),
    ("06-1", rows(lambda a, da, s, ds: da, lambda a, da, s, ds: 2 * s * ds - 2 * da / a * s**2), "relative slope"),
    ("06-1", rows(lambda a, da, s, ds: 2 * s * (ds - da / a * s), ratio), "changed places"),
    ("06-1", lambda a, da, s, ds: da / a, "shape"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x * dt + g2.sqrt() * dt * e, "square root is missing"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x * dt + g2 * dt.sqrt() * e, "squared diffusion"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x * dt + g2 * dt * e, "over both"),
    ("06-2", lambda x, f, g2, dt, e: x + f * dt + (g2 * dt).sqrt() * e, "lacks the state"),
    ("06-2", lambda x, f, g2, dt, e: x - f * x * dt + (g2 * dt).sqrt() * e, "sign of the drift"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x + (g2 * dt).sqrt() * e, "length of the step"),
    ("06-2", lambda x, f, g2, dt, e: x + g2.sqrt() * x * dt + f * dt.sqrt() * e, "changed places"),
    ("06-2", lambda x, f, g2, dt, e: f * x * dt + (g2 * dt).sqrt() * e, "change of the state"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x * dt + (g2 * dt).sqrt() * torch.randn_like(x), "random"),
    ("06-3", "a", "right simulator"),
    ("06-3", "b", "as large"),
    ("06-3", "d", "how many"),
    ("06-4", jump(lambda a, s, b, r: b / a, lambda *q: std(*q) ** 2), "square root is missing"),
    ("06-4", jump(lambda a, s, b, r: b / a, lambda a, s, b, r: (r**2 - s**2).sqrt()), "not faded"),
    ("06-4", jump(lambda a, s, b, r: b / a, lambda a, s, b, r: r - b / a * s), "variances do"),
    ("06-4", jump(lambda a, s, b, r: b / a, lambda a, s, b, r: (1 - (b / a) ** 2).sqrt()), "variance is preserved"),
    ("06-4", jump(lambda a, s, b, r: a / b, std), "on its head"),
    ("06-4", jump(lambda a, s, b, r: b, std), "clean data"),
    ("06-1", rows(ratio, lambda a, da, s, ds: ds**2), "f is right.*squared slope"),
    ("06-1", rows(lambda a, da, s, ds: da * a, lambda a, da, s, ds: -2 * s * (ds - da / a * s)), "divide.*sign"),
    ("06-2", lambda x, f, g2, dt, e: x - f * x * dt + g2.sqrt() * dt * e, "two mistakes"),
    ("06-2", lambda x, f, g2, dt, e: x + f * x * dt + (g2 / dt).sqrt() * e, "should multiply"),
    ("06-4", jump(lambda a, s, b, r: b / a, lambda a, s, b, r: r / s), "factor is right.*ratio of the two"),
    ("06-4", jump(lambda a, s, b, r: (b / a) ** 2, lambda a, s, b, r: std(a, s, b, r).sqrt()), "squared.*root too many"),
    ("06-5", simulator(lambda p, x, t, dt, e: x + p.f(t) * dt + (p.g2(t) * dt).sqrt() * e), "lacks the state"),
    ("06-5", simulator(with_noise(power=1.0, sign=-1)), "two mistakes"),
    ("06-5", simulator(with_noise(), step=lambda ts, i: ts[1] - ts[0]), "length of the first"),
    ("06-5", broken(), "both faults"),
    ("06-5", broken(0.5), "how long is each step"),
    ("06-5", simulator(with_noise(power=1.0)), "step is mended.*root is missing"),
    ("06-5", simulator(with_noise(root=1.0)), "square root is missing"),
    ("06-5", simulator(with_noise(sign=-1)), "sign of the drift"),
    ("06-5", simulator(with_noise(), step=lambda ts, i: (ts[-1] - ts[0]) / (len(ts) - 1)), "not be uniform"),
    ("06-5", simulator(with_noise(), last=-1), "last step"),
    ("06-5", simulator(with_noise(), last=1), "first step"),
]  # fmt: skip
