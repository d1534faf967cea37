"""Part II's graders and the worked solutions of the book: whatever is handed in, the grader answers and does not fail."""

import re

import pytest
import torch
from grading import solved

from tinyldm.exercises import names

SOLVED = solved(r"0[5-9]")
each = pytest.mark.parametrize("id", SOLVED)


def test_all_functions_of_part_two_are_here():
    assert len(SOLVED) == 20
    assert all(id in names() for id in SOLVED)


@each
@pytest.mark.parametrize(
    "form", [lambda r: r, lambda r: r.double(), lambda r: r.float(), lambda r: r.numpy(), lambda r: r.tolist()]
)
def test_the_worked_solution_is_right_in_any_type(id, form, verdict):
    right, message = verdict(id, lambda *z: form(SOLVED[id](*z)))
    assert right, message


def stop(*_):
    raise KeyError("beta")


GARBAGE = [
    (lambda r: None, "returns nothing"),
    (lambda r: "x", "a tensor is asked for"),
    (lambda r: {"x": r}, "a tensor is asked for"),
    (lambda r: [r, r], "Stack its parts"),
    (lambda r: r * float("nan"), "NaN or infinity"),
    (lambda r: r / 0, "NaN or infinity"),
    (lambda r: torch.empty(0), "shape"),
    (lambda r: r.expand(3, *r.shape), "one part of it|arrangement"),
    (lambda r: r[None], "arrangement|one part of it"),
    (lambda r: r.flatten()[0], "shape|one number|same"),
    (lambda r: r + torch.rand(r.shape), "random"),
    (lambda r: r > 0, "."),
    (lambda r: torch.complex(r, r), "a tensor is asked for"),
    (stop, "KeyError: 'beta'"),
]


@each
@pytest.mark.parametrize(("spoil", "word"), GARBAGE)
def test_garbage_is_refused_and_nothing_fails(id, spoil, word, verdict):
    right, message = verdict(id, lambda *z: spoil(SOLVED[id](*z)))
    assert not right
    assert re.search(word, message), message


@each
@pytest.mark.parametrize("answer", [None, ..., "x", float("nan"), 3.0, [], torch.zeros(2), lambda: 0, lambda *z: z[99]])
def test_what_is_no_answer_is_refused(id, answer, verdict):
    assert not verdict(id, answer)[0]


@each
def test_a_function_that_changes_its_arguments_is_told_which(id, verdict):
    def spoiled(*z):
        result = SOLVED[id](*z)
        next(a for a in z if isinstance(a, torch.Tensor) and a.is_floating_point()).add_(1)
        return result

    right, message = verdict(id, spoiled)
    assert not right
    assert "in place" in message
