"""What students of chapter 04 hand in."""

GIVEAWAY = r"\*|/|=|sqrt|√|\(s\)|\(t\)|cumprod|permute\(|minimum|answer is|letter b"

UNIT = "f, g = f / f.norm(dim=1, keepdim=True), g / g.norm(dim=1, keepdim=True)\n"
LAYER = UNIT + "return ((f - g) ** 2).sum(1).mean((1, 2))"
SHARES = """start, rest = 1.0, []
for m in decays.tolist():
    start, rest = start * m, [share * m for share in rest] + [1 - m]
return [start] + rest"""
TOKENS = """b, c, h, w = z.shape
squares = z.reshape(b, c, h // 2, 2, w // 2, 2)
tokens = squares.permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)
return tokens @ weight.reshape(len(weight), -1).T + bias"""
PLANTED = ("(0, 2, 4, 1, 3, 5)", "(0, 4, 2, 3, 5, 1)")

RIGHT = [
    ("04-1", LAYER),
    ("04-1", "2 - 2 * torch.nn.functional.cosine_similarity(f, g, dim=1).mean((1, 2))"),
    ("04-1", "F = torch.nn.functional\nd = F.normalize(f.float(), dim=1) - F.normalize(g.float(), dim=1)\n"
             "return d.pow(2).sum(1).flatten(1).mean(1)"),
    ("04-1", "a, b = f.numpy(), g.numpy()\na, b = (v / np.sqrt((v**2).sum(1, keepdims=True)) for v in (a, b))\n"
             "return ((a - b) ** 2).sum(1).mean(axis=(1, 2))"),
    ("04-2", "torch.minimum(p, q).sum()"),
    ("04-2", "1 - (p - q).abs().sum() / 2"),
    ("04-2", "sum(min(a, b) for a, b in zip(p.tolist(), q.tolist()))"),
    ("04-2", "d = torch.sign(p - q)\nreturn (p * (1 - d).clamp(min=0) + q * (1 + d).clamp(min=0)).sum() / 2"),
    ("04-3", SHARES),
    ("04-3", "n = len(decays)\nparts = torch.eye(n + 1, dtype=decays.dtype)\naverage = parts[0]\n"
             "for i in range(n):\n    average = decays[i] * average + (1 - decays[i]) * parts[i + 1]\nreturn average"),
    ("04-3", "tails = np.append(np.cumprod(decays.numpy()[::-1])[::-1], 1.0)\nreturn np.diff(tails, prepend=0.0)"),
    ("04-4", "b"),
    ("04-4", "B"),
    ("04-4", " (b) "),
    ("04-5", TOKENS),
    ("04-5", "torch.nn.functional.conv2d(z, weight, bias, stride=2).flatten(2).transpose(1, 2)"),
    ("04-5", "tl.pack(z) @ weight.flatten(1).T + bias"),
    ("04-5", "torch.nn.functional.linear(torch.nn.functional.unfold(z, 2, stride=2).mT, weight.flatten(1), bias)"),
]  # fmt: skip


def ordered(*axes):
    return TOKENS.replace(PLANTED[0], str(axes))


MISTAKES = [
    ("04-1", "((f - g) ** 2).sum(1).mean((1, 2))", "length 1"),
    ("04-1", UNIT + "return ((f - g) ** 2).mean((1, 2, 3))", "channels are averaged"),
    ("04-1", UNIT + "return ((f - g) ** 2).sum((1, 2, 3))", "larger picture"),
    ("04-1", UNIT + "return (f - g).norm(dim=1).mean((1, 2))", "squared distances"),
    ("04-1", UNIT + "return (f - g).abs().sum(1).mean((1, 2))", "absolute"),
    ("04-1", UNIT + "return 1 - (f * g).sum(1).mean((1, 2))", "half"),
    ("04-1", UNIT + "return (f * g).sum(1).mean((1, 2))", "cosine"),
    ("04-1", LAYER.replace("norm(dim=1", "norm(dim=(2, 3)"), "over the picture"),
    ("04-1", LAYER.replace("norm(dim=1", "pow(2).sum((1, 2, 3)").replace("True)", "True).sqrt()"), "whole map"),
    ("04-1", LAYER.replace("norm(dim=1", "pow(2).sum(dim=1"), "square root is missing"),
    ("04-1", LAYER.replace("norm(dim=1", "abs().sum(dim=1"), "absolute values"),
    ("04-1", LAYER.replace("norm(dim=1", "pow(2).mean(1").replace("True)", "True).sqrt()"), "not the mean"),
    ("04-1", UNIT + "return ((f - g) ** 2).sum(1).mean()", "averaged over the batch"),
    ("04-2", "2 * torch.minimum(p, q).sum()", "one half"),
    ("04-2", "1 - (p - q).abs().sum()", "counted twice"),
    ("04-2", "2 - (p - q).abs().sum() / 2", "costs less"),
    ("04-2", "(p - q).abs().sum() / 2", "total variation distance"),
    ("04-2", "(p - q).abs().sum()", "twice the total"),
    ("04-2", "1 + (p - q).abs().sum() / 2", "flipped"),
    ("04-2", "torch.minimum(p, q)", "add them up"),
    ("04-2", "torch.minimum(p, q).mean()", "averaged"),
    ("04-2", "-(q * torch.sign(p - q)).sum()", "generator"),
    ("04-2", "torch.sign(p - q)", "best discriminator; its loss"),
    ("04-2", "m = (p + q) / 2\nreturn -(p * (p / 2 / m).log()).sum() - (q * (q / 2 / m).log()).sum()", "logistic"),
    ("04-2", "1.0", "always says 0"),
    ("04-3", SHARES.replace("[start] + rest", "rest"), "the start is missing"),
    ("04-3", SHARES.replace("[1 - m]", "[(1 - m) * m]"), "own decay"),
    ("04-3", "torch.cat([decays.prod()[None], 1 - decays])", "every later update"),
    ("04-3", "torch.full((len(decays) + 1,), 1 / (len(decays) + 1))", "equal"),
    ("04-3", SHARES.replace("[start] + rest", "rest + [start]"), "oldest"),
    ("04-3", SHARES.replace("[start] + rest", "([start] + rest)[::-1]"), "reversed"),
    ("04-3", SHARES.replace("[start] + rest", "[0.0] + rest"), "never disappears"),
    ("04-3", "decays = 1 - decays\n" + SHARES, "other way round"),
    ("04-4", "a", "equally typical"),
    ("04-4", "c", "by which factor"),
    ("04-4", "d", "smallest squared error"),
    ("04-5", TOKENS.replace(*PLANTED), "both faults"),
    ("04-5", ordered(0, 2, 4, 3, 5, 1), "inside a token"),
    ("04-5", ordered(0, 4, 2, 1, 3, 5), "run down the columns"),
    ("04-5", ordered(0, 2, 4, 1, 5, 3), "little square"),
    ("04-5", ordered(0, 2, 4, 3, 1, 5), "between row and column"),
    ("04-5", TOKENS.replace(" + bias", ""), "bias"),
    ("04-5", "z.reshape(len(z), -1, weight[0].numel()) @ weight.flatten(1).T + bias", "cut into pieces"),
    ("04-5", "torch.nn.functional.conv2d(z, weight, bias, stride=2)", "arrange them as tokens"),
    ("04-5", "torch.nn.functional.conv2d(z, weight, bias, stride=2).flatten(2)", "changed places"),
    ("04-5", "tl.pack(z) @ weight.reshape(len(weight), -1) + bias", "stopped with"),
]  # fmt: skip
