"""Chapter 10's graders: every right form passes, every typical mistake is named, nothing gives the solution away."""

import re
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from grading import solved
from students_ch10 import (
    EARLY,
    EARLY_MIDDLE,
    MIDDLE,
    angles,
    attention_einsum,
    attention_loop,
    attention_scaled_queries,
    both,
    by_their_sum,
    forward,
    forward_emptying,
    forward_zip,
    reshaped,
    scores,
    turned,
    unlike,
    waves_list,
    waves_stack,
    weights_counted,
    weights_formula,
)

from tinyldm.nn import sinusoids

GIVEAWAY = r"\*\*|=|sqrt\(|softmax\(|\.pop\(\)|10000|answer is|letter d|-1\)"


# ---- right answers

RIGHT = [
    ("10-1", attention_einsum),
    ("10-1", attention_scaled_queries),
    ("10-1", attention_loop),
    ("10-1", F.scaled_dot_product_attention),
    ("10-2", lambda ticks, k: sinusoids(ticks, 2 * k)),
    ("10-2", waves_stack),
    ("10-2", waves_list),
    ("10-3", weights_formula),
    ("10-3", weights_counted),
    ("10-3", lambda i, o, w: float(weights_formula(i, o, w))),
    ("10-3", lambda i, o, w: torch.tensor(weights_formula(i, o, w))),
    ("10-3", lambda i, o, w: Fraction(weights_formula(i, o, w))),
    ("10-4", "d"),
    ("10-4", " (D). "),
    ("10-5", forward()),
    ("10-5", forward_zip),
    ("10-5", forward_emptying),
    ("10-5", forward(push="h = layer(h)\n        stack.insert(0, h)", pop="stack.pop(0)")),
]


@pytest.mark.parametrize(("id", "answer"), RIGHT)
def test_a_right_answer_is_accepted_in_any_form(id, answer, verdict):
    right, message = verdict(id, answer)
    assert right, message


@pytest.mark.parametrize(("cin", "cout", "width"), [(320, 320, 1280), (640, 320, 1280), (4, 6, 5)])
def test_the_count_is_that_of_the_library_block(cin, cout, width):
    assert weights_formula(cin, cout, width) == weights_counted(cin, cout, width)


# ---- wrong answers: what must be said, what must not

MISTAKES = [
    ("10-1", lambda q, k, v: scores(q, k, 1).softmax(-1) @ v, "square root is missing", "factor"),
    ("10-1", lambda q, k, v: scores(q, k, 0).softmax(-1) @ v, "not scaled", "root"),
    ("10-1", lambda q, k, v: scores(q, k).softmax(1) @ v, "over the queries", "root"),
    ("10-1", lambda q, k, v: scores(q, k) @ v, "no softmax", "root"),
    ("10-1", lambda q, k, v: (q @ k.mT / k.shape[1] ** 0.5).softmax(-1) @ v, "number of keys", "root"),
    ("10-1", lambda q, k, v: scores(q, k).softmax(-1), "average of the values", "root"),
    ("10-1", lambda q, k, v: scores(q, k).exp() @ v, "divided by their sum", "root"),
    ("10-1", lambda q, k, v: (q * k).softmax(-1) @ v, "stopped with RuntimeError", "root"),
    ("10-1", lambda q, k, v: (q @ k.mT * q.shape[-1] ** 0.5).softmax(-1) @ v, "multiplied by the scale", "root"),
    ("10-1", lambda q, k, v: attention_einsum(q, k, v).sum(1), "shape", "root"),
    ("10-1", lambda q, k, v: v.mean(1, keepdim=True).expand(-1, q.shape[1], -1), "plain mean", "root"),
    ("10-1", lambda q, k, v: scores(q, k, 1).softmax(1) @ v, "two mistakes.*root.*queries", "factor"),
    ("10-1", lambda q, k, v: (q @ k.mT / q.shape[1] ** 0.5).softmax(-1) @ v, "number of queries", "root"),
    ("10-1", lambda q, k, v: (q @ k.mT / v.shape[2] ** 0.5).softmax(-1) @ v, "values' columns", "root"),
    ("10-1", lambda q, k, v: scores(q, k).softmax(-1).softmax(-1) @ v, "taken twice", "root"),
    ("10-1", reshaped, "reshaped", "root"),
    ("10-1", lambda q, k, v: scores(q, k).abs().softmax(-1) @ v, "lost their sign", "flipped"),
    ("10-1", lambda q, k, v: scores(q, k).square().softmax(-1) @ v, "squared", "flipped"),
    ("10-1", by_their_sum, "exponential is missing", "root"),
    ("10-1", lambda q, k, v: F.scaled_dot_product_attention(*(z.bfloat16() for z in (q, k, v))), "fewer digits", "%"),
    ("10-2", lambda t, k: both(t[:, None] * 1e5 ** (-torch.arange(k) / k)), "slowest wave is too slow", "sign"),
    ("10-2", lambda t, k: torch.cat([angles(t, k).cos(), -angles(t, k).sin()], 1), "wrong sign", "flipped"),
    ("10-2", lambda t, k: both(t[:, None] * 2.0 ** -torch.arange(k)), "halved", "base;"),
    ("10-2", lambda t, k: torch.cat([angles(t, k).cos(), angles(t, k).sin()], 0), "one below the other", "shape"),
    ("10-2", lambda t, k: both(angles(t, 2 * k)), "twice as many", "shape"),
    ("10-2", lambda t, k: both(angles(t, k // 2)), "half as many", "shape"),
    ("10-2", lambda t, k: both(angles(t, k)).roll(k, 1), "changed places", "root"),
    ("10-2", lambda t, k: torch.stack([angles(t, k).cos(), angles(t, k).sin()], 2).flatten(1), "alternate", "root"),
    ("10-2", lambda t, k: both(angles(t, k, 2)), "fall too fast", "sign"),
    ("10-2", lambda t, k: both(angles(t, k, 0.5)), "fall too slowly", "sign"),
    ("10-2", lambda t, k: both(angles(t, k, -1)), "sign of the exponent", "root"),
    ("10-2", lambda t, k: both(t[:, None] * 10000.0 ** (-torch.arange(1, k + 1) / k)), "counted from one", "sign"),
    ("10-2", lambda t, k: both(t[:, None] * 10000.0 ** (-torch.arange(k) / (k - 1))), "DDPM", "sign"),
    ("10-2", lambda t, k: angles(t, k).cos(), "the sines", "sign"),
    ("10-2", lambda t, k: both(2 * torch.pi * angles(t, k)), "full circle", "sign"),
    ("10-2", lambda t, k: both(angles(t / 1000, k)), "divided by a thousand", "sign"),
    ("10-2", lambda t, k: torch.cat([angles(t, k)] * 2, 1), "angles", "sign"),
    ("10-2", lambda t, k: angles(t, k).cos() + angles(t, k).sin(), "added", "sign"),
    ("10-2", lambda t, k: both(angles(t, k, 2)).roll(k, 1), "two mistakes", "root"),
    ("10-3", lambda i, o, w: o * (9 * i + 9 * o + w + 5) + 2 * i, "shortcut is left out", "sum"),
    ("10-3", lambda i, o, w: o * (9 * i + 9 * o + w + 5) + 2 * i + o * (i + 1), "identity", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) - 2 * i - 2 * o, "normalisations are missing", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) - i - o, "two numbers a channel", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) - (w + 1) * o, "embedding's map is missing", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) + (w + 1) * o, "no scale beside", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) - 6 * o * (i + o), "height and width", "sum"),
    ("10-3", lambda i, o, w: weights_counted(i, o, w) - 3 * o - (o if i != o else 0), "offsets are missing", "sum"),
    ("10-3", lambda i, o, w: 2255040, "not", "times too large|sum"),
    ("10-3", lambda i, o, w: torch.tensor([weights_counted(i, o, w)]), "a number is asked for", "arrangement"),
    ("10-3", lambda i, o, w: str(weights_counted(i, o, w)), "a number is asked for", "tensor"),
    ("10-3", unlike(lambda i, o: 9 * o * (i - o)), "second convolution works", "sum"),
    ("10-3", unlike(lambda i, o: 2 * (i - o)), "second works on what comes out", "sum"),
    ("10-3", unlike(lambda i, o: i - o), "one offset for each channel", "sum"),
    ("10-3", unlike(lambda i, o: -(9 * i + 1) * o), "first convolution is missing", "sum"),
    ("10-3", unlike(lambda i, o: -(i + 1) * o if i > o else 0), "become more;", "fewer;"),
    ("10-3", unlike(lambda i, o: -(i + 1) * o if i < o else 0), "become fewer;", "more;"),
    ("10-4", "a", "only noise", "sign"),
    ("10-4", "b", "hardly any noise", "sign"),
    ("10-4", "c", "two ends", "sign"),
    ("10-5", forward(push=EARLY, pop="stack.pop(0)"), "both faults", "mended"),
    ("10-5", forward(push=EARLY), "order is mended.*too early", "both"),
    ("10-5", forward(pop="stack.pop(0)"), "push is mended.*wrong order", "both"),
    ("10-5", forward(start="[]"), "IndexError", "sign"),
    ("10-5", forward(pair="[{}, h]"), "changed places", "order"),
    ("10-5", forward(start="[x]"), "input itself", "order"),
    ("10-5", forward(pair="[h, h]"), "meets itself", "order"),
    ("10-5", forward(pair="[h, 0 * {}]"), "nothing is handed over", "order"),
    ("10-5", forward(start="[]", push=MIDDLE), "middle hands nothing", "sign"),
    ("10-5", forward(push="stack.append(h)\n        h = layer(h)\n        stack.append(h)"), "pushed twice", "sign"),
    ("10-5", forward(pop="stack[0]"), "same map, the first", "deepest"),
    ("10-5", forward(pop="stack[-1]"), "same map, the deepest", "first"),
    ("10-5", forward(push="h = layer(h)\n        stack.append(x)"), "input itself", "middle"),
    ("10-5", forward(start="[]", push=EARLY_MIDDLE), "too early, and the middle", "order"),
    ("10-5", turned(forward(), 2), "way down .* reverse", "way up"),
    ("10-5", turned(forward(), 4), "way up .* reverse", "way down"),
    ("10-5", forward(push=EARLY, pop="stack.pop(0)", pair="[{}, h]"), "both faults.*changed places", "mended"),
    ("10-5", forward(end="    return h"), "inside the loop", "sign"),
    ("10-5", forward(end="return None"), "returns nothing", "sign"),
]  # fmt: skip


@pytest.mark.parametrize(("id", "given", "word", "misleading"), MISTAKES)
def test_a_typical_mistake_is_named_without_giving_the_solution_away(id, given, word, misleading, verdict):
    right, message = verdict(id, given)
    assert not right
    assert re.search(word, message), message
    assert not re.search(misleading, message), message
    assert not re.search(GIVEAWAY, message), message


@pytest.mark.parametrize("id", ["10-1", "10-2", "10-3", "10-4", "10-5"])
@pytest.mark.parametrize("answer", [None, ..., 3.0, [], torch.zeros(2)])
def test_what_is_no_answer_is_refused(id, answer, verdict):
    right, message = verdict(id, answer)
    assert not right
    assert re.search("no answer yet|asked for|one of the letters", message)


def test_the_faults_cannot_be_seen_by_counting(rng):
    """With the planted bugs nothing crashes: pushes and joints are equally many."""
    weight = torch.randn(3, 6, generator=rng)

    def wide(h):
        return torch.einsum("oi,bi->bo", weight, h)

    def same(h):
        return h + 1

    x = torch.randn(2, 3, generator=rng)
    broken = forward(push=EARLY, pop="stack.pop(0)")(x, same, [same, same], same, [wide] * 3)
    whole = forward()(x, same, [same, same], same, [wide] * 3)
    assert broken.shape == whole.shape
    assert not torch.allclose(broken, whole)


# ---- whatever is handed in, the grader answers


def stop(*_):
    raise KeyError("beta")


GARBAGE = [
    (lambda r: None, "returns nothing"),
    (lambda r: "x", "a (tensor|number) is asked for"),
    (lambda r: {"x": r}, "a (tensor|number) is asked for"),
    (lambda r: r * float("nan"), "NaN or infinity"),
    (lambda r: torch.empty(0), "shape"),
    (lambda r: torch.as_tensor(r).expand(3, *torch.as_tensor(r).shape), "one part of it|arrangement"),
    (lambda r: torch.as_tensor(r) + torch.rand(torch.as_tensor(r).shape), "random"),
    (
        lambda r: torch.complex(1.0 * torch.as_tensor(r).double(), torch.zeros(()).double()),
        "a (tensor|number) is asked for",
    ),
    (lambda r: -torch.as_tensor(r), "sign is flipped"),
    (stop, "KeyError: 'beta'"),
]


@pytest.mark.parametrize("id", solved("10"))
@pytest.mark.parametrize(("spoil", "word"), GARBAGE)
def test_garbage_is_refused_and_nothing_fails(id, spoil, word, verdict):
    right, message = verdict(id, lambda *z: spoil(solved("10")[id](*z)))
    assert not right
    assert re.search(word, message), message


@pytest.mark.parametrize("id", solved("10"))
@pytest.mark.parametrize("form", [lambda r: r.double(), lambda r: r.float(), lambda r: r.numpy(), lambda r: r.tolist()])
def test_the_worked_solution_is_right_in_any_type(id, form, verdict):
    right, message = verdict(id, lambda *z: form(torch.as_tensor(solved("10")[id](*z))))
    assert right, message
