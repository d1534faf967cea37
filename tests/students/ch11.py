"""What students of chapter 11 hand in."""

from grading import edited

GIVEAWAY = r"permute|\* *\(1|13|36|chunk|cos\(|letter b|answer is|b \* cos"

PICTURE = """b, n, c = tokens.shape
cut = tokens.reshape(b, height // p, width // p, p, p, c // p**2)
return cut.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, height, width)"""
HALF = """b, s, g = (v[:, None] for v in (shift, scale, gate))
n = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
return x + g * layer(n * (1 + s) + b)"""
COUNT = """def linear(a, b):
    return a * b + b
asks = 3 * linear(width, width)
stream = linear(width, 6 * width) + asks + linear(width, width) + linear(width, 4 * width) + linear(4 * width, width)
ends = linear(width, 2 * width) + asks
return 2 * blocks * stream - stream + ends"""
TURN = """cos, sin = angles.cos()[:, None], angles.sin()[:, None]
a, b = x[..., 0::2], x[..., 1::2]
return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(3)"""
PLANTED = ("x[..., 0::2], x[..., 1::2]", "x.chunk(2, dim=3)"), ("+ a * sin", "- a * sin")
HALVES = ("torch.stack([", "torch.cat(["), ("], -1).flatten(3)", "], -1)")
NORM = "(x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()"
RIGHT = [
    *(("11-4", letter) for letter in ["b", "B", " (b) "]),
    ("11-1", "tokens = tokens.double()\n" + PICTURE),
    ("11-2", "x, shift, scale, gate = (z.double() for z in (x, shift, scale, gate))\n" + HALF),
    ("11-5", "x, angles = x.double(), angles.double()\n" + TURN),
    ("11-1", PICTURE),
    ("11-1", "cut = tokens.unflatten(2, (p, p, -1)).unflatten(1, (height // p, width // p))\n"
     "return torch.einsum('brsijc->bcrisj', cut).reshape(len(tokens), -1, height, width)"),
    ("11-1", "z = tokens.unflatten(2, (p * p, -1)).transpose(2, 3).flatten(2)\nreturn tl.unpack(z, height, width, p)"),
    ("11-1", "z = tokens.unflatten(2, (p * p, -1)).transpose(2, 3).flatten(2).transpose(1, 2)\n"
     "return torch.nn.functional.fold(z, (height, width), p, stride=p)"),
    ("11-1", "z = torch.zeros(len(tokens), tokens.shape[2] // p**2, height, width)\n"
     "for n in range(tokens.shape[1]):\n"
     "    r, s = divmod(n, width // p)\n"
     "    z[:, :, r * p : r * p + p, s * p : s * p + p] = tokens[:, n].reshape(len(tokens), p, p, -1).permute(0, 3, 1, 2)\n"
     "return z"),
    ("11-1", edited(PICTURE, ("b, -1, height, width)", "b, -1, height, width).numpy()"))),
    ("11-2", HALF),
    ("11-2", "n = torch.nn.functional.layer_norm(x, x.shape[2:], eps=1e-6)\n"
     "return torch.addcmul(x, gate[:, None], layer(torch.addcmul(shift[:, None], n, 1 + scale[:, None])))"),
    ("11-2", "n = torch.nn.functional.layer_norm(x, x.shape[-1:], None, None, 1e-6)\n"
     "return x + torch.einsum('bc,blc->blc', gate, layer(n + n * scale[:, None] + shift.unsqueeze(1)))"),
    ("11-2", edited(HALF, ("layer(", "layer(1.0 * "))),
    ("11-3", COUNT),
    ("11-3", "blocks * (36 * width**2 + 30 * width) - 13 * width**2 - 10 * width"),
    ("11-3", "torch.tensor(blocks * (36 * width**2 + 30 * width) - 13 * width**2 - 10 * width)"),
    ("11-3", "float(blocks * (36 * width**2 + 30 * width) - 13 * width**2 - 10 * width)"),
    ("11-3", "with torch.device('meta'):\n    net = tl.nn.MMDiTConfig(width=width, heads=1, blocks=blocks, tokens=3).build()\n"
     "return sum(p.numel() for p in net.blocks.parameters())"),
    ("11-5", TURN),
    ("11-5", "z = torch.view_as_complex(x.unflatten(3, (-1, 2)).contiguous())\n"
     "return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(3)"),
    ("11-5", "from tinyldm.nn.positions import rotate\nreturn rotate(x, (angles.cos(), angles.sin()))"),
    ("11-5", "c, s = (f(angles).repeat_interleave(2, 1)[:, None] for f in (torch.cos, torch.sin))\n"
     "return x * c + torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(3) * s"),
]  # fmt: skip

LAID = "cut.permute(0, 5, 1, 3, 2, 4)"
READ = "reshape(b, height // p, width // p, p, p, c // p**2)"
MISTAKES = [
    ("11-1", "tl.unpack(tokens, height, width, p)", "channel is taken to come first", "laying out"),
    ("11-1", edited(PICTURE, (LAID, "cut.permute(0, 5, 1, 4, 2, 3)")), "row and column inside a token", "interleaved"),
    ("11-1", edited(PICTURE, (READ, "reshape(b, width // p, height // p, p, p, c // p**2)"),
     (LAID, "cut.permute(0, 5, 2, 3, 1, 4)")), "down the columns", "interleaved"),
    ("11-1", edited(PICTURE, (LAID, "cut.permute(0, 5, 1, 3, 4, 2)")), "interleaved, not put side by side", "In reading"),
    ("11-1", edited(PICTURE, (LAID, "cut.permute(0, 5, 3, 1, 2, 4)")), "one below the other", "In reading"),
    ("11-1", edited(PICTURE, (LAID, "cut.permute(0, 5, 1, 2, 3, 4)")), "runs through a row of all its tokens", "In reading"),
    ("11-1", edited(PICTURE, (LAID, "cut.permute(0, 1, 3, 2, 4, 5)")), "channels are laid down last", "In reading"),
    ("11-1", edited(PICTURE, ("-1, height, width)", "-1, height, width).permute(0, 2, 3, 1)")),
     "channels are laid down last", "shape"),
    ("11-1", edited(PICTURE, ("-1, height, width)", "-1, height, width).transpose(2, 3)")),
     "rows and columns of the picture", "token"),
    ("11-1", "tokens.reshape(len(tokens), -1, height, width)", "reshape alone", "channel"),
    ("11-1", "tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)", "square of them", "sign"),
    ("11-1", edited(PICTURE, ("b, -1, height, width", "b, -1, width, height")), "shape|arrangement", "sign"),
    ("11-1", edited(PICTURE, ("height // p, width // p, p, p, c // p**2)", "height // p, p, width // p, p, c // p**2)"),
     ("0, 5, 1, 3, 2, 4", "0, 5, 1, 2, 3, 4")), "runs through a row of all its tokens", "In reading"),
    ("11-2", edited(HALF, ("(shift, scale, gate)", "(scale, shift, gate)")), "shift and scale have changed places", "gate"),
    ("11-2", edited(HALF, ("(shift, scale, gate)", "(shift, gate, scale)")), "scale and gate have changed places", "shift"),
    ("11-2", edited(HALF, ("(1 + s)", "s")), "nothing must be lost", "sign"),
    ("11-2", edited(HALF, ("g * layer", "layer")), "gate is missing", "sign"),
    ("11-2", edited(HALF, ("g * layer", "(1 + g) * layer")), "gate of zero", "missing"),
    ("11-2", edited(HALF, ("x + g * layer(n * (1 + s) + b)", "g * (x + layer(n * (1 + s) + b))")),
     "acts on the tokens", "missing"),
    ("11-2", edited(HALF, ("return x + g", "return g")), "tokens themselves are missing", "sign"),
    ("11-2", edited(HALF, ("return x + g", "return n + g")), "added to the normalised", "sign"),
    ("11-2", edited(HALF, ("x.mean(-1", "x.mean(1"), ("x.var(-1", "x.var(1")), "over the tokens", "sign"),
    ("11-2", edited(HALF, ("x.mean(-1", "x.mean((1, 2)"), ("x.var(-1", "x.var((1, 2)")), "over the tokens as well", "sign"),
    ("11-2", edited(HALF, (NORM, "x")), "not normalised", "sign"),
    ("11-2", edited(HALF, (NORM, "torch.nn.functional.rms_norm(x, x.shape[2:])")), "root mean square", "sign"),
    ("11-2", edited(HALF, (NORM, "torch.nn.functional.rms_norm(x, x.shape[2:], eps=1e-6)")), "root mean square", "sign"),
    ("11-2", edited(HALF, (NORM, "torch.nn.functional.layer_norm(x, x.shape[2:])")), "PyTorch's default", "sign"),
    ("11-2", edited(HALF, ("1e-6", "1e-5")), "PyTorch's default", "sign"),
    ("11-2", edited(HALF, (" + 1e-6", "")), "small number.*missing", "default"),
    ("11-2", edited(HALF, ("x.var(", "x.std("), (".sqrt()", "")), "under the root", "default"),
    ("11-2", edited(HALF, (NORM, "torch.nn.functional.layer_norm(x, x.shape[2:])"), ("g * layer", "layer")),
     "two.*PyTorch's default.*gate is missing", "sign"),
    ("11-2", edited(HALF, (".sqrt()", "")), "not by the variance", "sign"),
    ("11-2", edited(HALF, ("g * layer(n * (1 + s) + b)", "layer(g * (n * (1 + s) + b))")), "not on what it is shown", "missing"),
    ("11-2", edited(HALF, ("return x + g * layer(n * (1 + s) + b)", "h = n * (1 + s) + b\nreturn h + g * layer(h)")),
     "added to the modulated", "normalised"),
    ("11-2", edited(HALF, ("(1 + s)", "(1 - s)")), "sign of the scale", "gate|shift"),
    ("11-2", edited(HALF, ("g * layer", "(1 - g) * layer")), "turned round", "missing"),
    ("11-2", edited(HALF, ("layer(n * (1 + s) + b)", "(n * (1 + s) + b)")), "never called", "sign"),
    ("11-2", edited(HALF, (", correction=0", "")), "divides by the number", "sign"),
    ("11-2", edited(HALF, ("n * (1 + s) + b", "(n + b) * (1 + s)")), "shift is multiplied", "sign"),
    ("11-2", edited(HALF, ("n * (1 + s) + b", "n * (1 + s) - b")), "sign of the shift", "gate"),
    ("11-2", edited(HALF, ("n * (1 + s) + b", "n + b")), "scale is missing", "gate"),
    ("11-2", edited(HALF, ("x + g * layer", "x - g * layer")), "subtracted", "gate"),
    ("11-2", edited(HALF, ("(1 + s)", "s"), ("g * layer", "layer")), "two.*nothing must be lost.*gate is missing", "sign"),
    ("11-2", edited(HALF, ("v[:, None]", "v")), "RuntimeError|shape", "sign"),
    ("11-3", "blocks * (36 * width**2 + 30 * width)", "counted whole", "biases"),
    ("11-3", edited(COUNT, ("a * b + b", "a * b")), "biases are missing", "whole"),
    ("11-3", edited(COUNT, ("linear(width, 6 * width) + ", "")), "modulations are missing", "biases"),
    ("11-3", edited(COUNT, ("6 * width", "4 * width")), "gates are missing", "biases"),
    ("11-3", edited(COUNT, ("6 * width", "3 * width")), "half of them is missing", "biases"),
    ("11-3", edited(COUNT, ("linear(width, 2 * width) + asks", "asks")), "still shifted and scaled", "biases"),
    ("11-3", edited(COUNT, ("ends = linear(width, 2", "ends = linear(width, 6")), "fewer modulations", "biases"),
    ("11-3", edited(COUNT, ("+ ends", "")), "last block's text still has", "biases"),
    ("11-3", edited(COUNT, ("2 * blocks * stream - stream + ends", "blocks * stream - stream + ends")), "two streams", "biases"),
    ("11-3", "blocks * (18 * width**2 + 15 * width)", "two streams in each block", "mistakes|biases"),
    ("11-3", "blocks * (30 * width**2 + 24 * width) - 9 * width**2 - 6 * width", "share one modulation", "biases"),
    ("11-3", "blocks * (30 * width**2 + 24 * width) - 13 * width**2 - 10 * width", "share one modulation", "biases"),
    ("11-3", "2 * blocks * (18 * width**2 + 15 * width) - 5 * width**2 - 5 * width", "no feed-forward layer either", "biases"),
    ("11-3", "2 * blocks * (18 * width**2 + 15 * width) - 12 * width**2 - 9 * width",
     "neither gate nor map after the attention", "biases"),
    ("11-3", edited(COUNT, ("asks = 3", "asks = 1")), "three linear maps", "biases"),
    ("11-3", edited(COUNT, ("asks + linear(width, width)", "asks")), "after the attention is missing", "biases"),
    ("11-3", edited(COUNT, ("a * b + b", "a * b"), ("- stream + ends", "")), "biases.*text|two mistakes", "sign"),
    ("11-3", edited(COUNT, ("return 2 * blocks", "return 2 * 1")), "right for some|largest|differ|off", "biases"),
    ("11-5", edited(TURN, *PLANTED), "both faults", "backwards"),
    ("11-5", edited(TURN, PLANTED[1]), "pairs are mended, one fault is left: .*signs", "halves"),
    ("11-5", edited(TURN, PLANTED[0]), "signs are mended, one fault is left", "no rotation"),
    ("11-5", edited(TURN, ("- b * sin", "+ b * sin"), ("+ a * sin", "- a * sin")), "turned backwards: the minus sign", "halves"),
    ("11-5", edited(TURN, PLANTED[0], ("- b * sin", "+ b * sin"), PLANTED[1]), "turned backwards.*first half", "no rotation"),
    ("11-5", edited(TURN, ("[a * cos - b * sin, b * cos + a * sin]", "[b * cos + a * sin, a * cos - b * sin]")),
     "changed places in the result", "rotation"),
    ("11-5", edited(TURN, ("- b * sin", "+ b * sin")), "no rotation", "halves"),
    ("11-5", edited(TURN, PLANTED[0], *HALVES), "consistent", "no rotation"),
    ("11-5", edited(TURN, *HALVES), "written back", "no rotation"),
    ("11-5", "x * angles.cos().repeat_interleave(2, 1)[:, None]", "sines are missing", "halves"),
    ("11-5", "x", "nothing is turned", "halves"),
    ("11-5", edited(TURN, (".flatten(3)", "")), "arrangement", "halves"),
    ("11-4", "a", "tell the first from the second", "encoder"),
    ("11-4", "c", "places that the words are given", "encoder"),
    ("11-4", "d", "know an order", "encoder"),
]  # fmt: skip
