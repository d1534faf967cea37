"""What students of chapter 12 hand in."""

from grading import edited

GIVEAWAY = r"1 \+|chunk|None|@|\.T\b|expand|where\(|u <|softmax\(2|dim=2|letter d|answer is"

FILM = "scale, shift = said[:, :, None, None].chunk(2, dim=1)\nreturn h * (1 + scale) + shift"
ADDS = "(c @ w_v.T @ w_o.T).expand(-1, x.shape[1], -1)"
WEIGHED = """scores = (x @ w_q.T) @ (c @ w_k.T).mT / w_q.shape[0] ** 0.5
return scores.softmax(2) @ (c @ w_v.T) @ w_o.T"""
SHORT = ("return torch.cat([t, ", "t = t[:, :n]\n    return torch.cat([t, ")
HIDE = """n = max(tokens.shape[1], null.shape[1])
def long(t):
    return torch.cat([t, t.new_zeros(len(t), n - t.shape[1], *t.shape[2:])], 1)
hidden = (u < share)[:, None]
text = torch.where(hidden[:, :, None], long(null), long(tokens))
return text, torch.where(hidden, long(null_mask), long(mask))"""
MASK = (", torch.where(hidden, long(null_mask), long(mask))", ", long(mask)")
EMPTY = ("long(null_mask), long", "long(null_mask) & False, long")
LOOP = """n = max(tokens.shape[1], null.shape[1])
text, seen = torch.full((len(tokens), n, tokens.shape[2]), 7.0), torch.zeros(len(tokens), n, dtype=torch.bool)
for i in range(len(tokens)):
    t, m = (null[0], null_mask[0]) if u[i] < share else (tokens[i], mask[i])
    text[i, : len(t)], seen[i, : len(m)] = t, m
return text, seen"""
PLANTED = """q, k, v = c @ w_q.T, x @ w_k.T, x @ w_v.T
weights = (q @ k.mT / q.shape[2] ** 0.5).softmax(1)
return weights @ v"""
ASKS, AXIS = ("c @ w_q.T, x @ w_k.T, x @ w_v.T", "x @ w_q.T, c @ w_k.T, c @ w_v.T"), ("softmax(1)", "softmax(2)")
LOOK = edited(PLANTED, ASKS, AXIS)
RIGHT = [
    *(("12-5", letter) for letter in ["d", "D", " (d) "]),
    ("12-1", FILM),
    ("12-1", "a, b = said.chunk(2, 1)\nreturn torch.einsum('bchw,bc->bchw', h, 1 + a) + b[..., None, None]"),
    ("12-1", "c = h.shape[1]\nreturn torch.addcmul(said[:, c:, None, None] + h, h, said[:, :c, None, None])"),
    ("12-1", "s = said.reshape(len(h), 2, -1, 1, 1)\nreturn h + s[:, 0] * h + s[:, 1]"),
    ("12-1", "a, b = said.double().chunk(2, 1)\nreturn (h.permute(2, 3, 0, 1) * (1 + a) + b).permute(2, 3, 0, 1)"),
    ("12-1", "a, b = said.numpy()[:, :, None, None].reshape(len(h), 2, -1, 1, 1).swapaxes(0, 1)\nreturn h.numpy() * (1 + a) + b"),
    ("12-2", ADDS),
    ("12-2", WEIGHED),
    ("12-2", "torch.zeros_like(x) + c @ (w_o @ w_v).T"),
    ("12-2", "torch.einsum('ce,ed,bd->bc', w_o, w_v, c[:, 0])[:, None].repeat(1, x.shape[1], 1)"),
    ("12-2", "layer = tl.nn.attention.Attention(x.shape[2], c.shape[2], 1)\nstate = dict(q=w_q, k=w_k, v=w_v, out=w_o)\n"
     "layer.load_state_dict({f'{n}.weight': w for n, w in state.items()} | {'out.bias': torch.zeros(len(w_o))})\n"
     "return layer(x, c).detach()"),
    ("12-3", HIDE),
    ("12-3", LOOP),
    ("12-3", "given = tl.Condition(tokens=tokens, tokens_mask=mask).joined(tl.Condition(tokens=null, tokens_mask=null_mask))\n"
     "where = torch.where(u < share, len(u), torch.arange(len(u)))\nreturn given.tokens[where], given.tokens_mask[where]"),
    ("12-3", edited(HIDE, ("return text, torch", "return [text, torch"), ("long(mask))", "long(mask)).double()]"))),
    ("12-3", edited(HIDE, ("return text, ", "seen = ")) + "\nreturn text.masked_fill(~seen[..., None], 1e9), seen"),
    ("12-4", LOOK),
    ("12-4", "q, k, v = x @ w_q.T, c @ w_k.T, c @ w_v.T\nreturn torch.nn.functional.scaled_dot_product_attention(q, k, v)"),
    ("12-4", edited(PLANTED, ASKS, ("q @ k.mT", "k @ q.mT"), ("weights @", "weights.mT @"))),
    ("12-4", edited(LOOK, ("softmax(2)", "softmax(-1)"))),
    ("12-4", "s = torch.einsum('bnc,ec,ed,bmd->bnm', x, w_q, w_k, c) / len(w_q) ** 0.5\n"
     "return s.softmax(-1) @ torch.einsum('bmd,ed->bme', c, w_v)"),
]  # fmt: skip

CUT = "scale, shift = said[:, :, None, None].chunk(2, dim=1)"
LIFT = "said[:, :, None, None].chunk(2, dim=1)"
MISTAKES = [
    ("12-1", edited(FILM, ("scale, shift =", "shift, scale =")), "changed places", "sign"),
    ("12-1", edited(FILM, ("(1 + scale)", "scale")), "nothing would be left", "places"),
    ("12-1", edited(FILM, ("(1 + scale)", "scale"), ("scale, shift =", "shift, scale =")), "two mistakes", "sign"),
    ("12-1", edited(FILM, ("1 + scale", "1 - scale")), "sign of the scale", "shift"),
    ("12-1", edited(FILM, ("+ shift", "- shift")), "sign of the shift", "the scale is"),
    ("12-1", edited(FILM, (" + shift", "")), "shift is missing", "scale"),
    ("12-1", edited(FILM, ("h * (1 + scale)", "h")), "scale is missing", "shift"),
    ("12-1", edited(FILM, ("h * (1 + scale) + shift", "(h + shift) * (1 + scale)")), "shift is multiplied", "sign"),
    ("12-1", edited(FILM, ("return h *", "return h + h *")), "stands there twice", "sign"),
    ("12-1", edited(FILM, ("(1 + scale)", "scale.exp()")), "exponential", "sign"),
    ("12-1", edited(FILM, (CUT, "said = said[..., None, None]\nscale, shift = said[:, ::2], said[:, 1::2]")), "by turns", "sign"),
    ("12-1", edited(FILM, (LIFT, "said.chunk(2, dim=1)")), "meet rows and columns", "sign"),
    ("12-1", edited(FILM, (LIFT, "said[:, :, None].chunk(2, dim=1)")), "meet channels and rows", "sign"),
    ("12-1", edited(FILM, (LIFT, "said[:, None, None].chunk(2, dim=3)")), "along the columns", "sign"),
    ("12-1", edited(FILM, (LIFT, "said[:, None, :, None].chunk(2, dim=2)")), "along the rows", "sign"),
    ("12-1", edited(FILM, (LIFT, "said[:1, :, None, None].chunk(2, dim=1)")), "the first", "places"),
    ("12-1", edited(FILM, (LIFT, "said.mean(0, keepdim=True)[:, :, None, None].chunk(2, dim=1)")), "over the batch", "places"),
    ("12-1", edited(FILM, ("h * (1 + scale)", "h * (1 + scale) ** 2")), "applied twice", "sign"),
    ("12-1", edited(FILM, ("h * (1 + scale)", "h + scale")), "the scale is added", "sign"),
    ("12-1", edited(FILM, (LIFT, "said[:, :, None, None].chunk(2, dim=0)")), "stopped with", "sign"),
    ("12-2", edited(ADDS, (".expand(-1, x.shape[1], -1)", "")), "row of each sample is right", "shape \\("),
    ("12-2", "(c @ w_v.T @ w_o.T)[:, 0]", "row of each sample is right", "sign"),
    ("12-2", edited(WEIGHED, ("softmax(2)", "softmax(1)")), "over the places", "sign"),
    ("12-2", edited(WEIGHED, (".softmax(2)", "")), "softmax makes of a single number", "factor"),
    ("12-2", edited(WEIGHED, (".softmax(2)", ""), (" / w_q.shape[0] ** 0.5", "")), "softmax makes of a single number", "factor"),
    ("12-2", edited(WEIGHED, (".softmax(2)", ".sigmoid()")), "softmax makes of a single number", "factor"),
    ("12-2", edited(WEIGHED, ("softmax(2) @", "softmax(2) / x.shape[1] @")), "number of places", "factor"),
    ("12-2", edited(WEIGHED, ("@ w_o.T", "@ w_o.T / len(w_q) ** 0.5")), "belongs to the scores", "factor"),
    ("12-2", "torch.zeros_like(x)", "not zero", "factor"),
    ("12-2", "x @ w_v.T @ w_o.T", "values are made of x", "wrong way"),
    ("12-2", edited(ADDS, (" @ w_o.T", "")), "last map is missing", "wrong way"),
    ("12-2", edited(ADDS, (" @ w_v.T", "")), "its value does", "wrong way"),
    ("12-2", "c.expand(-1, x.shape[1], -1)", "token itself", "wrong way"),
    ("12-2", edited(ADDS, ("w_v", "w_k")), "key is taken", "wrong way"),
    ("12-2", edited(ADDS, ("w_v.T @ w_o.T", "w_o.T @ w_v.T")), "changed places", "wrong way"),
    ("12-2", edited(ADDS, ("w_v.T", "w_v")), "a matrix stands the wrong way", "places"),
    ("12-2", edited(ADDS, ("w_o.T", "w_o")), "a matrix stands the wrong way", "places"),
    ("12-2", edited(ADDS, ("w_v.T @ w_o.T", "w_v @ w_o")), "both matrices", "places"),
    ("12-2", "x + " + ADDS, "x itself is in it", "sign"),
    ("12-2", ADDS + " - x", "x is subtracted", "sign"),
    ("12-2", edited(ADDS, ("(c @", "(c.mean(0, keepdim=True).expand_as(c) @")), "over the batch", "sign"),
    ("12-3", edited(HIDE, ("u <", "u >")), "wrong samples", "draw"),
    ("12-3", edited(HIDE, MASK), "mask is not", "wrong"),
    ("12-3", edited(HIDE, ("return text", "return long(tokens)")), "the tokens are not", "wrong"),
    ("12-3", "hidden = (u < share)[:, None]\n"
     "return torch.where(hidden[:, :, None], null, tokens), torch.where(hidden, null_mask, mask)", "stopped with", "draw"),
    ("12-3", edited(HIDE, ("long(null), long", "0 * long(null), long")), "zeros stand", "wrong"),
    ("12-3", edited(HIDE, EMPTY), "nothing to weigh", "wrong"),
    ("12-3", edited(HIDE, ("long(null), long", "0 * long(null), long"), EMPTY),
     "nothing to weigh", "wrong"),
    ("12-3", edited(HIDE, ("t.new_zeros(", "(torch.ones if t.dtype == torch.bool else torch.zeros)(")),
     "padding is seen", "wrong"),
    ("12-3", edited(HIDE, ("cat([t, ", "cat(["), ("*t.shape[2:])]", "*t.shape[2:]), t]")), "in front", "wrong"),
    ("12-3", edited(HIDE, ("n = max", "n = min"), SHORT), "cut off", "draw"),
    ("12-3", edited(HIDE, ("n = max(tokens.shape[1], null.shape[1])", "n = tokens.shape[1]"),
     SHORT), "as long as the texts", "draw"),
    ("12-3", edited(HIDE, ("max(tokens.shape[1], null.shape[1])", "tokens.shape[1] + null.shape[1]")), "too far", "draw"),
    ("12-3", edited(HIDE, ("(u < share)", "(u[:1] < share).expand(len(u))")), "one draw decides", "wrong"),
    ("12-3", edited(HIDE, ("(u < share)", "(torch.arange(len(u)) < (u < share).sum())")), "first ones", "wrong"),
    ("12-3", edited(HIDE, ("(u < share)", "(u < 2)")), "every sample", "wrong"),
    ("12-3", edited(HIDE, ("(u < share)", "(u < 0)")), "nothing is exchanged", "wrong"),
    ("12-3", edited(HIDE, ("long(null_mask), long", "long(null_mask) | True, long")), "all of the null text", "wrong"),
    ("12-3", edited(HIDE, ("return text, ", "return text + 0 * ")), "two tensors|stopped with", "wrong"),
    ("12-3", edited(HIDE, ("return text, torch", "return text, ~torch")), "turned round", "wrong"),
    ("12-3", "torch.where((u < share)[:, None, None], null[:, :1], tokens), mask", "another shape", "wrong"),
    ("12-3", edited(HIDE, MASK, ("text, long(mask)", "text, mask")), "one entry a token", "draw"),
    ("12-3", edited(HIDE, ("long(null_mask), long", "long(null_mask) & long(mask), long")), "is mixed with", "wrong"),
    ("12-3", edited(HIDE, ("long(mask))", "long(mask | True))")), "their own mask is lost", "wrong"),
    ("12-3", edited(HIDE, ("u <", "u < 1 -")), "share is turned round", "wrong"),
    ("12-4", PLANTED, "both faults are still", "mended"),
    ("12-4", edited(PLANTED, AXIS), "softmax is mended, one fault", "both"),
    ("12-4", edited(PLANTED, ASKS), "who asks is mended, one fault", "both"),
    ("12-4", edited(PLANTED, ASKS, ("softmax(1)", "softmax(0)")), "over the batch", "both"),
    ("12-4", edited(LOOK, (" / q.shape[2] ** 0.5", "")), "scale, which was right", "still"),
    ("12-4", edited(LOOK, (" ** 0.5", "")), "root in the scale", "still"),
    ("12-4", edited(LOOK, ("q.shape[2]", "x.shape[2]")), "picture's channels", "still"),
    ("12-4", edited(LOOK, ("weights @ v", "weights")), "these are the weights", "shape"),
    ("12-4", edited(LOOK, (".softmax(2)", ".sigmoid()")), "sigmoid", "still"),
    ("12-4", edited(LOOK, (".softmax(2)", "")), "softmax is missing", "still"),
    ("12-4", edited(PLANTED, ("return weights", "return weights.mT"), ("x @ w_v", "c @ w_v")),
     "through the matrix of the keys", "still"),
    ("12-4", edited(LOOK, ("x @ w_q.T, c @ w_k.T", "x @ w_k.T, c @ w_q.T")), "through the matrix of the keys", "still"),
    ("12-4", edited(LOOK, ("c @ w_k.T, c @ w_v.T", "c @ w_v.T, c @ w_k.T")), "keys and values", "still"),
    ("12-4", edited(LOOK, ("c @ w_k.T, c @ w_v.T", "x @ w_k.T, x @ w_v.T")), "words have no say", "still"),
    ("12-4", edited(LOOK, ("x @ w_q", "c @ w_q")), "picture has no say", "still"),
    ("12-4", edited(LOOK, ("c @ w_v", "x @ w_v")), "stopped with", "still"),
    ("12-4", "(c @ w_v.T).mean(1, keepdim=True).expand(-1, x.shape[1], -1)", "averaged", "still"),
    ("12-5", "a", "bit by bit", "solution"),
    ("12-5", "b", "gradient is multiplied", "solution"),
    ("12-5", "c", "two zeros", "solution"),
]  # fmt: skip
