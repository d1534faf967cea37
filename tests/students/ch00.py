"""What students of chapter 00 hand in."""

import torch
from grading import edited as changed

SAMPLER = """for t, s in zip(ts[:-1], ts[1:]):
    c, u = on(x, t), off(x, t)
    x0 = u.x0 + scale * (c.x0 - u.x0)
    eps = u.eps + scale * (c.eps - u.eps)
    x = path.alpha(s) * x0 + path.sigma(s) * eps
return x"""
LIBRARY = "tl.sample(tl.Dynamics(path, tl.guided(on, off, scale)), x, ts, tl.{}, denoise={})"
GIVEAWAY = r"\*|/|=|sqrt|log10|√|\(s\)|\(t\)|alpha x\b|sigma v\b|answer is|letter b|20 log|10 log"


def mse(x, y):
    return ((x - y) ** 2).flatten(1).mean(1)


def db(ratio, factor=10):
    return factor * torch.log10(ratio)


def edited(*edits):
    """The right sampler with a student's changes."""
    return changed(SAMPLER, *edits)


RIGHT = [
    *(("00-4", letter) for letter in ["b", "B", " b ", "(b)", "b)", "b\n"]),
    ("00-1", "up(alpha, x0) * x0 + (1 - up(alpha, x0) ** 2).sqrt() * eps"),
    ("00-1", "tl.expand(alpha, x0) * x0 + tl.expand((1 - alpha.square()) ** 0.5, eps) * eps"),
    ("00-1", "torch.einsum('b,b...->b...', alpha, x0) + torch.einsum('b,b...->b...', (1 - alpha**2).sqrt(), eps)"),
    ("00-1", "torch.stack([a * x + (1 - a**2) ** 0.5 * e for a, x, e in zip(alpha, x0, eps)])"),
    ("00-1", "up(alpha.double(), x0) * x0.double() + torch.sin(torch.acos(up(alpha.double(), x0))) * eps"),
    ("00-1", "(up(alpha, x0) * x0 + (1 - up(alpha, x0) ** 2).sqrt() * eps).numpy()"),
    ("00-1", "x0 = x0.clone()\nx0 *= up(alpha, x0)\nreturn x0 + (1 - up(alpha, x0) ** 2).sqrt() * eps"),
    ("00-2", "alpha * x - sigma * v"),
    ("00-2", "torch.addcmul(alpha * x, sigma, v, value=-1)"),
    ("00-2", "(alpha.double() * x - sigma.double() * v) / (alpha**2 + sigma**2)"),
    ("00-2", "alpha.numpy() * x.numpy() - sigma.numpy() * v.numpy()"),
    ("00-2", "(x - sigma * (sigma * x + alpha * v)) / alpha"),  # divides, but the values are right
    ("00-3", "10 * torch.log10(4 / mse(x, y))"),
    ("00-3", "20 * torch.log10(2 / mse(x, y).sqrt())"),
    ("00-3", "10 * torch.log(4 / mse(x, y)) / np.log(10)"),
    ("00-3", "10 * np.log10(4 / ((x - y).numpy() ** 2).mean((1, 2, 3)))"),
    ("00-3", "[10 * float(torch.log10(4 / (a - b).double().pow(2).mean())) for a, b in zip(x, y)]"),
    ("00-3", "tl.metrics.psnr(x, y)"),
    ("00-5", SAMPLER),
    ("00-5", LIBRARY.format("ddim", False)),
    ("00-5", edited(("zip(ts[:-1], ts[1:])", "((ts[i], ts[i + 1]) for i in range(len(ts) - 1))"))),
    ("00-5", edited(("u.x0 + scale *", "c.x0 + (scale - 1) *"), ("u.eps + scale *", "c.eps + (scale - 1) *"))),
    ("00-5", edited(("for t, s", "x, ts = x.double(), ts.double()\nfor t, s"))),
]

A, S = "up(alpha, x0)", "(1 - up(alpha, x0) ** 2).sqrt()"
A4 = "alpha.view(-1, 1, 1, 1)"
HALF_MENDED = [("u.x0 + scale", "c.x0 + scale"), ("u.eps + scale", "c.eps + scale")]
MISTAKES = [
    ("00-1", f"{A} * x0 + (1 - {A} ** 2) * eps", "square root", "sign"),
    ("00-1", f"{A} ** 2 * x0 + (1 - {A} ** 2) * eps", "square root", "sign"),
    ("00-1", f"{A}.sqrt() * x0 + (1 - {A}).sqrt() * eps", "alpha-bar", "sign"),
    ("00-1", f"{A} * x0 + (1 - {A}).sqrt() * eps", "variance", "missing"),
    ("00-1", f"torch.lerp(eps, x0, {A})", "squares", "sign"),
    ("00-1", f"{A} * eps + {S} * x0", "changed places", "sign"),
    ("00-1", f"{A} * x0 - {S} * eps", "sign of the noise", "root"),
    ("00-1", f"-({A} * x0 + {S} * eps)", "sign", "root"),
    ("00-1", f"{A} * x0 + eps", "variance grows", "sign"),
    ("00-1", f"x0 + {S} * eps", "not faded", "sign"),
    ("00-1", f"{A} * x0 + ({A} ** 2 - 1).sqrt() * eps", "negative number", "sum"),
    ("00-1", "alpha * x0 + (1 - alpha**2).sqrt() * eps", "RuntimeError", "sign"),  # no batch dimension
    ("00-1", f"{A4} * x0 + (1 - {A4} ** 2).sqrt() * eps", r"shape \(6, 1, 6, 2\), expected \(6, 2\)", "sum"),  # four ranks only
    ("00-1", f"({A} * x0 + {S} * eps).mean()", "averaged", "summed"),
    ("00-1", f"({A} * x0 + {S} * eps).sum()", "summed", "averaged"),
    ("00-2", "alpha * x + sigma * v", "sign of the v term", "root"),
    ("00-2", "sigma * v - alpha * x", "minus the data", "root"),
    ("00-2", "sigma * x + alpha * v", "noise, not the data", "sign"),
    ("00-2", "alpha * v - sigma * x", "x and v have changed places", "sign"),
    ("00-2", "sigma * x - alpha * v", "alpha and sigma have changed places", "sign"),
    ("00-2", "(x - sigma * v) / alpha", "treats v as if", "sign"),
    ("00-2", "alpha**2 * x - sigma**2 * v", "squared", "sign"),
    ("00-2", "x - sigma * v", "factor of x", "sign"),
    ("00-2", "alpha * x - v", "factor of v", "sign"),
    ("00-2", "(alpha * x - sigma * v) / (alpha - sigma)", "determinant", "sign"),
    ("00-2", "2 * (alpha * x - sigma * v)", "factor, 2", "sum"),
    ("00-2", "(alpha * x - sigma * v).flatten(1)", "arrangement", "sum"),
    ("00-3", "db(1 / mse(x, y))", "range is taken as 1,", "sum"),
    ("00-3", "-10 * torch.log10(mse(x, y))", "range is taken as 1,", "sign"),
    ("00-3", "db(255**2 / mse(x, y))", "255", "sum"),
    ("00-3", "db(2 / mse(x, y))", "not squared", "root"),
    ("00-3", "db(4 / mse(x, y), 20)", "factor 20", "sum"),
    ("00-3", "db(2 / mse(x, y).sqrt())", "amplitudes", "base"),
    ("00-3", "db(4 / mse(x, y).sqrt())", "root too many", "missing"),
    ("00-3", "db(4 / mse(x, y), 1)", "bels", "sum"),
    ("00-3", "10 * torch.log(4 / mse(x, y))", "base 10", "sum"),
    ("00-3", "db(4 / ((x - y) ** 2).flatten(1).sum(1))", "summed over the pixels", "batch"),
    ("00-3", "db(4 / (x - y).flatten(1).norm(dim=1) ** 2)", "summed over the pixels", "root"),
    ("00-3", "db(4 / (x - y).abs().flatten(1).mean(1))", "absolute", "root"),
    ("00-3", "db(4 / (x - y).flatten(1).mean(1))", "logarithm of a negative", "sum"),
    ("00-3", "db(mse(x, y) / 4)", "stands on its head", "root"),
    ("00-3", "mse(x, y)", "error itself", "sum"),
    ("00-3", "db(4 / ((x - y) ** 2).mean())", "whole batch", "summed"),
    ("00-3", "db(4 / mse(x, y)).mean().item()", "whole batch", "summed"),
    ("00-3", "db(4 / mse(x, y))[:, None]", "arrangement", "sum"),
    ("00-3", "db(4 / ((x - y) ** 2).mean(1))", "what you reduce over", "sign"),
    ("00-5", edited(*HALF_MENDED, ("sigma(s)", "sigma(t)")), "both faults", "sign"),
    ("00-5", edited(*HALF_MENDED), "1 \\+ w", "the noise of the time"),
    ("00-5", edited(("sigma(s)", "sigma(t)")), "guidance is mended", "too strong"),
    ("00-5", edited(("+ scale", "- scale")), "sign of the guidance", "changed places"),
    ("00-5", edited(("alpha(s)", "alpha(t)")), "faded as at the old", "guidance"),
    ("00-5", edited(("alpha(s)", "alpha(t)"), ("sigma(s)", "sigma(t)")), "leaves the state where it was", "sign"),
    ("00-5", edited(("scale *", "(1 - scale) *")), "conditional and unconditional", "sign"),
    ("00-5", edited(("scale *", "(scale + 1) *")), "too strong", "sign"),
    ("00-5", LIBRARY.format("ddim", True), "without a final denoising", "sign"),
    ("00-1", f"{A} * x0 + {S} * torch.randn_like(eps)", "random", "sign"),
    ("00-1", f"{A} ** 2 * x0 + {S} * eps", "factor of the data is squared", "noise"),
    ("00-1", f"(1 - {A}) * x0 + {A} * eps", "alpha belongs to the data", "root"),
    ("00-2", "alpha**2 * x - alpha * sigma * v", "once too often by alpha", "sign"),
    ("00-2", "(alpha * x - sigma * v) / (alpha**2 - sigma**2)", "sign in the determinant", "root"),
    ("00-3", "db(16 / mse(x, y))", "taken as 4", "term"),
    ("00-3", "torch.log10(2 / mse(x, y).sqrt())", "factor of the decibel", "sum"),
    ("00-3", "10 * torch.log2(4 / mse(x, y))", "wrong base", "sum"),
    ("00-3", "db(4 / (x - y).flatten(1).var(1))", "variance of the error", "sum"),
    ("00-5", edited(("u.x0 +", "c.x0 +")), "one of the two predictions", "noise"),
    ("00-5", edited(("u.eps +", "c.eps +")), "one of the two predictions", "noise"),
    ("00-5", edited(("u.x0 +", "c.x0 +"), ("sigma(s)", "sigma(t)")), "one of the two predictions only.*keep their noise", "sign"),
    ("00-5", edited(("alpha(s)", "sigma_(s)"), ("sigma(s)", "alpha(s)"), ("sigma_(s)", "sigma(s)")), "changed places", "sign"),
    ("00-5", edited(("ts[:-1], ts[1:]", "ts.flip(0)[:-1], ts.flip(0)[1:]")), "backwards", "sign"),
    ("00-5", edited(("ts[:-1], ts[1:]", "ts[:-2], ts[1:-1]")), "last step is not taken", "sign"),
    ("00-5", edited(("return x", "return x0")), "predicted data", "sign"),
    ("00-5", edited(("eps\nreturn x", "eps\n    return x")), "inside the loop", "sign"),
    ("00-5", edited(("sigma(s)", "sigma(s) ** 2")), "square root", "sign"),
    ("00-4", "a", "any scale", "root"),
    ("00-4", "c", "direction is reversed", "root"),
    ("00-4", "d", "only the data", "root"),
]

# Mistakes that deserve no false trail: what is said of them must at least be true.
UNTRUE = [
    ("00-1", f"({A} * x0 + {S} * eps).half()", " 0 %"),  # wrong in the fifth digit; "0 % off" helps no one
    ("00-2", "alpha**2 * x - alpha * sigma * v", "sign|root"),
    ("00-2", "-sigma * x - alpha * v", r"e\+0"),  # "1.3e+02 %" is no way to say how much
    ("00-3", "db(2 / mse(x, y).sqrt(), 1)", "sum"),  # the factor 20 is missing, nothing was averaged
    ("00-3", "db(4 / (x - y).flatten(1).var(1))", " 0 %"),
    ("00-3", "db(4 / ((x - y) ** 2).mean((2, 3)))", "numbers are right"),  # a PSNR a channel; right for one channel only
    ("00-5", edited(("u.x0 +", "c.x0 +")), "sign|root|both"),  # mended in one prediction only
    ("00-5", edited(("u.eps +", "c.eps +")), "sign|root|both"),
    ("00-5", edited(("on(x, t), off(x, t)", "on(x, s), off(x, s)")), "as at the old time"),
    ("00-5", edited(("ts[:-1], ts[1:]", "ts.flip(0)[1:], ts.flip(0)[:-1]")), "constant|term"),  # the loop runs backwards
    ("00-5", edited(("ts[:-1], ts[1:]", "ts[:-2], ts[1:-1]")), " 0 %"),  # one step too few
    ("00-5", edited(("return x", "return x0")), " 0 %"),
    ("00-5", edited(("eps\nreturn x", "eps\n    return x")), "sign|root"),  # returns inside the loop
]
