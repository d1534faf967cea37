"""What students of chapter 05 hand in."""

from grading import edited as changed

GIVEAWAY = r"\*|/|=|sqrt|√|\(s\)|\(t\)|cumprod|rho|answer is|letter c"

RHO2 = "rho2 = (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2\n"
STD = "sigma_s * (1 - rho2).sqrt()"
MEAN = "alpha_s * ((1 - rho2) * x0 + rho2 * x / alpha_t)"
LOOP = """for t, s, noise in zip(ts[:-1], ts[1:], noises):
    x0 = predict(x, t).x0
    ratio = path.alpha(t) * path.sigma(s)
    ratio = (ratio / (path.alpha(s) * path.sigma(t))) ** 2
    x0_now = (1 - ratio) * x0 + ratio * x / path.alpha(t)
    spread = path.sigma(s) * (1 - ratio).sqrt()
    x = path.alpha(s) * x0_now + spread * noise
return x"""
WEIGHT = "alpha_t**2 * ((alpha_s * sigma_t / (sigma_s * alpha_t)) ** 2 - 1) / 2"


def stacked(mean=MEAN, std=STD):
    return f"{RHO2}return torch.stack([{mean}, {std}])"


def edited(*edits):
    return changed(LOOP, *edits)


BAYES = """a = alpha_t / alpha_s
beta = sigma_t**2 - a**2 * sigma_s**2
variance = 1 / (a**2 / beta + 1 / sigma_s**2)
return torch.stack([variance * (a * x / beta + alpha_s * x0 / sigma_s**2), variance**0.5])"""
RIGHT = [
    *(("05-4", letter) for letter in ["c", "C", " (c) "]),
    ("05-1", "(1 - betas).cumprod(0).sqrt()"),
    ("05-1", "torch.exp(torch.log1p(-betas).cumsum(0) / 2)"),
    ("05-1", "(1 - betas).sqrt().cumprod(0)"),
    ("05-1", "np.sqrt(np.cumprod(1 - betas.numpy()))"),
    ("05-1", "a, out = 1.0, []\nfor b in betas:\n    a = a * (1 - b) ** 0.5\n    out.append(a)\nreturn torch.stack(out)"),
    ("05-2", stacked()),
    ("05-2", BAYES),
    ("05-2", f"{RHO2}m, v = {MEAN}, sigma_s**2 - rho2 * sigma_s**2\nreturn torch.stack((m, v.sqrt()))"),
    ("05-3", WEIGHT),
    ("05-3", "(alpha_s**2 * sigma_t**2 / sigma_s**2 - alpha_t**2) / 2"),
    ("05-3", "alpha_t**2 * torch.expm1(2 * torch.log(alpha_s * sigma_t / sigma_s / alpha_t)) / 2"),
    ("05-5", LOOP),
    ("05-5", edited(("for t, s, noise in zip(ts[:-1], ts[1:], noises)", "for i, noise in enumerate(noises)"),
                    ("    x0 = predict", "    t, s = ts[i], ts[i + 1]\n    x0 = predict"))),
]  # fmt: skip


PLANTED_MEAN = ("(1 - ratio) * x0 + ratio * x", "(1 - ratio.sqrt()) * x0 + ratio.sqrt() * x")
PLANTED_STD = ("path.sigma(s) * (1 - ratio).sqrt()", "path.sigma(s) ** 2 * (1 - ratio)")
MISTAKES = [
    ("05-1", "(1 - betas).cumprod(0)", "alpha-bar"),
    ("05-1", "1 - betas", "one step only"),
    ("05-1", "(1 - betas).sqrt()", "a single step"),
    ("05-1", "(1 - (1 - betas).cumprod(0)).sqrt()", "noise's standard deviation"),
    ("05-1", "torch.exp(-betas.cumsum(0) / 2)", "infinitely many"),
    ("05-1", "(1 - betas).cumprod(0)[-1].sqrt()", "last entry alone"),
    ("05-1", "torch.cat([torch.ones(1), (1 - betas[:-1]).cumprod(0).sqrt()])", "shifted by one"),
    ("05-2", stacked(std="sigma_s**2 * (1 - rho2)"), "square root is missing"),
    ("05-2", stacked(std="(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).sqrt()"), "forward step adds"),
    ("05-2", stacked(mean="alpha_s * ((1 - rho2) * x / alpha_t + rho2 * x0)"), "changed places"),
    ("05-2", stacked(mean="(1 - rho2) * x0 + rho2 * x / alpha_t"), "not faded"),
    ("05-2", stacked(mean="alpha_s * x0 + sigma_s / sigma_t * (x - alpha_t * x0)"), "DDIM"),
    ("05-2", f"{RHO2}return {MEAN}", "only the mean"),
    ("05-2", f"{RHO2}return {MEAN}, {STD}", "returned a tuple"),
    ("05-3", WEIGHT.replace("alpha_t**2 * ", "", 1), "noise's error"),
    ("05-3", "((alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2) / 2", "data's error"),
    ("05-3", WEIGHT.replace("alpha_t**2", "alpha_t**-2", 1), "on its head"),
    ("05-3", f"2 * {WEIGHT}", "half"),
    ("05-3", f"-{WEIGHT}", "sign"),
    ("05-5", edited(PLANTED_MEAN, PLANTED_STD), "both faults"),
    ("05-5", edited(PLANTED_STD), "the mean is mended"),
    ("05-5", edited(PLANTED_MEAN), "the noise is mended"),
    ("05-4", "a", "has a limit"),
    ("05-4", "b", "weights do halve"),
    ("05-4", "d", "half as much"),
    ("05-1", "(1 + betas).cumprod(0).sqrt()", "sign of beta"),
    ("05-1", "(1 - betas).sqrt().cumsum(0)", "added up"),
    ("05-1", "torch.roll((1 - betas).cumprod(0).sqrt(), 1)", "come to the front"),
    ("05-1", "torch.cat([torch.ones(1), (1 - betas).cumprod(0).sqrt()])", "not in the table"),
    ("05-2", stacked(mean="(1 - rho2) * x0 + rho2 * x / alpha_t", std="sigma_t * (1 - rho2).sqrt()"), "faded.*forward step"),
    ("05-2", stacked(mean="-" + MEAN), "In the mean: the sign is flipped"),
    ("05-2", stacked(std="sigma_s * rho2.sqrt()"), "mean is right.*DDIM"),
    ("05-2", f"{RHO2}return torch.stack([{MEAN}, {STD}], 1)", "rows and columns"),
    ("05-3", WEIGHT.replace("- 1", ""), "no length"),
    ("05-3", "((alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2) / 2 / sigma_t**2", "on its head"),
    ("05-5", edited(PLANTED_MEAN, ("spread = path.sigma(s)", "spread = path.sigma(t)")), "two.*forward"),
    ("05-5", edited(("path.alpha(s) * x0_now", "x0_now"), ("predict(x, t)", "predict(x, s)")), "two mistakes"),
    ("05-5", edited(("spread * noise", "spread * noises[0]")), "same noise"),
    ("05-5", edited((" + spread * noise", "")), "no fresh noise"),
    ("05-5", edited(("spread = path.sigma(s)", "spread = path.sigma(t)")), "forward step's noise"),
    ("05-5", LOOP.replace("return x", "    return x"), "inside the loop"),
    ("05-5", edited(("path.alpha(t)\n    spread", "path.alpha(s)\n    spread")), "values are not"),
]  # fmt: skip
