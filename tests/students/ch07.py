"""What students of chapter 07 hand in."""

from grading import edited

GIVEAWAY = r"\*|/|=|sqrt|√|\bs - t\b|\bt - s\b|g2 alpha|sigma squared|1 \+ eta|answer is|letter c"

STEP = "x + (s - t) * (f * x - (1 + eta**2) / 2 * g2 * score) + eta * math.sqrt(g2 * (t - s)) * noise"
SAMPLER = """for t, s, noise in zip(ts[:-1], ts[1:], noises):
    h = t - s
    push = (1 + eta**2) / 2 * path.g2(t) * score(x, t)
    x = x - h * path.f(t) * x + h * push
    x = x + eta * path.g2(t).sqrt() * h.sqrt() * noise
return x"""
LIBRARY = """draws = iter(noises)
dynamics = tl.Dynamics(path, lambda x, t: tl.Prediction(x, -path.sigma(t) * score(x, t)))
for t, s, noise in zip(ts[:-1], ts[1:], noises):
    drift, diffusion = dynamics.reverse(x, t, eta)
    x = x + (s - t) * drift + diffusion * (t - s) ** 0.5 * noise
return x"""

RIGHT = [
    *(("07-3", letter) for letter in ["c", "C", " c ", "(c)", "c)"]),
    ("07-1", STEP),
    ("07-1", "x + (t - s) * (0.5 * g2 * (1 + eta * eta) * score - f * x) + eta * g2**0.5 * (t - s) ** 0.5 * noise"),
    ("07-1", "dt = s - t\nreturn x * (1 + f * dt) - dt * (g2 + eta**2 * g2) / 2 * score + eta * (g2 * -dt) ** 0.5 * noise"),
    ("07-1", "h = t - s\nb = f * x - (1 + eta**2) / 2 * g2 * score\nreturn (x - h * b + eta * np.sqrt(g2 * h) * noise).numpy()"),
    ("07-2", "(x + sigma**2 * score) / alpha"),
    ("07-2", "x / alpha + sigma.square() / alpha * score"),
    ("07-2", "eps = -sigma * score\nreturn (x - sigma * eps) / alpha"),
    ("07-2", "((x.double() + sigma.double() ** 2 * score) / alpha).numpy()"),
    ("07-4", "g2 * alpha**2 / sigma**4"),
    ("07-4", "(g2.sqrt() * alpha / sigma.square()) ** 2"),
    ("07-4", "g2 / sigma**2 * (alpha / sigma) ** 2"),
    ("07-4", "[float(g * a**2 / s**4) for a, s, g in zip(alpha, sigma, g2)]"),
    ("07-5", SAMPLER),
    ("07-5", LIBRARY),
    ("07-5", edited(SAMPLER, ("h.sqrt()", "h**0.5"))),
    ("07-5", edited(SAMPLER, ("zip(ts[:-1], ts[1:], noises)", "[(ts[i], ts[i + 1], noises[i]) for i in range(len(noises))]"))),
]  # fmt: skip

MISTAKES = [
    ("07-1", edited(STEP, ("(s - t)", "(t - s)")), "time runs the wrong way", "root"),
    ("07-1", edited(STEP, ("- (1 +", "+ (1 +")), "sign of the score", "root"),
    ("07-1", edited(STEP, ("(f * x", "(-f * x")), "sign of the fading", "score"),
    ("07-1", edited(STEP, (" / 2 *", " *")), "half is missing", "sign"),
    ("07-1", edited(STEP, ("(1 + eta**2) / 2 *", "")), "Anderson", "sign"),
    ("07-1", edited(STEP, ("(1 + eta**2) / 2", "0.5")), "more noise needs more pull", "sign"),
    ("07-1", edited(STEP, ("(1 + eta**2) / 2", "eta**2")), "dropped out", "sign"),
    ("07-1", edited(STEP, ("(1 + eta**2)", "(1 + eta)")), "not squared", "sign"),
    ("07-1", edited(STEP, ("2 * g2", "2 * g2**0.5")), "its square is asked", "sign"),
    ("07-1", edited(STEP, ("math.sqrt(g2 * (t - s))", "math.sqrt(g2) * (t - s)")), "square root is missing", "sign"),
    ("07-1", edited(STEP, ("math.sqrt(g2 * (t - s))", "math.sqrt(g2) * (s - t)")), "negative difference.*root", "score"),
    ("07-1", edited(STEP, ("math.sqrt(g2 * (t - s))", "g2 * (t - s) ** 0.5")), "squared diffusion; a square root", "sign"),
    ("07-1", edited(STEP, ("eta * math.sqrt(g2 * (t - s))", "eta**2 * g2 * (t - s)")), "variance", "sign"),
    ("07-1", edited(STEP, ("eta * math", "math")), "full strength", "sign"),
    ("07-1", edited(STEP, ("g2 * (t - s)", "g2")), "length of the step", "sign"),
    ("07-1", edited(STEP, ("math.sqrt(g2 * (t - s))", "math.sqrt(g2 * (s - t))")), "ValueError", "time"),
    ("07-1", edited(STEP, ("math.sqrt(g2 * (t - s))", "torch.tensor(g2 * (s - t)).sqrt()")), "negative number", "time"),
    ("07-1", edited(STEP, ("noise", "torch.randn_like(noise)")), "random", "sign"),
    ("07-1", edited(STEP, ("x + (s", "(s")), "change of the state", "root"),
    ("07-2", "(x - sigma**2 * score) / alpha", "sign of the score", "root"),
    ("07-2", "(x + sigma * score) / alpha", "variance is asked for", "sign"),
    ("07-2", "(x - sigma * score) / alpha", "predicted noise", "root"),
    ("07-2", "x + sigma**2 * score", "undo the fading", "sign"),
    ("07-2", "alpha * (x + sigma**2 * score)", "once more", "sign"),
    ("07-2", "x / alpha + sigma**2 * score", "state only", "sign"),
    ("07-2", "(x + (1 - alpha**2) * score) / alpha", "preserves the variance", "sign"),
    ("07-2", "-sigma * score", "noise, not the data", "root"),
    ("07-2", "(x + sigma**2 * score / 2) / alpha", "half of what", "sign"),
    ("07-2", "-(x + sigma**2 * score) / alpha", "sign is flipped", "root"),
    ("07-4", "g2 * alpha**2 / sigma**2", "one more division", "sign"),
    ("07-4", "g2 / sigma**2", "error of the noise", "root"),
    ("07-4", "alpha**2 / sigma**4", "likelihood weighting is missing", "root"),
    ("07-4", "alpha**2 / sigma**2", "simple", "root"),
    ("07-4", "g2.sqrt() * alpha / sigma**2", "square root too many", "missing"),
    ("07-4", "g2**2 * alpha**2 / sigma**4", "squared again", "sign"),
    ("07-4", "g2 * sigma**4 / alpha**2", "on its head", "root"),
    ("07-4", "0.5 * g2 * alpha**2 / sigma**4", "half of what", "root"),
    ("07-4", "(g2 * alpha**2 / sigma**4).sum()", "summed over the batch", "root"),
    ("07-4", "(g2 * alpha**2 / sigma**4).mean()", "all times", "root"),
    ("07-5", edited(SAMPLER, (" / 2 ", " "), ("h.sqrt()", "h")), "both faults", "sign"),
    ("07-5", edited(SAMPLER, ("h.sqrt()", "h")), "drift is mended", "half"),
    ("07-5", edited(SAMPLER, (" / 2 ", " ")), "noise is mended", "variance"),
    ("07-5", edited(SAMPLER, (" / 2 ", " / 4 ")), "a quarter", "sign"),
    ("07-5", edited(SAMPLER, ("(1 + eta**2) / 2 * ", "")), "noise level 1 only", "sign"),
    ("07-5", edited(SAMPLER, ("h * push", "-h * push")), "sign of the score", "root"),
    ("07-5", edited(SAMPLER, ("x - h", "x + h")), "sign of the fading", "root"),
    ("07-5", edited(SAMPLER, ("h = t - s", "h = s - t"), ("h.sqrt()", "h.abs().sqrt()")), "wrong sign as a whole", "root"),
    ("07-5", edited(SAMPLER, ("path.g2(t).sqrt()", "path.g2(t)")), "square root is missing", "sign"),
    ("07-5", edited(SAMPLER, ("noise\nreturn", "noise\n    return")), "inside the loop", "sign"),
    ("07-5", edited(SAMPLER, ("ts[:-1], ts[1:]", "ts[:-2], ts[1:-1]")), "last step is not taken", "sign"),
    ("07-5", edited(SAMPLER, ("h.sqrt() * noise", "h.sqrt() * torch.randn_like(x)")), "random", "sign"),
    ("07-1", edited(STEP, ("- (1 +", "+ (1 +"), ("eta * math", "math")), "two.*sign of the score.*full", "time"),
    ("07-1", edited(STEP, (" * g2 * score", " * score")), "squared diffusion is missing", "sign"),
    ("07-1", edited(STEP, ("+ eta *", "- eta *")), "sign of the noise", "root"),
    ("07-2", "(x + sigma**2 * score) / sigma", "data's fading", "sign"),
    ("07-2", "x / alpha", "score is not used", "sign"),
    ("07-4", "g2 * alpha**2 / sigma**3", "power of sigma", "sign"),
    ("07-4", "g2 * sigma**2 / alpha**4", "changed places", "root"),
    ("07-5", edited(SAMPLER, ("score(x, t)", "score(x, s)")), "score is asked", "sign"),
    ("07-5", edited(SAMPLER, (" / 2 ", " "), ("score(x, t)", "-score(x, t)")), "two mistakes", "root"),
    ("07-5", edited(SAMPLER, ("eta * path", "path")), "full strength", "sign"),
    ("07-3", "a", "more alike", "root of"),
    ("07-3", "b", "forward noise", "root"),
    ("07-3", "d", "contains this very noise", "root"),
    # the text of exercise 5 itself, as a student may hand it in
    ("07-5", edited(SAMPLER, (" / 2 ", " "), (".sqrt() * h.sqrt()", ".sqrt() * h")), "both faults"),
]  # fmt: skip
