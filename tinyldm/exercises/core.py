"""The grader: runs an answer, and when it is wrong looks for the mistake that explains it.

An exercise gives a truth, cases to try, and the wrong answers that its author expects, each with the sentence a student
needs. What no author expected goes to ``diagnose``, which knows the mistakes common to all formulas: a wrong shape,
a flipped sign, a missing root, a mean for a sum, a constant factor.
"""

import inspect
import reprlib
import textwrap
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..errors import choose
from .diagnose import agree, as_tensor, cause, close, distance, same

Wrong = Sequence[tuple[Callable[..., Any], str]]
Rows = Mapping[str, tuple[Callable[..., Any], Wrong]]
Rare = Iterable[tuple[Callable[..., Any], str]]
Dials = Mapping[str, Sequence[tuple[Any, str]]]


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


def _copied(value: Any) -> Any:
    """A tensor or list that may be changed without harm to the next call; an emptied list is the student's affair."""
    return value.clone() if isinstance(value, Tensor) else list(value) if isinstance(value, list) else value


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
    copies = [_copied(value) for value in arguments.values()]
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


class Trial:
    """A student's function on all cases, and the search for what explains a wrong result."""

    def __init__(self, answer: Any, cases: Sequence[Mapping[str, Any]], tolerance: float) -> None:
        self.answer, self.cases, self.tolerance = answer, cases, tolerance
        self.results = [call(answer, case) for case in cases]

    def mistake(self, given: Sequence[Any], truths: Sequence[Tensor], wrong: Wrong, rare: Rare = ()) -> str | None:
        """None when ``given`` is right; else what is known of it, common to all formulas, ``rare``, or how far off it is."""
        if agree(given, truths, self.tolerance):
            return None
        named = self.known(given, wrong) or self._random() or cause(given, truths, self.tolerance)
        return named or self.known(given, rare) or distance(given, truths, self.tolerance)

    def known(self, given: Sequence[Any], wrong: Rare) -> str | None:
        """The sentence of the first wrong function that agrees on all cases."""
        tensors = [as_tensor(value) for value in given]
        for function, message in wrong:
            if all(self._agrees(function, case, tensor) for case, tensor in zip(self.cases, tensors, strict=True)):
                return message
        return None

    def _agrees(self, function: Callable[..., Any], case: Mapping[str, Any], tensor: Tensor | None) -> bool:
        """A known wrong function may fail where the right one does not."""
        try:
            guess = function(*case.values())
        except (RuntimeError, ValueError, TypeError):
            return False
        ours = as_tensor(guess) if isinstance(guess, Tensor) else None
        return tensor is not None and ours is not None and same(tensor, ours, self.tolerance)

    def _random(self) -> str | None:
        once, twice = as_tensor(self.results[0]), as_tensor(call(self.answer, self.cases[0]))
        if once is None or twice is None or not once.isfinite().all() or close(twice, once, self.tolerance):
            return None
        return "your result is random, it differs when asked twice; use the noise that you are given."


def grade_function(
    answer: Any,
    truth: Callable[..., Tensor],
    cases: Sequence[Mapping[str, Any]],
    wrong: Wrong = (),
    tolerance: float = 1e-4,
) -> None:
    """Compare a student's function with ``truth`` on every case, and explain the first difference.

    cases: arguments by name, in order. wrong: known wrong functions with what to say of them; one must agree on all cases.
    Of those that are one function with one keyword turned (a ``functools.partial``), two at a time are found as well.
    """
    grade_dials(answer, truth, cases, {}, wrong, tolerance)


def grade_dials(
    answer: Any,
    formula: Callable[..., Tensor],
    cases: Sequence[Mapping[str, Any]],
    dials: Dials,
    wrong: Wrong = (),
    tolerance: float = 1e-4,
) -> None:
    """``grade_function`` for a formula that carries its mistakes as keyword arguments, right by default.

    dials: for each keyword the wrong settings, with what to say of them; two mistakes at a time are found as well.
    wrong: further functions with a sentence of their own, looked at first.
    """
    turned: Wrong = [(partial(formula, **{n: v}), text) for n, settings in dials.items() for v, text in settings]
    known: Wrong = [*wrong, *turned]
    trial = Trial(answer, cases, tolerance)
    truths = [formula(*case.values()) for case in cases]
    problem = trial.mistake(trial.results, truths, known, _both(known))
    if problem:
        raise NotYetError(problem)


def _both(wrong: Wrong) -> Rare:
    """Two mistakes at a time, of those that are one formula with one keyword turned."""
    last = "one fault is left: "  # what is said of a half-mended repair; two are left here
    turned = [(f, text.split(last)[-1]) for f, text in wrong if isinstance(f, partial) and len(f.keywords) == 1]
    for (f, first), (g, second) in combinations(turned, 2):
        if f.func is g.func and f.keywords.keys() != g.keywords.keys():
            yield partial(f.func, **f.keywords, **g.keywords), f"two mistakes. One: {first} Two: {second}"


def grade_rows(
    answer: Any,
    rows: Rows,
    cases: Sequence[Mapping[str, Any]],
    wrong: Wrong = (),
    tolerance: float = 1e-4,
) -> None:
    """``grade_function`` for several results that the student stacks: each is looked at by itself.

    rows: by what a student calls it, its truth and the wrong functions for it. wrong: of all rows at once.
    """
    trial = Trial(answer, cases, tolerance)
    truths = [torch.stack([truth(*case.values()) for truth, _ in rows.values()]) for case in cases]
    problem = trial.mistake(trial.results, truths, wrong)
    given = [value for value in map(as_tensor, trial.results) if value is not None]
    if problem is None:
        return
    if trial.known(trial.results, wrong) or [g.shape for g in given] != [t.shape for t in truths]:
        raise NotYetError(problem)
    said = {
        name: trial.mistake([g[i] for g in given], [t[i] for t in truths], known)
        for i, (name, (_, known)) in enumerate(rows.items())
    }
    fine = " and ".join(f"the {name}" for name, wrongly in said.items() if not wrongly)
    start = f"{fine} {'is' if ' and ' not in fine else 'are'} right. " if fine else ""
    raise NotYetError(start + " ".join(f"In the {name}: {wrongly}" for name, wrongly in said.items() if wrongly))


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
