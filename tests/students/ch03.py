"""What students of chapter 03 hand in."""

from grading import edited

GIVEAWAY = r"\*|/|=|sqrt|√|detach|cdist|arccos|letter|answer is"

W = "w = a**2 * v + s**2\n"
INFORMATION, DIVERGENCE = "torch.log(w / s**2) / 2", "(w - 1 - w.log()) / 2"
REACH = "reach = torch.cdist(real, real).kthvalue(k + 1, dim=1).values\n"
SHARE = "return (torch.cdist(fake, real) <= reach).any(dim=1).double().mean()"
ANGLE = "c = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))\nt = torch.arccos(c)[:, None]\nu = u[:, None]\n"
CIRCLE = "return (torch.sin((1 - u) * t) * a + torch.sin(u * t) * b) / torch.sin(t)"
PLANTED = """code = codebook[torch.cdist(z, codebook).argmin(1)]
to_codes = ((z - code.detach()) ** 2).sum(1)
to_latents = ((z.detach() - code) ** 2).sum(1)
loss = to_codes + commitment * to_latents
return z + (code - z), loss"""
WAY = ("(code - z), loss", "(code - z).detach(), loss")
FACTOR = ("to_codes + commitment * to_latents", "to_latents + commitment * to_codes")


QUANTIZE = edited(PLANTED, WAY, FACTOR)


def stacked(information=INFORMATION, divergence=DIVERGENCE):
    return f"{W}return torch.stack([{information}, {divergence}])"


RIGHT = [
    ("03-1", stacked()),
    ("03-1", stacked("torch.log1p(a**2 * v / s**2) / 2")),
    ("03-1", f"{W}return np.stack([np.log(w / s**2) / 2, (w - 1 - np.log(w)) / 2])"),
    ("03-1", "whole = (a**2 * v + s**2 - 1 - torch.log(s**2)) / 2\n"
             "i = torch.log(1 + a**2 * v / s**2) / 2\nreturn torch.stack([i, whole - i]).float()"),
    ("03-2", REACH + SHARE),
    ("03-2", "reach = torch.cdist(real, real).sort(dim=1).values[:, k]\n" + SHARE),
    ("03-2", "tl.metrics.precision_recall(real, fake, k)[0]"),
    ("03-2", "n = 0\nfor f in fake:\n    hit = False\n    for i in range(len(real)):\n"
             "        r = torch.sort((real - real[i]).norm(dim=1)).values[k]\n"
             "        hit = hit or bool((f - real[i]).norm() <= r)\n    n = n + hit\nreturn n / len(fake)"),
    ("03-3", ANGLE + CIRCLE),
    ("03-3", "torch.stack([tl.slerp(a[i : i + 1], b[i : i + 1], u[i : i + 1])[0, 0] for i in range(len(a))])"),
    ("03-3", f"{ANGLE}return torch.cos(u * t) * a + torch.sin(u * t) * (b - c[:, None] * a) / (1 - c[:, None] ** 2).sqrt()"),
    ("03-4", "c"),
    ("03-4", "C"),
    ("03-4", " (c) "),
    ("03-5", QUANTIZE),
    ("03-5", "i = ((z[:, None] - codebook) ** 2).sum(2).argmin(1)\ne = codebook[i]\n"
             "loss = (z.detach() - e).pow(2).sum(1) + commitment * (z - e.detach()).pow(2).sum(1)\n"
             "return e.detach() + z - z.detach(), loss"),
    ("03-5", "q = tl.nn.VectorQuantizer(*codebook.shape, commitment)\ndel q.codebook\nq.codebook = codebook\n"
             "out = q(z)\nreturn [out[0], out[2]]"),
]  # fmt: skip


MISTAKES = [
    ("03-1", stacked("torch.log(w / s**2)"), "half"),
    ("03-1", stacked("torch.log(1 + v / s**2) / 2"), "slope"),
    ("03-1", stacked("torch.log(w / s) / 2"), "standard deviation"),
    ("03-1", stacked("w.log() / 2"), "single posterior"),
    ("03-1", stacked("torch.log2(w / s**2) / 2"), "bits"),
    ("03-1", stacked(divergence="w - 1 - w.log()"), "half"),
    ("03-1", stacked(divergence="(s**2 - 1 - (s**2).log()) / 2"), "a single posterior"),
    ("03-1", stacked(divergence="(a**2 * v - 1 - (a**2 * v).log()) / 2"), "noise"),
    ("03-1", stacked(divergence="(1 / w - 1 + w.log()) / 2"), "changed places"),
    ("03-1", stacked(DIVERGENCE, INFORMATION), "changed places"),
    ("03-1", stacked(divergence="(w - 1 - torch.log(s**2)) / 2"), "whole penalty"),
    ("03-1", f"{W}return {INFORMATION}", "only the information|shape"),
    ("03-1", f"{W}return {INFORMATION}, {DIVERGENCE}", "tuple"),
    ("03-2", REACH.replace("k + 1", "k") + SHARE, "count itself"),
    ("03-2", REACH.replace(".values", ".values.mean()") + SHARE, "average radius"),
    ("03-2", REACH.replace("real, real", "fake, fake") + SHARE.replace("fake, real", "real, fake"), "recall"),
    ("03-2", REACH + SHARE.replace("any(dim=1)", "any(dim=0)"), "balls that hold"),
    ("03-2", REACH + SHARE.replace(".any(dim=1)", ""), "all pairs"),
    ("03-2", REACH + SHARE.replace("<=", "<"), "edge of a ball"),
    ("03-2", REACH + SHARE.replace("<=", ">"), "every sample comes out inside"),
    ("03-2", REACH + SHARE.replace("mean()", "sum()"), "number of samples|times too large"),
    ("03-2", REACH + SHARE.replace(".mean()", ""), "shape|one number"),
    ("03-3", "(1 - u)[:, None] * a + u[:, None] * b", "straight line"),
    ("03-3", ANGLE + CIRCLE.replace(" / torch.sin(t)", ""), "whole angle"),
    ("03-3", ANGLE.replace("torch.arccos(c)", "torch.rad2deg(torch.arccos(c))") + CIRCLE, "degrees"),
    ("03-3", ANGLE.replace("torch.arccos(c)", "c") + CIRCLE, "cosine of the angle"),
    ("03-3", ANGLE.replace(" / (a.norm(dim=1) * b.norm(dim=1))", "") + CIRCLE, "bare inner product"),
    ("03-3", f"{ANGLE}u = 1 - u\n{CIRCLE}", "places|other end"),
    ("03-3", "u = u[:, None]\nreturn torch.cos(u * torch.pi / 2) * a + torch.sin(u * torch.pi / 2) * b", "right one"),
    ("03-3", f"{ANGLE}a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)\n{CIRCLE}", "lengths"),
    ("03-4", "a", "what the decoder makes"),
    ("03-4", "b", "more than one nat"),
    ("03-4", "d", "go through the decoder"),
    ("03-5", PLANTED, "both faults"),
    ("03-5", edited(PLANTED, WAY), "one fault is left"),
    ("03-5", edited(PLANTED, FACTOR), "one fault is left"),
    ("03-5", edited(QUANTIZE, ("return z + (code - z).detach()", "return code.detach()")), "nowhere"),
    ("03-5", edited(QUANTIZE, ("return z + (code - z).detach()", "return z")), "value of their code"),
    ("03-5", edited(QUANTIZE, ("z.detach() - code", "z - code"), ("z - code.detach()", "z - code")), "held fixed"),
    ("03-5", edited(QUANTIZE, ("to_latents + ", "")), "codebook would stay"),
    ("03-5", edited(QUANTIZE, ("to_latents + commitment * to_codes", "to_latents")), "commitment is missing"),
    ("03-5", edited(QUANTIZE, ("commitment * ", "")), "weight 1"),
    ("03-5", edited(QUANTIZE, ("(), loss", "(), loss.detach()"), ("return z +", "return z.detach() +")), "in the graph"),
    ("03-5", edited(QUANTIZE, (", loss", ", loss.mean()")), "loss should have the shape"),
    ("03-5", edited(QUANTIZE, (".detach(), loss", ".detach()")), "two tensors"),
]  # fmt: skip
