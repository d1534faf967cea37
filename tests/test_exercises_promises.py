"""What a chapter's exercise promises of the library, or of its own fault."""

import pytest
import torch
from grading import SOLVED, TABLES, handed_in

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
