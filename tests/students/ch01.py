"""What students of chapter 01 hand in."""

from grading import edited as changed

GIVEAWAY = r"\*|/|=|sqrt|√|exp\(|svd|0\.5|answer is|letter b"

SVD = "m = x.mean(0)\nv = torch.linalg.svd(x - m, full_matrices=False)[2][:d]\nreturn m + (x - m) @ v.T @ v"
EIGH = """m = x.mean(0)
values, vectors = torch.linalg.eigh((x - m).T @ (x - m))
u = vectors[:, -d:]
return (x - m) @ (u @ u.T) + m"""
NUMPY = """a = x.numpy()
m = a.mean(0, keepdims=True)
left, sizes, rows = np.linalg.svd(a - m, full_matrices=False)
return m + (left[:, :d] * sizes[:d]) @ rows[:d]"""
SKLEARN = """from sklearn.decomposition import PCA
p = PCA(d, svd_solver="full").fit(x.numpy())
return p.inverse_transform(p.transform(x.numpy()))"""
NLL = "(((x - x_hat) ** 2).sum(1) / variance + x.shape[1] * torch.log(2 * math.pi * variance)) / 2"
LOSS = """z = mean + (logvar / 2).exp() * eps
squares = ((x - decode(z)) ** 2).sum(1)
constant = x.shape[1] * math.log(2 * math.pi * variance)
return (squares / variance + constant) / 2"""


def edited(*edits, text=LOSS):
    return changed(text, *edits)


FULL = ("(logvar / 2).exp()", "logvar.exp()")
CUT = ("* eps\n", "* eps\nz = z.detach()\n")
RIGHT = [
    *(("01-4", letter) for letter in ["b", "B", " (b) ", "b."]),
    ("01-1", SVD),
    ("01-1", EIGH),
    ("01-1", NUMPY),
    ("01-1", SKLEARN),
    ("01-1", "m, u, _ = tl.gaussian.pca(x, d)\nreturn m + (x - m) @ u @ u.T"),
    ("01-1", SVD.replace("x - m", "(x - m).float()").replace("m + ", "m.float() + ")),
    ("01-2", NLL),
    ("01-2", "-torch.distributions.Normal(x_hat, variance[:, None].sqrt()).log_prob(x).sum(1)"),
    ("01-2", "tl.losses.gaussian_nll(x, x_hat, variance)"),
    ("01-2", """def one(a, b, v):
    return float(((a - b) ** 2).sum() / (2 * v) + len(a) / 2 * math.log(2 * math.pi * v))
return [one(*three) for three in zip(x, x_hat, variance)]"""),
    ("01-3", "torch.stack([b / (b**2 + s**2), s**2 / (b**2 + s**2)])"),
    ("01-3", "r = (s / b) ** 2\nreturn torch.stack([1 / (b * (1 + r)), r / (1 + r)])"),
    ("01-3", "a = b / (b * b + s * s)\nreturn torch.stack([a, (1 - a * b) ** 2 + a * a * s * s])"),
    ("01-3", "np.stack([(b / (b**2 + s**2)).numpy(), (1 - b**2 / (b**2 + s**2)).numpy()])"),
    ("01-5", LOSS),
    ("01-5", edited(("(logvar / 2).exp()", "logvar.exp().sqrt()"))),
    ("01-5", "z = tl.DiagonalGaussian(mean, logvar).sample_with(eps)\nreturn tl.losses.gaussian_nll(x, decode(z), variance)"),
    ("01-5", "q = torch.distributions.Normal(decode(mean + torch.exp(0.5 * logvar) * eps), variance**0.5)\n"
             "return -q.log_prob(x).sum(1)"),
    ("01-6", "f(mean + std * eps) * eps / std"),
    ("01-6", "z = mean + std * eps\nreturn f(z) * (z - mean) / std**2"),
    ("01-6", "z = mean + std * eps\nreturn f(z).numpy() * (z - mean).numpy() / std.numpy() ** 2"),
    ("01-6", """m = mean.clone().requires_grad_()
z = (mean + std * eps).detach()
log_q = torch.distributions.Normal(m, std).log_prob(z)
return torch.autograd.grad(tl.likelihood.score_function_surrogate(f(z), log_q).sum(), m)[0]"""),
]  # fmt: skip


def nll(**edits):
    return changed(NLL, *edits.values())


ROWS = "torch.linalg.svd(x - x.mean(0), full_matrices=False)"
STACK = "torch.stack([{}, {}])"
A, E = "b / (b**2 + s**2)", "s**2 / (b**2 + s**2)"
MISTAKES = [
    ("01-1", "v = torch.linalg.svd(x, full_matrices=False)[2][:d]\nreturn x @ v.T @ v", "not centred"),
    ("01-1", SVD.replace("m + ", ""), "not put back"),
    ("01-1", EIGH.replace("[:, -d:]", "[:, :d]"), "smallest variance"),
    ("01-1", f"u, s, v = {ROWS}\nreturn u[:, :d] * s[:d]", "the code"),
    ("01-1", f"u, s, v = {ROWS}\nreturn u[:, :d]", "scaled to one length"),
    ("01-1", "x", "bottleneck"),
    ("01-1", "x.mean(0).expand_as(x)", "nothing came through"),
    ("01-1", SVD.replace("[:d]", "[: d + 1]"), "too many"),
    ("01-1", SVD.replace("return m + (x - m)", "return x - m - (x - m)"), "the error"),
    ("01-1", SVD.replace("mean(0)", "mean(1, keepdim=True)"), "mean over the points"),
    ("01-1", "x -= x.mean(0)\nreturn x", "in place"),
    ("01-2", "((x - x_hat) ** 2).sum(1) / (2 * variance)", "logarithm is missing"),
    ("01-2", "((x - x_hat) ** 2).sum(1) / 2", "does not appear"),
    ("01-2", nll(a=("x.shape[1] * ", "")), "counted once"),
    ("01-2", nll(a=("sum(1)", "mean(1)")), "mean over the entries, while"),
    ("01-2", nll(a=("sum(1)", "mean(1)"), b=("x.shape[1] * ", "")), "product over them"),
    ("01-2", nll(a=(") / 2", ")")), "half of the Gaussian's exponent"),
    ("01-2", nll(a=("2 * math.pi * ", "")), "constant is missing"),
    ("01-2", nll(a=("variance", "variance**2")), "standard deviation"),
    ("01-2", nll(a=("/ variance +", "/ variance -")), "sign of the logarithm"),
    ("01-2", f"-{NLL}", "other sign"),
    ("01-2", nll(a=(").sum(1)", ").sum()")), "values are not|shape"),
    ("01-2", f"({NLL}).mean()", "averaged over the batch"),
    ("01-2", f"{NLL} / math.log(2)", "bits"),
    ("01-2", "((x - x_hat) ** 2 / variance).sum(1)", "RuntimeError"),
    ("01-3", STACK.format("1 / b", "(s / b) ** 2"), "inverts the encoder"),
    ("01-3", STACK.format("1 / b", "0 * b"), "forgets the noise"),
    ("01-3", STACK.format("b", "(1 - b * b) ** 2 + b * b * s * s"), "transposed"),
    ("01-3", STACK.format("b / (b**2 + s)", "s / (b**2 + s)"), "its square belongs"),
    ("01-3", STACK.format(A, "b**2 / (b**2 + s**2)"), "comes through"),
    ("01-3", STACK.format("b**2 / (b**2 + s**2)", E), "only half"),
    ("01-3", STACK.format(E, A), "changed places"),
    ("01-3", A, "only the decoder's factor"),
    ("01-3", E, "only the error"),
    ("01-3", f"({A}, {E})", "tuple"),
    ("01-4", "a", "sees only the slope"),
    ("01-4", "c", "has mean zero"),
    ("01-4", "d", "has no slope"),
    ("01-5", edited(FULL, ("* eps\n", "* eps\nz = z.detach()\n")), "variance of the code.*no gradient reaches"),
    ("01-5", edited(FULL), "variance of the code; a square root is missing.$"),
    ("01-5", edited(CUT), "numbers are right, but no gradient"),
    ("01-5", edited(("mean +", "mean.detach() +")), "no gradient reaches"),
    ("01-5", edited(("(logvar / 2)", "(logvar.detach() / 2)")), "no gradient reaches"),
    ("01-5", edited((".sum(1)", ".mean(1)")), "averaged over the entries"),
    ("01-5", edited((" * eps", " * 0 * eps")), "no noise"),
    ("01-5", edited(("+ (", "- (")), "sign of the noise"),
    ("01-5", edited(("/ variance + constant) / 2", "/ variance) / 2")), "constant has been dropped"),
    ("01-5", edited(("(logvar / 2)", "(-logvar / 2)")), "sign of the log-variance"),
    ("01-5", edited(("    ", "  "), text="with torch.no_grad():\n    " + LOSS.replace("\n", "\n    ")), "no gradient"),
    ("01-5", edited(("return (squares", "return 1j * (squares")), "a tensor is asked for"),
    ("01-6", "z = (mean + std * eps).requires_grad_()\nreturn torch.autograd.grad(f(z).sum(), z)[0]", "reparameterised"),
    ("01-6", "f(mean + std * eps) * eps", "lacks a division"),
    ("01-6", "f(mean + std * eps) * eps / std**2", "divided by the variance"),
    ("01-6", "f(mean + std * eps) * eps * std", "should be divided"),
    ("01-6", "-f(mean + std * eps) * eps / std", "sign is flipped"),
    ("01-6", "f(mean + std * eps)", "f alone"),
    ("01-6", "eps / std", "score alone"),
    ("01-6", "f(mean) * eps / std", "at the mean"),
    ("01-6", "f(eps) * eps / std", "standard noise"),
    ("01-6", "f(mean + std**2 * eps) * eps / std", "root is missing"),
    ("01-6", "f(mean + std * eps) * torch.distributions.Normal(mean, std).log_prob(mean + std * eps)", "log density itself"),
    ("01-6", "v = f(mean + std * eps)\nreturn (v - v.mean()) * eps / std", "baseline"),
    ("01-6", "(f(mean + std * eps) * eps / std).mean()", "averaged over the batch"),
    ("01-6", "f(mean + std * torch.randn(4)) * eps / std", "random"),
]  # fmt: skip
