"""What a chapter's exercise promises of the library, or of its own fault."""

import pytest
import torch
import torch.nn.functional as F
from conftest import seeded_build
from diffusers_maps import perturb
from grading import SOLVED, TABLES, handed_in, student

import tinyldm as tl


def test_the_inverted_ratio_cannot_hide_behind_equal_steps():
    """On equal steps the planted fault of 08-5 changes nothing, so the grader must ask on uneven ones."""
    path = tl.VP()
    predict = tl.data.six_gaussians().predict(path)

    def x0_of(x, t):
        return predict(x, t).x0

    x = torch.randn(5, 2, generator=tl.seeded(0), dtype=torch.float64)
    ends = [TABLES["08"].solver(ratio)(x0_of, path, x, tl.grid(path, 6)) for ratio in ("h / h_last", "h_last / h")]
    torch.testing.assert_close(*ends)


def test_the_parts_of_the_penalty_are_what_the_library_measures():
    """The formulas of 03-1 are what kl_split finds on a linear encoder."""
    a, s, v = 0.8, 0.5, 2.0
    x = v**0.5 * torch.randn(4000, 1, generator=tl.seeded(1), dtype=torch.float64)
    posterior = tl.DiagonalGaussian(a * x, torch.full_like(x, s).log() * 2)
    measured = tl.kl_split(posterior, tl.seeded(2))
    one, other = handed_in("03-1", TABLES["03"].stacked())(*torch.tensor([[a], [s], [v]]))
    assert measured.information.mean() == pytest.approx(one.item(), abs=0.05)
    assert measured.marginal.mean() == pytest.approx(other.item(), abs=0.05)


@pytest.mark.parametrize(("cin", "cout", "width"), [(320, 320, 1280), (640, 320, 1280), (4, 6, 5)])
def test_the_count_of_10_3_is_that_of_the_library_block(cin, cout, width):
    assert TABLES["10"].weights_formula(cin, cout, width) == TABLES["10"].weights_counted(cin, cout, width)


def test_the_faults_of_10_5_cannot_be_seen_by_counting(rng):
    """With the planted bugs nothing crashes: pushes and joints are equally many."""
    weight = torch.randn(3, 6, generator=rng)

    def wide(h):
        return torch.einsum("oi,bi->bo", weight, h)

    def same(h):
        return h + 1

    forward, x = TABLES["10"].forward, torch.randn(2, 3, generator=rng)
    broken = forward(push=TABLES["10"].EARLY, pop="stack.pop(0)")(x, same, [same, same], same, [wide] * 3)
    whole = forward()(x, same, [same, same], same, [wide] * 3)
    assert broken.shape == whole.shape
    assert not torch.allclose(broken, whole)


@pytest.mark.parametrize(("width", "blocks"), [(16, 1), (32, 4)])
def test_the_count_of_11_3_is_that_of_the_network(width, blocks):
    with torch.device("meta"):
        net = tl.nn.MMDiTConfig(width=width, heads=2, blocks=blocks, tokens=5, vector=3).build()
    assert SOLVED["11-3"](width, blocks) == sum(p.numel() for p in net.blocks.parameters())


@torch.no_grad()
def test_scale_and_shift_of_12_1_are_those_of_the_library_block(rng):
    block = perturb(tl.nn.layers.ResBlock(4, 6, groups=2, emb_dim=5, scale_shift=True), rng)
    x, emb, inside = torch.randn(2, 4, 3, 3, generator=rng), torch.randn(2, 5, generator=rng), {}
    block.norm2.register_forward_hook(lambda layer, given, h: inside.update(before=h))
    block.conv2.register_forward_pre_hook(lambda layer, given: inside.update(after=given[0]))
    block(x, emb)
    film = student("h, said", TABLES["12"].FILM)
    torch.testing.assert_close(F.silu(film(inside["before"], block.emb(F.silu(emb)))), inside["after"])


def test_the_faults_of_12_4_run_and_hide_each_other(rng):
    """The code as given answers the words, and its softmax runs over the words."""
    x, c, w = (torch.randn(*shape, generator=rng) for shape in ((2, 7, 4), (2, 3, 4), (3, 6, 4)))
    as_given, mended = (student("x, c, w_q, w_k, w_v", text) for text in (TABLES["12"].PLANTED, TABLES["12"].LOOK))
    assert as_given(x, c, *w).shape == (2, 3, 6)
    assert mended(x, c, *w).shape == (2, 7, 6)
    q, k, v = ((z @ m.T)[:, :, None] for z, m in zip((x, c, c), w, strict=True))  # one head
    torch.testing.assert_close(mended(x, c, *w), tl.nn.attention.attend(q, k, v))


COPIED = {"hint", "time", "conv_in", "down", "middle"}


@pytest.mark.parametrize(
    ("start", "same", "learns"), [("a", False, COPIED), ("b", True, set()), ("c", True, set()), ("d", True, COPIED)]
)
def test_the_starts_of_12_5_do_what_its_answer_says(start, same, learns, rng):
    config = tl.nn.UNetConfig(2, (8, 8), (0, 1), heads=2, groups=4, classes=0)
    unet = perturb(seeded_build(config), rng).requires_grad_(False)
    control, scale = tl.nn.ControlNet.copy_of(unet, hint_widths=(4,)).requires_grad_(), 0.0 if start == "b" else 1.0
    with torch.no_grad():
        for p in control.zeros.parameters() if start in "ab" else control.parameters() if start == "c" else ():
            p.copy_(torch.randn(p.shape, generator=rng) * {"a": 1e-3, "b": 0.3, "c": 0}[start])
    (x, target), hint = torch.randn(2, 2, 2, 4, 4, generator=rng), torch.rand(2, 3, 4, 4, generator=rng)

    def picture(hint):
        return unet(x, 3, tl.Condition(residuals=control(x, 3, None, hint, scale)))

    assert torch.equal(picture(hint), unet(x, 3)) == same
    before = {name: p.detach().clone() for name, p in control.named_parameters()}
    training = torch.optim.SGD(control.parameters(), 0.01)
    for _ in range(4):
        training.zero_grad()
        (picture(hint) - target).square().mean().backward()
        training.step()
    moved = {name.split(".")[0] for name, p in control.named_parameters() if not torch.equal(p, before[name])}
    assert moved - {"zeros"} == learns
    assert torch.equal(picture(hint), picture(hint + 1)) == (not learns)
