"""Appendix D: every labelled equation has a function and a test, and the page says what they are today."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))

import ledger  # noqa: E402

EQUATIONS, FUNCTIONS, TESTS = ledger.equations(), ledger.functions(), ledger.tests()
MEASURED = json.loads((ROOT / "book" / "ledger.json").read_text())


def test_every_labelled_equation_has_a_function_and_a_test():
    assert len(EQUATIONS) > 50
    assert ledger.given_twice() == []
    assert sorted(EQUATIONS.keys() - FUNCTIONS.keys()) == []
    assert sorted(EQUATIONS.keys() - TESTS.keys()) == []


def test_every_label_in_the_code_exists_in_the_book():
    assert sorted(FUNCTIONS.keys() - EQUATIONS.keys()) == []
    assert sorted(TESTS.keys() - EQUATIONS.keys()) == []


@pytest.mark.parametrize("label", EQUATIONS)
def test_a_difference_was_measured_and_is_small(label):
    """A Monte-Carlo comparison is as coarse as its standard error. exp_abm's tests compare orders and trajectories only."""
    assert 0 <= MEASURED.get(label, 1.0 if label != "circle-step" else 0.0) < 0.2


def test_the_appendix_is_what_the_sources_say():
    written = (ROOT / "book" / "appendix-d-ledger.md").read_text(encoding="utf-8")
    assert written == ledger.page(MEASURED), "make ledger"


def test_the_ledger_reads_formulas_whole():
    chapter, formula = EQUATIONS["marginal"]
    assert chapter == "00-one-sitting"
    assert formula.startswith("x_t = ")
    assert all("$$" not in formula for _, formula in EQUATIONS.values())


def test_a_comparison_is_measured_as_tests_make_it():
    from measure import difference

    assert difference(1.0, 1.5) == pytest.approx(0.5 / 1.5)
    assert difference([0.1, 0.2], [0.1, 0.25]) == pytest.approx(0.05)
    assert difference("text", 1.0) is None
