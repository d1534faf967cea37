"""The grader without a chapter: what is called wrong in a number, and that it is true on every case."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from tinyldm.exercises import core
from tinyldm.exercises.core import NotYetError, call, choice, formula
from tinyldm.exercises.core import rows as stacked
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
def said(capsys, monkeypatch):
    """What is said of an answer by an exercise that is registered for this test alone; None when it is right."""
    monkeypatch.setattr(core, "EXERCISES", {})

    def ask(answer):
        right = core.check("99-1", answer)
        message = " ".join(capsys.readouterr().out.split())
        return None if right else message.removeprefix("Exercise 99.1, not yet: ")

    return ask


TOY = ("99-1", "A toy", 1, "yes.")
SHORT, LONG = torch.tensor([2.0, 5.0]), torch.tensor([1.0, 4.0, 7.0])


def test_a_list_may_be_emptied(said):
    """Each call gets a list of its own, as it gets tensors of its own."""
    formula(*TOY, lambda x, many: x * many[-1], [(TRUTH, [2.0, 3.0])], [])
    assert said(lambda x, many: x * many.pop()) is None


def toy(faults):
    """Double the numbers. The cases differ, so that a coincidence in one of them can show."""
    formula(*TOY, lambda x: 2 * x, [(torch.tensor([2.0, 2.0]),), (torch.tensor([1.0, 3.0]),)], faults)


def test_a_known_mistake_must_agree_on_every_case(said):
    def fails(x):
        raise ValueError("a wrong formula may fail where the right one does not")

    toy([(fails, "FAILS"), (lambda x: x + 4, "ADDS FOUR"), (lambda x: x**2 + 1, "SQUARES")])
    assert said(lambda x: x * 2) is None
    assert said(lambda x: x + 4) == "ADDS FOUR"
    assert "ADDS" not in said(lambda x: x * 3)  # agrees with x + 4 on the first case alone
    assert "FAILS" not in said(lambda x: x * 5)


def test_a_general_diagnosis_must_hold_on_every_case(said):
    toy([])
    message = said(lambda x: x**2 / 2)  # the truth's root, and half of it, on the first case alone
    assert not re.search("factor|root|constant", message), message
    assert "factor, 1.5" in said(lambda x: 3 * x)


def turned(x, *, factor=2.0, shift=0.0, power=1):
    return factor * x**power + shift


FAULTS = [
    (lambda x: (x - 3).sqrt(), "HALF of it is no number."),
    ({"factor": 3.0}, "THREE."),
    ({"factor": -2.0}, "MINUS."),
    ({"shift": 1.0}, "ONE."),
    ({"shift": 2.0}, "the factor is right."),
    ({"power": 0.5}, "one fault is left: ROOT."),
    ({"power": 0.5, "factor": 3.0}, "BOTH."),
]


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
        (lambda x: 2 * x.sqrt(), "^one fault is left: ROOT.$"),
        (lambda x: 3 * x.sqrt(), "^BOTH.$"),
        (lambda x: 3 * x + 2, "values are not"),  # a sentence that calls the rest right is true of one fault only
    ],
)
def test_two_mistakes_at_once_are_named(answer, message, said):
    formula(*TOY, turned, [(SHORT,), (torch.tensor([1.0, 4.0]),)], FAULTS)
    assert said(lambda x: 2 * x) is None
    assert re.search(message, said(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: [3 * x, x**2], "^the square is right. In the double: THREE.$"),
        (lambda x: [3 * x, x**4], "^In the double: THREE. In the square: a square root is missing"),
        (lambda x: [x**2, 2 * x], "^SWAPPED$"),
        (lambda x: [2 * x, x**5], "^THE FIFTH POWER$"),
        (lambda x: [2 * x, x**2 + 1], "^the double is right. In the square: every value is off by the same constant"),
        (lambda x: [2 * x], "shape"),
        (lambda x: [2 * x, x, x], "shape"),
    ],
)
def test_rows_are_looked_at_one_by_one(answer, message, said):
    parts = {"double": (turned, [({"factor": 3.0}, "THREE.")]), "square": (lambda x: x**2, [])}
    swapped = [
        (lambda x: torch.stack([x**2, 2 * x]), "SWAPPED"),
        ({"square": lambda x: x**5}, "THE FIFTH POWER"),  # the other row is right
    ]
    stacked(*TOY, parts, [(SHORT,), (LONG,)], swapped)
    assert said(lambda x: torch.stack([2 * x, x * x])) is None
    assert re.search(message, said(lambda x: torch.stack(answer(x))))
    assert "Stack its parts" in said(answer)


def test_a_choice_says_what_each_wrong_letter_overlooks(said):
    choice(*TOY, "a", {"b": "no"})
    assert "no answer yet" in said(...)
    assert "letters a, b" in said("z")
    assert said("(B)") == "no"
    assert said("A ") is None


def test_what_is_compared_may_be_measured(said):
    """Here a list's length and sum; what cannot be measured is refused in the measure's own words."""

    def measure(answer):
        def look(x):
            found = call(answer, {"x": x})
            if not isinstance(found, list):
                raise NotYetError("a list is asked for.")
            return torch.tensor([len(found), sum(found)])

        return look

    def double(x, *, times=2.0):
        return (times * x).tolist()

    formula(*TOY, double, [(SHORT,), (LONG,)], [({"times": 3.0}, "THREE.")], measure=measure)
    assert said(lambda x: [*(2 * x).tolist()]) is None
    assert said(lambda x: (3 * x).tolist()) == "THREE."
    assert said(lambda x: 2 * x) == "a list is asked for."
    assert said(...) == "there is no answer yet."
    assert said(lambda: 0) == "the function must take the arguments (x), in this order."


def test_a_second_look_has_the_last_word(said):
    looked = lambda problem, answer, cases: f"{problem} {sorted(cases[0])} LOOKED" if answer(SHORT)[0] > 4 else problem  # noqa: E731
    formula(*TOY, turned, [(SHORT,), (LONG,)], [({"shift": 1.0}, "ONE.")], second_look=looked)
    assert said(lambda x: 2 * x) is None
    assert said(lambda x: 2 * x + 1) == "ONE. ['x'] LOOKED"


def test_single_numbers_off_by_any_factor_are_not_called_sums():
    """Each case is one number, so each is off by one factor: only whole factors that change can be counts of entries."""
    truths = [torch.tensor(0.5), torch.tensor(0.8)]
    assert "the values are not" in explain([0.5 * 1.3, 0.8 * 1.7], truths, TOLERANCE)
    assert "sum where a mean" in explain([0.5 * 3, 0.8 * 4], truths, TOLERANCE)
    assert "mean where a sum" in explain([0.5 / 3, 0.8 / 4], truths, TOLERANCE)
