"""Chapter 13: the other convention, a variance by hand, one call for two questions, equal pictures, labels that are hidden."""

import torch

from ..runtime import seeded
from .core import choice, draw, formula

# fmt: off

def _weighted(on, off, w, *, mine=1, other=-1, base=1, swapped=False):
    """13-1: (1 + w) on - w off. mine, other: the factors of w. base: of the conditional prediction alone."""
    on, off = (off, on) if swapped else (on, off)
    return base * on + mine * w * on + other * w * off

g = seeded(131)
formula(
    "13-1", "The other convention", 1, "a weight of 0 is the conditional model, and every unit of it leads one step farther.", _weighted, [
        (draw(g, 4, 3), draw(g, 4, 3), 2.0), (draw(g, 2, 1, 3, 3), draw(g, 2, 1, 3, 3), 0.5), (draw(g, 3, 2), draw(g, 3, 2), 0.0),
    ], [
        (lambda on, off, w: off + w * (on - off), "this is the other convention, in which w = 1 is the conditional model; in this one that is w = 0."),
        ({"swapped": True}, "the two predictions have changed places: this leads away from the condition."),
        ({"mine": -1, "other": 1}, "the sign of the push is flipped: this leads towards the unconditional prediction."),
        ({"other": 1}, "both are added: the weights of the two predictions must sum to one."),
        ({"other": 0}, "the unconditional prediction is missing: what one leads away from must be subtracted."),
        ({"mine": 0}, "the conditional prediction counts once only; the weights of the two must sum to one."),
        (lambda on, off, w: w * on + (1 + w) * off, "the two weights have changed places, and one sign is flipped."),
        (lambda on, off, w: w * on - (1 + w) * off, "the two weights have changed places."),
        (lambda on, off, w: w * (on - off), "this is the push alone; it is added to a prediction."),
        (lambda on, off, w: off + (1 + w) * (off - on), "the sign of the push is flipped, and it starts from the right place."),
    ],
)

def _variance(w, u, v, *, mine=1, other=-1, shift=1):
    """13-2: u^w v^(1 - w). mine, other: signs of w in the exponents. shift: what is left of v's exponent at w = 0."""
    return u ** (mine * w) * v ** (shift + other * w)

formula(
    "13-2", "A class of any width", 2, "at w = 0 it is v, at w = 1 it is u, and between and beyond them the logarithm is straight.", _variance, [
        torch.tensor(case, dtype=torch.float64).unbind() for case in
        ((3.0, 1.0, 2.0), (2.0, 0.5, 3.0), (1.0, 0.7, 1.3), (1.5, 0.25, 0.5), (0.0, 0.7, 1.3), (4.0, 1.2, 2.5))
    ], [
        (lambda w, u, v: u * v / (v * w - u * (w - 1)), "this is the variance of the tilted density; solve the differential equation instead."),
        (lambda w, u, v: v ** (1 - w), "this is the case of the text, in which the class has the variance 1."),
        (lambda w, u, v: u ** (w / 2) * v ** ((1 - w) / 2), "this is the factor of one sample, a standard deviation; the variance is its square."),
        (lambda w, u, v: u ** (2 * w) * v ** (2 - 2 * w), "everything stands there squared: the half in front of the score is missing."),
        ({"mine": -1, "other": 1, "shift": -1}, "this is one over the variance: the integral of a(tau) makes samples smaller on their way to the data."),
        ({"shift": 0}, "at w = 0 nobody is led, and the variance must be v."),
        ({"other": 1, "shift": -1}, "the sign of the unconditional part's exponent is flipped: look at w = 0."),
        (lambda w, u, v: w * u + (1 - w) * v, "the variances are mixed; it is their logarithms that are."),
        (lambda w, u, v: 1 / (w / u + (1 - w) / v), "this is the variance of the tilted density; solve the differential equation instead."),
        (lambda w, u, v: v ** w * u ** (1 - w), "the two variances have changed places: at w = 1 it must be the class's."),
        (lambda w, u, v: u ** (1 + w) * v ** (-w), "this is for the weight that is less by one; here w = 1 is the conditional model."),
    ],
)

def _twice(label, classes, *, null=0, first=False):
    """13-3: labels, then "no label" for all of them. null: what is added to the number of "no label"."""
    none = torch.full_like(label, classes + null)
    return torch.cat([none, label] if first else [label, none])

g = seeded(133)
formula(
    "13-3", "Two questions in one call", 1, "the second half of the batch is asked without a label, in the same order of pictures.", _twice, [
        (torch.randint(0, 10, (5,), generator=g), 10), (torch.randint(0, 4, (3,), generator=g), 4), (torch.tensor([0]), 1),
    ], [
        ({"null": -1}, "the last class is not \"no label\": classes are numbered from 0."),
        (lambda label, classes: torch.cat([label, torch.zeros_like(label)]), "0 is a class like any other; \"no label\" has the number after the last class."),
        (lambda label, classes: torch.cat([label, -torch.ones_like(label)]), "-1 is outside the table of labels; \"no label\" has a number of its own."),
        ({"null": 1}, "this is one too many: with K classes the numbers 0 to K - 1 are taken."),
        ({"first": True}, "the halves have changed places: the first is to be asked with the labels."),
        (lambda label, classes: torch.stack([label, torch.full_like(label, classes)], 1).flatten(), "the two questions alternate; the halves must be in one piece each, to be taken apart again."),
        (lambda label, classes: torch.cat([label, label]), "both halves ask the same question; their difference would be zero."),
        (lambda label, classes: torch.full_like(label, classes), "this is the second half; the first is missing."),
        (lambda label, classes: torch.cat([label, torch.full_like(label[:1], classes)]), "one empty question is not enough: each picture of the batch needs its own."),
    ],
)

choice(
    "13-4", "Whose pictures are the same?", 1, "combining before or after a linear map is the same, if the weights sum to one; clamping is not linear.", "c", {
        "a": "clamping is not linear: where it acts, the order matters.",
        "b": "at a given x and t the velocity is a linear function of the clean picture; weights that sum to one pass through it.",
        "d": "only the clamped combination differs; look again at what converting does to weights that sum to one.",
    },
)

def _hidden(label, u, classes, share, *, below=True, null=0):
    """13-5: "no label" where u < share. Planted are the comparison (below) and the number of "no label" (null)."""
    where = (u < share) if below else (u > share)
    none = torch.full_like(label, classes + null)
    return torch.where(where, none, label)

g = seeded(135)
def _case(n, classes, share):
    return torch.randint(0, classes, (n,), generator=g), torch.rand(n, generator=g), classes, share

formula(
    "13-5", "Labels that are hidden", 2, "a share of the labels is hidden, behind the number that no class has.", _hidden, [
        _case(40, 10, 0.1), _case(25, 3, 0.5), _case(12, 5, 0.9),
    ], [
        ({"below": False, "null": -1}, "this is the code as it was given: both faults are still there."),
        ({"null": -1}, "the share is mended, one fault is left: a class of the data is taken for \"no label\"."),
        ({"below": False}, "the number is mended, one fault is left: too many labels are hidden, or too few."),
        (lambda label, u, classes, share: torch.where(u < share, torch.zeros_like(label), label), "0 is a class like any other; it cannot stand for \"no label\"."),
        (lambda label, u, classes, share: torch.where(u < share, -torch.ones_like(label), label), "-1 is outside the table of labels; \"no label\" has a number of its own."),
        (lambda label, u, classes, share: torch.full_like(label, classes) if float(u[0]) < share else label, "one draw decides for the whole batch; each picture needs its own."),
        (lambda label, u, classes, share: torch.full_like(label, classes), "all labels are hidden; the network would never see one."),
        (lambda label, u, classes, share: label, "nothing is hidden; the network would never learn the unconditional case."),
        ({"null": 1}, "this number is outside the table of labels, by one."),
    ],
)
