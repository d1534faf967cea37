"""The grader: runs an answer, and when it is wrong looks for the mistake that explains it.

An exercise gives a truth, cases to try, and the wrong answers that its author expects, each with the sentence a student
needs. What no author expected goes to ``diagnose``, which knows the mistakes common to all formulas: a wrong shape,
a flipped sign, a missing root, a mean for a sum, a constant factor.
"""

import inspect
import reprlib
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import choose
from .diagnose import as_tensor, close, explain

Wrong = Sequence[tuple[Callable[..., Any], str]]


class NotYetError(Exception):
    """An answer is missing or wrong; the text says why."""


@dataclass(frozen=True)
class Exercise:
    """One graded question. ``grade`` takes the answer and raises ``NotYetError`` unless it is right."""

    id: str
    title: str
    points: int
    grade: Callable[[Any], None]
    praise: str


EXERCISES: dict[str, Exercise] = {}


def register(exercise: Exercise) -> None:
    """Make an exercise known under its id."""
    EXERCISES[exercise.id] = exercise


def names() -> list[str]:
    """The ids of all exercises."""
    return sorted(EXERCISES)


def check(exercise_id: str, answer: Any) -> bool:
    """Grade an answer: prints a verdict that a student can act on, returns whether the answer is right.

    answer: a function or a value, as the exercise asks. Raises ``ValueError`` for an unknown exercise, with the nearest one;
    never for an answer, however wrong.
    """
    exercise = choose("exercise_id", exercise_id, EXERCISES)
    try:
        with torch.random.fork_rng(devices=[]):
            exercise.grade(answer)
    except NotYetError as problem:
        _say(f"Exercise {exercise.id}, not yet: {problem}")
        return False
    _say(f"Exercise {exercise.id}, correct: {exercise.praise}")
    return True


def _say(text: str) -> None:
    """Print in lines that fit the width of a page."""
    print(textwrap.fill(text, 80))


def call(answer: Any, arguments: Mapping[str, Any]) -> Any:
    """The student's function on copies of the arguments. Raises ``NotYetError`` when it is absent or fails."""
    if answer is None or answer is ...:
        raise NotYetError("there is no answer yet.")
    if not callable(answer):
        raise NotYetError(f"a function is asked for, not a value of type {type(answer).__name__}.")
    wanted = ", ".join(arguments)
    try:
        inspect.signature(answer).bind(*arguments.values())
    except TypeError:
        raise NotYetError(f"the function must take the arguments ({wanted}), in this order.") from None
    except ValueError:
        pass  # a callable without a readable signature: simply try it
    copies = [value.clone() if isinstance(value, Tensor) else value for value in arguments.values()]
    try:
        result = answer(*copies)
    except NotImplementedError:
        raise NotYetError("there is no answer yet: replace `raise NotImplementedError` by your own lines.") from None
    except (Exception, SystemExit) as error:
        what = traceback.format_exception_only(error)[-1].strip()  # also when the error cannot be printed
        shapes = ", ".join(f"{n} {tuple(v.shape)}" for n, v in arguments.items() if isinstance(v, Tensor))
        raise NotYetError(f"your function stopped with {what} (the shapes were {shapes})") from None
    for name, before, after in zip(arguments, arguments.values(), copies, strict=True):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            raise NotYetError(
                f"your function changes its argument `{name}` in place; leave what you are given as it was."
            )
    if result is None:
        raise NotYetError("your function returns nothing (None); is a `return` missing?")
    return result


def grade_function(
    answer: Any,
    truth: Callable[..., Tensor],
    cases: Sequence[Mapping[str, Any]],
    wrong: Wrong = (),
    tolerance: float = 1e-4,
) -> None:
    """Compare a student's function with ``truth`` on every case, and explain the first difference.

    cases: arguments by name, in order. wrong: known wrong functions with what to say of them; one must agree on all cases.
    """
    results = [call(answer, case) for case in cases]
    truths = [truth(*case.values()) for case in cases]
    problem = explain(results, truths, tolerance)
    if problem is None:
        return
    for function, message in wrong:
        guesses = [_quietly(function, case) for case in cases]
        if all(isinstance(g, Tensor) for g in guesses) and explain(results, guesses, tolerance) is None:
            raise NotYetError(message)
    once, twice = as_tensor(results[0]), as_tensor(call(answer, cases[0]))
    if once is not None and twice is not None and once.isfinite().all() and not close(twice, once, tolerance):
        raise NotYetError("your result is random, it differs when asked twice; use the noise that you are given.")
    raise NotYetError(problem)


def _quietly(function: Callable[..., Any], case: Mapping[str, Any]) -> Any:
    """A known wrong function may fail where the right one does not."""
    try:
        return function(*case.values())
    except (RuntimeError, ValueError, TypeError):
        return None


def grade_choice(answer: Any, right: str, wrong: Mapping[str, str]) -> None:
    """Grade a letter: ``wrong`` says for each other letter what it overlooks."""
    if answer is None or answer is ...:
        raise NotYetError("there is no answer yet: give one letter as a string.")
    letters = sorted([right, *wrong])
    given = answer.strip().strip("(). ").lower() if isinstance(answer, str) else None
    if given not in letters:
        raise NotYetError(
            f"answer with one of the letters {', '.join(letters)} as a string; this is {reprlib.repr(answer)}."
        )
    if given != right:
        raise NotYetError(wrong[given])
