"""What students of chapter 13 hand in."""

from grading import edited

GIVEAWAY = r"1 \+ w\)|\* on|- w \*|u \*\*|v \*\*|full_like|torch\.cat|letter c|answer is|u < share"

WEIGHTED = "(1 + w) * on - w * off"
TWICE = "torch.cat([label, torch.full_like(label, classes)])"
HIDDEN = "torch.where(u < share, torch.full_like(label, classes), label)"
RIGHT = [
    *(("13-4", letter) for letter in ["c", "C", " (c) "]),
    ("13-1", WEIGHTED),
    ("13-1", "on + w * (on - off)"),
    ("13-1", "off + (1 + w) * (on - off)"),
    ("13-1", "torch.lerp(off, on, 1 + w)"),
    ("13-1", "tl.guided(lambda x, t: tl.Prediction(on, on), lambda x, t: tl.Prediction(off, off), 1 + w)(on, 0).x0"),
    ("13-1", "(on.double() + w * (on.double() - off.double())).numpy()"),
    ("13-2", "u**w * v ** (1 - w)"),
    ("13-2", "v * (u / v) ** w"),
    ("13-2", "math.exp(w * math.log(u) + (1 - w) * math.log(v))"),
    ("13-2", "float(v * (u / v) ** w)"),
    ("13-2", "tau = torch.linspace(-14, 25, 20001, dtype=torch.float64).exp()\n"
     "a = w / (u + tau) - (w - 1) / (v + tau) - 1 / (1 + tau)\n"
     "return math.exp(-float(torch.trapezoid(a * tau, tau.log())))"),
    ("13-3", TWICE),
    ("13-3", "torch.cat([label, label * 0 + classes])"),
    ("13-3", "label.tolist() + [classes] * len(label)"),
    ("13-3", "tl.Condition(label).joined(tl.Condition([classes] * len(label))).label"),
    ("13-5", HIDDEN),
    ("13-5", "torch.where(u >= share, label, classes)"),
    ("13-5", "label.masked_fill(u < share, classes)"),
    ("13-5", "tl.Condition(label).drop(u < share, classes).label"),
]  # fmt: skip

MISTAKES = [
    ("13-1", "off + w * (on - off)", "other convention|not the weight", "sign"),
    ("13-1", "w * on - w * off", "push alone|not the weight", "sign"),
    ("13-1", edited(WEIGHTED, ("- w", "+ w")), "sum to one", "interpolates"),
    ("13-1", "(1 + w) * off - w * on", "changed places", "interpolates"),
    ("13-1", "on - w * (on - off)", "flipped", "convention"),
    ("13-1", "(1 + w) * on", "missing", "sign"),
    ("13-1", "on - w * off", "counts once", "flipped"),
    ("13-1", "w * on - (1 + w) * off", "changed places", "interpolates"),
    ("13-2", "1 / (w / u - (w - 1) / v)", "tilted", "squared"),
    ("13-2", "v ** (1 - w)", "case of the text", "squared"),
    ("13-2", "(v * (u / v) ** w) ** 0.5", "standard deviation", "tilted"),
    ("13-2", "(v * (u / v) ** w) ** 2", "squared", "tilted"),
    ("13-2", "1 / (v * (u / v) ** w)", "one over", "tilted"),
    ("13-2", "u**w * v**-w", "must be v", "tilted"),
    ("13-2", "w * u + (1 - w) * v", "logarithms", "tilted"),
    ("13-2", "v**w * u ** (1 - w)", "changed places", "tilted"),
    ("13-2", "u ** (1 + w) * v**-w", "less by one", "tilted"),
    ("13-3", edited(TWICE, ("label, classes", "label, classes - 1")), "last class", "outside"),
    ("13-3", "torch.cat([label, torch.zeros_like(label)])", "0 is a class", "outside"),
    ("13-3", "torch.cat([label, torch.full_like(label, -1)])", "-1 is outside", "last class"),
    ("13-3", "torch.cat([torch.full_like(label, classes), label])", "halves have changed places", "outside"),
    ("13-3", "torch.stack([label, torch.full_like(label, classes)], 1).flatten()", "alternate", "outside"),
    ("13-3", "label.repeat(2)", "same question", "outside"),
    ("13-3", "torch.full_like(label, classes)", "second half|shape", "outside"),
    ("13-3", "torch.cat([label, torch.tensor([classes])])", "one empty|shape", "outside"),
    ("13-4", "a", "not linear", "solution"),
    ("13-4", "b", "pass through", "solution"),
    ("13-4", "d", "sum to one", "solution"),
    ("13-5", "torch.where(u > share, torch.full_like(label, classes - 1), label)", "both faults", "mended"),
    ("13-5", edited(HIDDEN, ("label, classes", "label, classes - 1")), "share is mended, one fault", "both"),
    ("13-5", edited(HIDDEN, ("u <", "u >")), "number is mended", "both"),
    ("13-5", "label.masked_fill(u < share, 0)", "class like any other", "both"),
    ("13-5", "label.masked_fill(u < share, -1)", "-1 is outside", "both"),
    ("13-5", "label", "nothing is hidden", "both"),
    ("13-5", "torch.full_like(label, classes)", "all labels", "both"),
]  # fmt: skip
