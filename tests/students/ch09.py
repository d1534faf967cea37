"""What students of chapter 09 hand in."""

from grading import edited

GIVEAWAY = r"\*|/|=|sqrt|√|eps - x|x0 - |- t u|\+ \(1|answer is|letter c"

CFM = """a, s, da, ds = (up(c, x0) for c in (alpha, sigma, d_alpha, d_sigma))
y = da * x0 + ds * eps
return ((velocity(a * x0 + s * eps, t) - y) ** 2).flatten(1).mean(1)"""
REFLOW = """x = eps
for i in range(n):
    time = torch.full((len(x),), 1 - i / n)
    x = x - teacher(x, time) / n
state = up(1 - t, x) * x + up(t, x) * eps
error = student(state, t) - (eps - x)
return (error**2).flatten(1).mean(1)"""
STACK = "torch.stack([{}, {}])".format
TORN = ("up(t, x) * eps", "up(t, x) * eps.roll(1, 0)"), ("(eps - x)", "(eps.roll(1, 0) - x)")
AWAY = ("x - teacher", "x + teacher")
RIGHT = [
    *(("09-4", letter) for letter in ["c", "C", " (c) "]),
    ("09-1", CFM),
    ("09-1", edited(CFM, ("(velocity", "(-velocity"), (") - y)", ") + y)"))),
    ("09-1", edited(CFM, ("((velocity(a * x0 + s * eps, t) - y) ** 2).flatten(1).mean(1)",
     "torch.nn.functional.mse_loss(velocity(a * x0 + s * eps, t), y, reduction='none').flatten(1).mean(1)"))),
    ("09-1", edited(CFM, (", t) - y)", ", t).double() - y.double())"))),
    ("09-2", STACK("x - t * u", "x + (1 - t) * u")),
    ("09-2", STACK("x - t * u", "x - t * u + u")),
    ("09-2", "x0 = x.double() - t * u\nreturn torch.stack((x0, u + x0))"),
    ("09-2", "e = x + (1 - t) * u\nreturn torch.cat([(e - u)[None], e[None]])"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn k * t / (1 + (k - 1) * t)"),
    ("09-3", "tl.losses.shift_times(t, (pixels / base) ** 0.5)"),
    ("09-3", "k = (pixels / base) ** 0.5\nr = k * t / (1 - t)\nreturn r / (1 + r)"),
    ("09-3", "k = torch.tensor(pixels / base).sqrt()\nreturn torch.sigmoid(torch.logit(t) + k.log())"),
    ("09-5", REFLOW),
    ("09-5", edited(REFLOW, ("torch.full((len(x),), 1 - i / n)", "torch.ones(len(x)) * (n - i) / n"))),
    ("09-5", edited(REFLOW, ("range(n)", "range(n, 0, -1)"), ("1 - i / n", "i / n"))),
    ("09-5", edited(REFLOW, ("up(1 - t, x) * x + up(t, x) * eps", "torch.lerp(x, eps, up(t, x))"))),
]  # fmt: skip
MISTAKES = [
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "eps - x0")), "straight path only", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "x0 - eps")), "noise to data", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "eps")), "noise prediction", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "a * eps - s * x0")), "angle", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "ds * x0 + da * eps")), "changed places", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "ds * eps - da * x0")), "negative already", "root"),
    ("09-1", edited(CFM, (", t) - y", ", t) + y")), "sign of the target", "root"),
    ("09-1", edited(CFM, ("a * x0 + s * eps, t", "x0, t")), "clean data", "sign"),
    ("09-1", edited(CFM, ("a * x0 + s * eps, t", "s * x0 + a * eps, t")), "in the state", "sign"),
    ("09-1", edited(CFM, ("mean(1)", "sum(1)")), "summed", "sign"),
    ("09-1", edited(CFM, ("mean(1)", "mean(1).sqrt()")), "root too many", "sign"),
    ("09-1", edited(CFM, (".flatten(1).mean(1)", ".mean()")), "whole batch", "sign"),
    ("09-2", STACK("x + t * u", "x - (1 - t) * u"), "sign.*flipped in both", "places"),
    ("09-2", STACK("x + (1 - t) * u", "x - t * u"), "changed places", "sign"),
    ("09-2", STACK("x - (1 - t) * u", "x + t * u"), "distances", "sign"),
    ("09-2", STACK("x - t * u", "x - (1 - t) * u"), "data is right.*sign", "places"),
    ("09-2", STACK("x - t * u", "(x - (1 - t) * (x - t * u)) / t.clamp(min=1)"), "shape is right|right for some", "root"),
    ("09-2", STACK("(x - t * (x + (1 - t) * u)) / (1 - t)", "x + (1 - t) * u"), "NaN or infinity", "sign"),
    ("09-2", "x - t * u", "data alone", "sign"),
    ("09-2", STACK("x - t * u", "u"), "less the data", "sign"),
    ("09-3", "k = pixels / base\nreturn k * t / (1 + (k - 1) * t)", "square root is missing", "sign"),
    ("09-3", "k = (base / pixels) ** 0.5\nreturn k * t / (1 + (k - 1) * t)", "on its head", "root is"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn k * t", "not the time itself", "sign"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn k * t / (1 + k * t)", "piece is missing", "sign"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn k * t / (1 + (1 - k) * t)", "sign in the denominator", "root"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn k * t / (1 - t)", "solve it", "sign"),
    ("09-3", "k = (pixels / base) ** 0.5\nreturn t / (k + (1 - k) * t)", "on its head|clock", "square"),
    ("09-5", edited(REFLOW, *TORN, AWAY), "both faults", "mean"),
    ("09-5", edited(REFLOW, *TORN), "teacher is mended", "wrong way"),
    ("09-5", edited(REFLOW, AWAY), "pairs are mended", "torn"),
    ("09-5", edited(REFLOW, AWAY, ("1 - i / n", "i / n")), "times rise", "torn"),
    ("09-5", edited(REFLOW, ("1 - i / n", "i / n")), "clock runs against", "torn"),
    ("09-5", edited(REFLOW, ("1 - i / n", "1 - (i + 1) / n")), "at its start", "torn"),
    ("09-5", edited(REFLOW, ("up(1 - t, x) * x + up(t, x) * eps", "up(t, x) * x + up(1 - t, x) * eps")), "near the data", "torn"),
    ("09-5", edited(REFLOW, ("(eps - x)", "(x - eps)")), "target is flipped", "torn"),
    ("09-5", edited(REFLOW, ("mean(1)", "sum(1)")), "summed", "torn"),
    ("09-5", edited(REFLOW, ("* eps\n", "* torch.randn_like(eps)\n")), "random", "sign"),
    ("09-1", edited(CFM, ("eps, t)", "eps, 1 - t)")), "other way", "sign"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "eps - x0"), ("mean(1)", "sum(1)")), "two.*straight.*summed", "root"),
    ("09-1", edited(CFM, ("da * x0 + ds * eps", "ds * eps")), "data's part", "sign"),
    ("09-2", STACK("x + t * u", "x"), "In the data: the sign", "root"),
    ("09-2", STACK("x - t * u", "u - x"), "data is right.*not less the state", "places"),
    ("09-2", "x - t * u, x + (1 - t) * u", "Stack its parts", "sign"),
    ("09-3", "t / (pixels / base) ** 0.5", "not the time divided", "sign"),
    ("09-3", "t", "nothing is shifted", "sign"),
    ("09-5", edited(REFLOW, TORN[0]), "in the target only", "way"),
    ("09-5", edited(REFLOW, TORN[1]), "state only", "way"),
    ("09-5", edited(REFLOW, ("(eps - x)", "(x - eps)"), ("mean(1)", "sum(1)")), "two mistakes.*flipped.*summed", "torn"),
    ("09-5", edited(REFLOW, ("teacher(x, time)", "teacher(eps, time)")), "shown the noise", "torn"),
    ("09-4", "a", "what reflow keeps", "partners"),
    ("09-4", "b", "another one", "partners"),
    ("09-4", "d", "joined to what", "partners"),
]  # fmt: skip
