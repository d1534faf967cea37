"""The grader without a chapter: what is called wrong in a number, and that it is true on every case."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from tinyldm.exercises import Exercise, core
from tinyldm.exercises.core import NotYetError, call, grade_choice, grade_dials, grade_function, grade_rows
from tinyldm.exercises.diagnose import as_tensor, close, compare, explain

TOLERANCE = 1e-4
TRUTH = torch.tensor([[0.5, 2.0, 3.0], [1.5, 0.25, 4.0]])

# What was handed in instead of TRUTH, and what must be said of it.
WRONG = [
    (-TRUTH, "the sign is flipped"),
    (TRUTH**2, "a square root is missing"),
    (TRUTH.sqrt(), "a square root too many"),
    (1 / TRUTH, "reciprocal"),
    (TRUTH * 5, "same factor, 5"),
    (TRUTH * 6, "6 times too large; is this a sum where a mean"),  # six entries
    (TRUTH * -0.5, "same factor, -0.5"),
    (TRUTH * 1024, "1024 times too large; is this a sum where a mean"),
    (TRUTH / 1024, "1024 times too small; is this a mean where a sum"),
    (TRUTH * math.log(10), "wrong base"),
    (TRUTH / math.log(10), "wrong base"),
    (TRUTH - 0.7, "same constant, -0.7"),
    (TRUTH.mean(), "averaged over the batch"),
    (TRUTH.sum(), "summed over the batch"),
    (TRUTH.mean(1), "what you reduce over"),
    (TRUTH.reshape(3, 2), "arrangement is not"),
    (TRUTH[None], "arrangement is not"),
    (TRUTH[:, None] + TRUTH, "broadcast"),
    (TRUTH.T, "rows and columns have changed places"),
    (torch.stack([TRUTH, 2 * TRUTH]), "one part of it; return that alone"),
    (TRUTH[1], "one part of what is asked for; stack it"),
    (torch.cat([TRUTH[:1], TRUTH]), "one entry too many, the first"),
    (torch.cat([TRUTH, TRUTH]), "what you reduce over"),
    (torch.cat([TRUTH, TRUTH[:1]]), "one entry too many, the last"),
    (TRUTH[1:], "the first entry is missing"),
    (TRUTH[:1], "the last entry is missing"),
    ((TRUTH, TRUTH), "returned a tuple. Stack its parts"),
    (TRUTH.log().log(), "NaN or infinity"),
    (TRUTH / 0, "NaN or infinity"),
    (TRUTH + torch.tensor([0.0, 0.1, 0.2]), "the shape is right, the values are not"),
    ("2.0", "returned a str"),
    (None, "returned a NoneType"),
    (True, "returned a bool"),
    ([[1.0], [1.0, 2.0]], "returned a list"),
    ({"x": TRUTH}, "returned a dict"),
    (np.array(["a"]), "returned a ndarray"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_a_wrong_number_is_explained(given, words):
    assert words in compare(given, TRUTH, TOLERANCE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("2.0", "a number is asked for; your function returned a str"),
        (torch.tensor([7.0]), "stands in a list of one; a number is asked for"),
        (torch.tensor([8.0]), "shape"),
    ],
)
def test_where_a_number_is_asked_for_a_number_is_asked_for(given, words):
    sentence = compare(given, torch.tensor(7.0), TOLERANCE)
    assert words in sentence
    assert "arrangement" not in sentence


def test_a_fraction_is_a_number():
    assert compare(Fraction(7, 2), torch.tensor(3.5), TOLERANCE) is None


def test_a_large_factor_counts_entries_only_where_it_is_a_whole_number():
    """A constant in the place of a formula: the factors change from case to case, and are no counts."""
    truths = [torch.tensor(v, dtype=torch.float64) for v in (638.0, 1234.0, 1701.0)]
    assert "times too large" in explain([truths[0] * 1200, truths[1] * 800, truths[2] * 500], truths, TOLERANCE)
    assert "values are not" in explain([2255040.0] * 3, truths, TOLERANCE)


def test_half_precision_is_called_few_digits():
    """bfloat16 rounds by up to 2^-8."""
    assert "fewer digits" in compare(TRUTH + torch.tensor([0.0, 0.03, 0.01]), TRUTH, TOLERANCE)


def test_a_list_may_be_emptied():
    """Each call gets a list of its own, as it gets tensors of its own."""
    grade_function(lambda x, many: x * many.pop(), lambda x, many: x * many[-1], [{"x": TRUTH, "many": [2.0, 3.0]}])


@pytest.mark.parametrize("k", [-3.0, -0.2, 0.3, 2.0, 7.0])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_about_factors_and_constants_is_true(k, seed, rng):
    truth = torch.randn(4, 5, generator=rng.manual_seed(seed))
    assert f"same factor, {k:.4g}." in compare(k * truth, truth, TOLERANCE)
    assert f"same constant, {k:.4g};" in compare(truth + k, truth, TOLERANCE)
    assert compare(-truth, truth, TOLERANCE) == "the sign is flipped."
    assert "root" not in compare(truth**2, truth, TOLERANCE)  # the truth has negative entries: it is no square root


@pytest.mark.parametrize(
    "form", [TRUTH, TRUTH.double(), TRUTH.numpy(), TRUTH.tolist(), tuple(TRUTH), TRUTH.clone().requires_grad_()]
)
def test_the_truth_is_the_truth_in_any_form(form):
    if isinstance(form, tuple):
        form = tuple(row.tolist() for row in form)
    assert compare(form, TRUTH, TOLERANCE) is None


def test_the_tolerance_is_relative_to_the_largest_value():
    for scale in (1e-3, 1.0, 1e6):
        assert compare(scale * TRUTH * (1 + 0.5e-4), scale * TRUTH, TOLERANCE) is None
        assert compare(scale * TRUTH * (1 + 2e-4), scale * TRUTH, TOLERANCE) is not None
    assert not close(torch.tensor([math.inf]), torch.tensor([math.inf]), TOLERANCE)
    assert as_tensor(3).dtype == torch.float64
    assert as_tensor(object()) is None


def test_a_function_gets_copies(rng):
    given = torch.randn(3, generator=rng)
    kept = given.clone()
    with pytest.raises(NotYetError, match="argument `x` in place"):
        call(lambda x: x.zero_(), {"x": given})
    assert torch.equal(given, kept)
    assert torch.equal(call(lambda x: x + 1, {"x": given}), kept + 1)


@pytest.fixture
def verdict(capsys):
    """(id, answer) -> (right or not, the message on one line)."""

    def ask(id, answer):
        right = core.check(id, answer)
        return right, " ".join(capsys.readouterr().out.split())

    return ask


def toy(monkeypatch, wrong):
    """An exercise: double the numbers. The cases differ, so that a coincidence in one of them can show."""
    cases = [{"x": torch.tensor([2.0, 2.0])}, {"x": torch.tensor([1.0, 3.0])}]
    grade = lambda answer: grade_function(answer, lambda x: 2 * x, cases, wrong)  # noqa: E731
    monkeypatch.setitem(core.EXERCISES, "99-1", Exercise("99-1", "Double", 1, grade, "yes."))


def test_a_known_mistake_must_agree_on_every_case(monkeypatch, verdict):
    def fails(x):
        raise ValueError("a wrong formula may fail where the right one does not")

    toy(monkeypatch, [(fails, "FAILS"), (lambda x: x + 4, "ADDS FOUR"), (lambda x: x**2 + 1, "SQUARES")])
    assert verdict("99-1", lambda x: x * 2)[0]
    assert "ADDS FOUR" in verdict("99-1", lambda x: x + 4)[1]
    assert "ADDS" not in verdict("99-1", lambda x: x * 3)[1]  # agrees with x + 4 on the first case alone
    assert "FAILS" not in verdict("99-1", lambda x: x * 5)[1]


def test_a_general_diagnosis_must_hold_on_every_case(monkeypatch, verdict):
    toy(monkeypatch, [])
    message = verdict("99-1", lambda x: x**2 / 2)[1]  # the truth's root, and half of it, on the first case alone
    assert not re.search("factor|root|constant", message), message
    assert "factor, 1.5" in verdict("99-1", lambda x: 3 * x)[1]


def turned(x, *, factor=2.0, shift=0.0, power=1):
    return factor * x**power + shift


DIALS = {"factor": [(3.0, "THREE."), (-2.0, "MINUS.")], "shift": [(1.0, "ONE.")], "power": [(0.5, "ROOT.")]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: 2 * x + 1, "^ONE.$"),
        (lambda x: 3 * x + 1, "^two mistakes. One: THREE. Two: ONE.$"),
        (lambda x: -2 * x, "^MINUS.$"),  # its author's words before the general ones
        (lambda x: 2 * x - 5, "same constant, -5"),
        (lambda x: 2 * x.sqrt() + 1, "One: ONE. Two: ROOT."),
        (lambda x: (x - 9).sqrt(), "NaN or infinity"),
        (lambda x: (x - 3).sqrt(), "HALF"),
        (lambda x: 2 * x + torch.rand(2), "random"),
        (lambda x: x**3, "values are not"),
    ],
)
def test_two_mistakes_at_once_are_named(answer, message):
    cases = [{"x": torch.tensor([2.0, 5.0])}, {"x": torch.tensor([1.0, 4.0])}]
    assert grade_dials(lambda x: 2 * x, turned, cases, DIALS) is None
    with pytest.raises(NotYetError, match=message):
        grade_dials(answer, turned, cases, DIALS, [(lambda x: (x - 3).sqrt(), "HALF of it is no number.")])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: [3 * x, x**2], "^the square is right. In the double: THREE.$"),
        (lambda x: [3 * x, x**4], "^In the double: THREE. In the square: a square root is missing"),
        (lambda x: [x**2, 2 * x], "^SWAPPED$"),
        (lambda x: [2 * x, x**2 + 1], "^the double is right. In the square: every value is off by the same constant"),
        (lambda x: [2 * x], "shape"),
        (lambda x: [2 * x, x, x], "shape"),
    ],
)
def test_rows_are_looked_at_one_by_one(answer, message):
    cases = [{"x": torch.tensor([2.0, 5.0])}, {"x": torch.tensor([1.0, 4.0, 7.0])}]
    rows = {"double": (lambda x: 2 * x, [(lambda x: 3 * x, "THREE.")]), "square": (lambda x: x**2, [])}
    swapped = [(lambda x: torch.stack([x**2, 2 * x]), "SWAPPED")]
    assert grade_rows(lambda x: torch.stack([2 * x, x * x]), rows, cases, swapped) is None
    with pytest.raises(NotYetError, match=message):
        grade_rows(lambda x: torch.stack(answer(x)), rows, cases, swapped)
    with pytest.raises(NotYetError, match="Stack its parts"):
        grade_rows(answer, rows, cases, swapped)


def test_a_choice_says_what_each_wrong_letter_overlooks():
    with pytest.raises(NotYetError, match="no answer yet"):
        grade_choice(..., "a", {"b": "no"})
    with pytest.raises(NotYetError, match="letters a, b"):
        grade_choice("z", "a", {"b": "no"})
    with pytest.raises(NotYetError, match=r"^no$"):
        grade_choice("(B)", "a", {"b": "no"})
    assert grade_choice("A ", "a", {"b": "no"}) is None


def test_single_numbers_off_by_any_factor_are_not_called_sums():
    """Each case is one number, so each is off by one factor: only whole factors that change can be counts of entries."""
    truths = [torch.tensor(0.5), torch.tensor(0.8)]
    assert "the values are not" in explain([0.5 * 1.3, 0.8 * 1.7], truths, TOLERANCE)
    assert "sum where a mean" in explain([0.5 * 3, 0.8 * 4], truths, TOLERANCE)
    assert "mean where a sum" in explain([0.5 / 3, 0.8 / 4], truths, TOLERANCE)
