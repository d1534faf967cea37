"""The graders: every right form passes, every typical mistake is named, nothing gives the solution away."""

import re
import sys
from functools import partial

import pytest
import torch
from grading import solved
from students import ARGUMENTS, MISTAKES, RIGHT, UNTRUE, student

import tinyldm as tl
from tinyldm.exercises import EXERCISES, check, names

GIVEAWAY = r"\*|/|=|sqrt|log10|√|\(s\)|\(t\)|alpha x\b|sigma v\b|answer is|letter b|20 log|10 log"


@pytest.fixture
def verdict(capsys):
    """(id, answer) -> (right or not, the message on one line)."""

    def ask(id, answer):
        capsys.readouterr()
        right = check(id, answer)
        out = capsys.readouterr().out
        assert f"Exercise {id}, {'correct' if right else 'not yet'}:" in out
        assert isinstance(right, bool)
        return right, " ".join(out.split())

    return ask


@pytest.mark.parametrize(("id", "text"), RIGHT)
def test_a_right_answer_is_accepted_in_any_form(id, text, verdict):
    right, message = verdict(id, student(id, text))
    assert right, message


@pytest.mark.parametrize("letter", ["b", "B", " b ", "(b)", "b)", "b\n"])
def test_a_letter_is_accepted_as_people_write_it(letter, verdict):
    assert verdict("00-4", letter)[0]


@pytest.mark.parametrize(("id", "given", "word", "misleading"), MISTAKES)
def test_a_typical_mistake_is_named_without_giving_the_solution_away(id, given, word, misleading, verdict):
    right, message = verdict(id, given if id == "00-4" else student(id, given))
    assert not right
    assert re.search(word, message), message
    assert not re.search(misleading, message), message
    assert not re.search(GIVEAWAY, message), message


@pytest.mark.parametrize(("id", "text", "untrue"), UNTRUE)
def test_no_false_cause_is_named(id, text, untrue, verdict):
    right, message = verdict(id, student(id, text))
    assert not right
    assert not re.search(untrue, message), message
    assert not re.search(GIVEAWAY, message), message


# ---- no answer, or nothing that could be one


@pytest.mark.parametrize("id", [*ARGUMENTS, "00-4"])
@pytest.mark.parametrize("answer", [None, ..., "x0", 3.0, [], {}, torch.zeros(2), object()])
def test_what_is_no_answer_is_refused(id, answer, verdict):
    right, message = verdict(id, answer)
    assert not right
    expected = "no answer yet" if answer is None or answer is ... else "asked for|one of the letters"
    assert re.search(expected, message)


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def unreadable(*_):
    raise UnreadableError


STOPS = [
    ("raise NotImplementedError", "replace `raise NotImplementedError`"),
    ("pass\nreturn", "return"),
    ("raise KeyError('beta')", "KeyError: 'beta'"),
    ("undefined + 1", "NameError"),
    ("raise StopIteration", "StopIteration"),
    ("answer(*[0] * {n})", "RecursionError"),
    ("print('working') or 'done'", "a tensor is asked for"),
    ("{first}, {first}", "a tensor is asked for"),
    ("{first}.mul_(2)", "`{first}` in place"),
]


@pytest.mark.parametrize("id", ARGUMENTS)
@pytest.mark.parametrize(("body", "words"), STOPS)
def test_a_function_that_fails_is_told_how(id, body, words, verdict):
    arguments = ARGUMENTS[id].split(", ")
    first = "x" if "x" in arguments else arguments[0]
    right, message = verdict(id, student(id, body.format(first=first, n=len(arguments))))
    assert not right
    assert re.search(words.format(first=first), message), message


SPOILS = [
    (lambda r: r * float("nan"), "NaN"),
    (lambda r: r / 0, "NaN or infinity"),
    (lambda r: -r, "sign"),
    (lambda r: r + 3, "same constant, 3"),
    (lambda r: 1.5 * r, "same factor, 1.5"),
    (lambda r: r[:1], "shape"),
    (lambda r: r[None], "arrangement"),
    (lambda r: r.sum(), "summed over the batch|shape"),
    (lambda r: tl.Prediction(r, r), "a tensor is asked for"),
]


@pytest.mark.parametrize("id", ARGUMENTS)
@pytest.mark.parametrize(("spoil", "word"), SPOILS)
def test_a_spoiled_answer_is_refused(id, spoil, word, verdict):
    right = student(id, dict(reversed(RIGHT))[id])
    accepted, message = verdict(id, lambda *arguments: spoil(torch.as_tensor(right(*arguments))))
    assert not accepted
    assert re.search(word, message), message


@pytest.mark.parametrize("id", ARGUMENTS)
@pytest.mark.parametrize("arguments", ["", "one", "*, a, b", "a, b, c, d, e, f, g"])
def test_a_wrong_signature_is_told_the_right_one(id, arguments, verdict):
    scope = {}
    exec(f"def answer({arguments}): return 0", scope)
    right, message = verdict(id, scope["answer"])
    assert not right
    assert f"({ARGUMENTS[id]})" in message


@pytest.mark.parametrize("answer", [lambda *_: sys.exit(), unreadable, lambda x0, *_: x0.to_sparse()])
def test_no_answer_makes_the_grader_raise(answer, verdict):
    raised = None
    try:
        right, _ = verdict("00-1", answer)
    except BaseException as error:  # also what ends a program: a grader must go on to the next exercise
        raised = type(error).__name__
    assert raised is None
    assert not right


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_an_imaginary_part_is_not_thrown_away(verdict):
    right = student("00-2", "alpha * x - sigma * v")
    assert not verdict("00-2", lambda *arguments: torch.complex(right(*arguments), arguments[0]))[0]


# ---- the grader as a whole


@pytest.mark.parametrize(("id", "near"), [("00-11", "00-1"), ("00-3.", "00-3"), ("005", "00-5"), ("00-4 ", "00-4")])
def test_an_unknown_exercise_is_refused_with_the_nearest(id, near):
    with pytest.raises(ValueError, match=f"exercise_id='{id}' is unknown; did you mean '{near}'"):
        check(id, None)


def test_chance_outside_is_not_disturbed(verdict):
    before = torch.get_rng_state()
    assert verdict("00-2", student("00-2", "torch.manual_seed(1)\ntorch.rand(9)\nreturn alpha * x - sigma * v"))[0]
    assert not verdict("00-1", student("00-1", "torch.randn_like(x0)"))[0]
    assert torch.equal(before, torch.get_rng_state())


def test_messages_fit_the_page_and_speak_of_every_exercise(capsys):
    assert sorted([*ARGUMENTS, "00-4"]) == [id for id in names() if id.startswith("00-")]
    for id in names():
        check(id, lambda *_: 1 / 0)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def expected_mistakes(id, monkeypatch):
    """What an exercise hands to the grader: its known wrong answers and what it says of them."""
    seen = []

    def dials(answer, formula, cases, dials, wrong=(), tolerance=0):
        seen.extend(wrong)
        seen.extend((partial(formula, **{n: v}), text) for n, settings in dials.items() for v, text in settings)

    def rows(answer, rows, cases, wrong=(), tolerance=0):
        seen.extend(wrong)
        for i, (name, (_, known)) in enumerate(rows.items()):
            for function, text in known:
                parts = [function if j == i else truth for j, (truth, _) in enumerate(rows.values())]
                seen.append(
                    (lambda *z, parts=parts: torch.stack([part(*z) for part in parts]), f"In the {name}: {text}")
                )

    home = sys.modules[EXERCISES[id].grade.__module__]
    monkeypatch.setattr(
        home, "grade_function", lambda answer, truth, cases, wrong=(), **_: seen.extend(wrong), raising=False
    )
    monkeypatch.setattr(home, "grade_dials", dials, raising=False)
    monkeypatch.setattr(home, "grade_rows", rows, raising=False)
    monkeypatch.setattr(home, "grade_choice", lambda answer, right, wrong: seen.extend(wrong.items()), raising=False)
    EXERCISES[id].grade(SOLVED.get(id))
    monkeypatch.undo()
    return [(handed_in(answer), text) for answer, text in seen]


SOLVED = solved(r"\d\d")  # a grader may look at an answer before it compares


def handed_in(answer):
    """Where a grader compares what it measures of an answer, ``partial(measure, answer)``, the answer itself."""
    return answer.args[0] if isinstance(answer, partial) and answer.args else answer


@pytest.mark.parametrize("id", names())
def test_every_mistake_that_an_author_expected_gets_its_own_sentence(id, monkeypatch, verdict):
    wrong = expected_mistakes(id, monkeypatch)
    assert len(wrong) >= 3
    for answer, message in wrong:  # a sentence that another mistake's sentence shadows would never be read
        right, said = verdict(id, answer)
        assert not right
        assert said.replace("- ", "-").endswith(message.replace("- ", "-"))
