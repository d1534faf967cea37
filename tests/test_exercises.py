"""The graders, by tables: every right form passes, every typical mistake is named, nothing gives the solution away.

What the students of a chapter hand in stands in ``students/chNN.py``, one answer a row:

    RIGHT = [("08-3", "torch.log(coarse / fine) / math.log(ratio)"), ...]
    MISTAKES = [("08-3", "torch.log2(coarse / fine)", "doubled", "sign"), ...]  # what must be said, and what must not
    UNTRUE = [("00-3", "db(2 / mse(x, y).sqrt(), 1)", "sum"), ...]  # where no cause is known: what must not be said
    GIVEAWAY = r"log\\(|letter c"  # what no message of this chapter may contain

An answer is the body of a function or the value that it returns, as text; or a letter; or a function. The names of the
arguments come from the book's worked solution, other names from the table's own file. What must be said, or not, is a
regular expression; the last column of MISTAKES may be left out, and UNTRUE as a whole.
"""

import re
import sys

import pytest
import torch
from grading import ARGUMENTS, SOLVED, TABLES, handed_in, rows, student

import tinyldm as tl
from tinyldm.exercises import EXERCISES, check, names

LETTERS = [id for id in names() if id not in ARGUMENTS]
TENSORS = {id: f for id, f in SOLVED.items() if id not in ("03-5", "12-3")}  # of which one tensor or number is asked


def each(table, *columns):
    """Parametrise over a table, with the exercise and the row's number as name."""
    values = rows(table)
    return pytest.mark.parametrize(("id", *columns), values, ids=[f"{row[0]}-{i}" for i, row in enumerate(values)])


def padded(row, columns):
    return (*row, *("(?!)",) * (columns - len(row)))


def said(message):
    return message.split("not yet:", 1)[1]


def gives_away(id, message):
    """What a message has of the solution; where it quotes PyTorch, nothing is ours."""
    found = re.search(TABLES[id[:2]].GIVEAWAY, said(message))
    return found and "stopped with" not in message


@each("RIGHT", "answer")
def test_a_right_answer_is_accepted_in_any_form(id, answer, verdict):
    right, message = verdict(id, handed_in(id, answer))
    assert right, message


MISTAKES = [padded(row, 4) for row in rows("MISTAKES")]


@pytest.mark.parametrize(
    ("id", "answer", "words", "misleading"), MISTAKES, ids=[f"{row[0]}-{i}" for i, row in enumerate(MISTAKES)]
)
def test_a_typical_mistake_is_named_without_giving_the_solution_away(id, answer, words, misleading, verdict):
    right, message = verdict(id, handed_in(id, answer))
    assert not right
    assert re.search(words, message), message
    assert not re.search(misleading, said(message)), message
    assert not gives_away(id, message), message


@each("UNTRUE", "answer", "untrue")
def test_no_false_cause_is_named(id, answer, untrue, verdict):
    right, message = verdict(id, handed_in(id, answer))
    assert not right
    assert not re.search(untrue, said(message)), message
    assert not gives_away(id, message), message


@pytest.mark.parametrize("chapter", TABLES)
def test_every_exercise_has_right_and_wrong_answers_in_its_table(chapter):
    asked = {id for id in names() if id.startswith(chapter)}
    assert {row[0] for row in TABLES[chapter].RIGHT} == asked
    assert {row[0] for row in TABLES[chapter].MISTAKES} == asked
    letters = {(row[0], row[1]) for row in TABLES[chapter].MISTAKES if row[0] in LETTERS}
    assert len(letters) == 3 * len({id for id, _ in letters})


@pytest.mark.parametrize("id", names())
def test_every_mistake_that_an_author_expected_gets_its_own_sentence(id, verdict):
    wrong = EXERCISES[id].faults
    assert len(wrong) >= 3
    for answer, message in wrong:  # a sentence that another mistake's sentence shadows would never be read
        right, given = verdict(id, answer)
        assert not right
        assert given.replace("- ", "-").endswith(message.replace("- ", "-"))


# ---- no answer, or nothing that could be one


@pytest.mark.parametrize("id", names())
@pytest.mark.parametrize("answer", [None, ..., "x0", float("nan"), 3.0, [], {}, torch.zeros(2), object()])
def test_what_is_no_answer_is_refused(id, answer, verdict):
    right, message = verdict(id, answer)
    assert not right
    expected = "no answer yet" if answer is None or answer is ... else "asked for|one of the letters"
    assert re.search(expected, message)


@pytest.mark.parametrize("id", names())
@pytest.mark.parametrize(
    "answer", [len, repr, lambda: 0, lambda *z: z[99], lambda *z: None, lambda *z: "x", lambda *_: sys.exit()]
)
def test_a_function_that_cannot_be_right_is_refused(id, answer, verdict):
    assert not verdict(id, answer)[0]


@pytest.mark.parametrize("id", ARGUMENTS)
@pytest.mark.parametrize("arguments", ["", "one", "*, a, b", "a, b, c, d, e, f, g, h, i"])
def test_a_wrong_signature_is_told_the_right_one(id, arguments, verdict):
    if "," in ARGUMENTS[id] or arguments != "one":
        right, message = verdict(id, student(arguments, "0"))
        assert not right
        assert f"({ARGUMENTS[id]})" in message


STOPS = [
    ("raise NotImplementedError", "replace `raise NotImplementedError`"),
    ("pass\nreturn", "return"),
    ("raise KeyError('beta')", "KeyError: 'beta'"),
    ("undefined + 1", "NameError"),
    ("raise StopIteration", "StopIteration"),
    ("answer(*[0] * {n})", "RecursionError"),
    ("print('working') or 'done'", "is asked for|two tensors"),
    ("{first}, {first}", "is asked for|two tensors|should have the shape|expected"),
]


@pytest.mark.parametrize("id", ARGUMENTS)
@pytest.mark.parametrize(("body", "words"), STOPS)
def test_a_function_that_fails_is_told_how(id, body, words, verdict):
    arguments = ARGUMENTS[id].split(", ")
    right, message = verdict(id, student(ARGUMENTS[id], body.format(first=arguments[0], n=len(arguments))))
    assert not right
    assert re.search(words, message), message


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def unreadable(*_):
    raise UnreadableError


@pytest.mark.parametrize("answer", [lambda *_: sys.exit(), unreadable, lambda x0, *_: x0.to_sparse()])
def test_no_answer_makes_the_grader_raise(answer, verdict):
    raised = None
    try:
        right, _ = verdict("00-1", answer)
    except BaseException as error:  # also what ends a program: a grader must go on to the next exercise
        raised = type(error).__name__
    assert raised is None
    assert not right


# ---- the book's worked solutions, and what is left of them when they are spoiled


@pytest.mark.parametrize("id", TENSORS)
@pytest.mark.parametrize("form", ["same", "double", "float", "numpy", "tolist"])
def test_the_worked_solution_is_right_in_any_type(id, form, verdict):
    def answer(*arguments):
        result = SOLVED[id](*arguments)
        return result if form == "same" else getattr(torch.as_tensor(result), form)()

    right, message = verdict(id, answer)
    if id != "01-5" or form not in ("numpy", "tolist"):  # there a gradient is asked for as well
        assert right, message


def stop(*_):
    raise KeyError("beta")


ASKED = "a (tensor|number) is asked for"
OTHER = "shape|one number|same constant, 1|left when|times too large"  # the last three where one number is asked for
SPOILS = [
    (lambda r: None, "returns nothing"),
    (lambda r: "x", ASKED),
    (lambda r: {"x": r}, ASKED),
    (lambda r: [r, r], "Stack its parts|one part of it|shape"),
    (lambda r: tl.Prediction(r, r), ASKED),
    (lambda r: r * float("nan"), "NaN or infinity"),
    (lambda r: r / 0, "NaN or infinity"),
    (lambda r: torch.empty(0), "shape"),
    (lambda r: r.expand(3, *r.shape), "one part of it|arrangement"),
    (lambda r: r[None], "arrangement|one part of it|list of one"),
    (lambda r: r.flatten()[:1], "shape"),
    (lambda r: r.flatten()[0] + (r.ndim == 0), OTHER),
    (lambda r: r.sum() + (r.ndim == 0), "summed over the batch|" + OTHER),
    (lambda r: -r, "sign|the negative one is asked for"),
    (lambda r: r + 3, "same constant, 3|times too large"),
    (lambda r: 1.5 * r, "same factor, 1.5|values are not"),  # a factor cannot be seen where there are zeros
    (lambda r: r + (1 + r.abs()) * torch.rand(r.shape), "random"),
    (lambda r: r > 0, "."),
    (lambda r: torch.complex(r.double(), r.double()), ASKED),
    (stop, "KeyError: 'beta'"),
]


@pytest.mark.parametrize("id", TENSORS)
@pytest.mark.parametrize(("spoil", "words"), SPOILS, ids=range(len(SPOILS)))
def test_a_spoiled_solution_is_refused_and_nothing_fails(id, spoil, words, verdict):
    right, message = verdict(id, lambda *z: spoil(torch.as_tensor(SOLVED[id](*z))))
    assert not right
    assert re.search(words, message), message


@pytest.mark.parametrize("id", sorted(set(ARGUMENTS) - {"02-3", "10-3", "11-3", "13-3"}))  # given no real numbers
def test_a_function_that_changes_its_arguments_is_told_which(id, verdict):
    changed = []

    def spoiled(*z):
        result = SOLVED[id](*z)
        i = next(i for i, a in enumerate(z) if isinstance(a, torch.Tensor) and a.is_floating_point())
        changed.append(ARGUMENTS[id].split(", ")[i])
        z[i].add_(1)
        return result

    right, message = verdict(id, spoiled)
    assert not right
    assert f"`{changed[0]}` in place" in message


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_an_imaginary_part_is_not_thrown_away(verdict):
    right = handed_in("00-2", "alpha * x - sigma * v")
    assert not verdict("00-2", lambda *arguments: torch.complex(right(*arguments), arguments[0]))[0]


# ---- the grader as a whole


@pytest.mark.parametrize(("id", "near"), [("00-11", "00-1"), ("00-3.", "00-3"), ("005", "00-5"), ("00-4 ", "00-4")])
def test_an_unknown_exercise_is_refused_with_the_nearest(id, near):
    with pytest.raises(ValueError, match=f"exercise_id='{id}' is unknown; did you mean '{near}'"):
        check(id, None)


def test_chance_outside_is_not_disturbed(verdict):
    before = torch.get_rng_state()
    assert verdict("00-2", handed_in("00-2", "torch.manual_seed(1)\ntorch.rand(9)\nreturn alpha * x - sigma * v"))[0]
    assert not verdict("00-1", handed_in("00-1", "torch.randn_like(x0)"))[0]
    assert torch.equal(before, torch.get_rng_state())
