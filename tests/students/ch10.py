"""What students of chapter 10 hand in."""

from fractions import Fraction

import torch
import torch.nn.functional as F

from tinyldm.nn import sinusoids
from tinyldm.nn.layers import ResBlock

GIVEAWAY = r"\*\*|=|sqrt\(|softmax\(|\.pop\(\)|10000|answer is|letter d|-1\)"


def attention_einsum(q, k, v):
    scores = torch.einsum("bnc,bmc->bnm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bnm,bmd->bnd", torch.softmax(scores, dim=-1), v)


def attention_scaled_queries(q, k, v):
    """The scale on both sides, a fourth root each, and the softmax by hand, shifted."""
    root = q.shape[2] ** 0.25
    scores = (q / root) @ (k / root).transpose(-1, -2)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights @ v / weights.sum(-1, keepdim=True)


def attention_loop(q, k, v):
    out = []
    for b in range(len(q)):
        out.append(torch.stack([(k[b] @ row / len(row) ** 0.5).softmax(0) @ v[b] for row in q[b]]))
    return torch.stack(out)


def waves_stack(ticks, k):
    frequency = torch.logspace(0, -4 * (k - 1) / k, k)
    angles = torch.outer(ticks, frequency)
    return torch.stack([angles.cos(), angles.sin()], 1).flatten(1)


def waves_list(ticks, k):
    rows = []
    for tick in ticks.tolist():
        angles = torch.tensor([tick / 10000 ** (j / k) for j in range(k)])
        rows.append(torch.cat([angles.cos(), angles.sin()]))
    return torch.stack(rows)


def weights_formula(cin, cout, width):
    total = cout * (9 * cin + 9 * cout + width + 5) + 2 * cin
    return total if cin == cout else total + cout * (cin + 1)


def weights_counted(cin, cout, width):
    return sum(p.numel() for p in ResBlock(cin, cout, 1, width).parameters())


def forward(start="[h]", push="h = layer(h)\n        stack.append(h)", pop="stack.pop()", pair="[h, {}]", end="return h"):
    text = f"""
def forward(x, first, down, middle, up):
    h = first(x)
    stack = {start}
    for layer in down:
        {push}
    h = middle(h)
    for layer in up:
        h = layer(torch.cat({pair.format(pop)}, dim=1))
    {end}
"""
    scope = {"torch": torch}
    exec(text, scope)
    return scope["forward"]


MIDDLE = "h = layer(h)\n        stack.append(h)\n    stack.append(middle(h))"
EARLY_MIDDLE = "stack.append(h)\n        h = layer(h)\n    stack.append(middle(h))"
EARLY = "stack.append(h)\n        h = layer(h)"


def turned(answer, index):
    def run(*arguments):
        lists = list(arguments)
        lists[index] = lists[index][::-1]
        return answer(*lists)

    return lambda x, first, down, middle, up: run(x, first, down, middle, up)


def forward_zip(x, first, down, middle, up):
    maps = [first(x)]
    for layer in down:
        maps.append(layer(maps[-1]))
    h = middle(maps[-1])
    for layer, skip in zip(up, reversed(maps), strict=True):
        h = layer(torch.cat((h, skip), 1))
    return h


def forward_emptying(x, first, down, middle, up):
    """The lists are the student's to empty."""
    h = first(x)
    stack = [h]
    while down:
        h = down.pop(0)(h)
        stack.append(h)
    h = middle(h)
    while up:
        h = up.pop(0)(torch.cat([h, stack.pop()], 1))
    return h


def scores(q, k, power=0.5):
    return q @ k.mT / q.shape[-1] ** power


def angles(ticks, k, stretch=1):
    return ticks[:, None] * 10000.0 ** (-stretch * torch.arange(k) / k)


def both(a):
    return torch.cat([a.cos(), a.sin()], 1)


def unlike(change):
    """10-3: the right count, and something added that depends on the sizes."""
    return lambda i, o, w: weights_counted(i, o, w) + change(i, o)


def reshaped(q, k, v):
    return (q @ k.reshape(k.shape[0], k.shape[2], k.shape[1]) / q.shape[-1] ** 0.5).softmax(-1) @ v


def by_their_sum(q, k, v):
    return scores(q, k) / scores(q, k).sum(-1, keepdim=True) @ v


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
