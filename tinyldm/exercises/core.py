"""The grader: an exercise is a table, the right formula and the wrong ones, each with the sentence that a student needs.

    formula(id, title, points, praise, truth, cases, faults)   a function is asked for
    rows(id, title, points, praise, parts, cases, faults)      a function that stacks several results
    choice(id, title, points, praise, right, wrong)            a letter is asked for

``truth`` is a function whose positional arguments are the student's and whose keyword arguments, its dials, are right by
default. A fault is the dials that make the truth wrong, ``({"power": 2}, "a root is missing.")``, or a function of its own.
The first fault that agrees with an answer on all cases explains it; after the mistakes common to all formulas (``diagnose``)
two dials at a time are tried as well. Where that is not enough, ``measure`` says what of an answer is looked at, and
``second_look`` has the last word.
"""

import inspect
import re
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

Function = Callable[..., Any]
Faults = Sequence[tuple[Function | Mapping[str, Any], str]]
Case = Mapping[str, Any]  # the arguments by name, in order


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
    faults: Sequence[tuple[Any, str]] = ()  # the wrong answers that its author expects, with what is said of them

    @property
    def number(self) -> str:
        """What the book calls it: 8.1 for the id 08-1."""
        chapter, k = self.id.split("-")
        return f"{int(chapter)}.{k}"


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
    right, verdict = True, f"correct: {exercise.praise}"
    try:
        with torch.random.fork_rng(devices=[]):
            exercise.grade(answer)
    except NotYetError as problem:
        right, verdict = False, f"not yet: {problem}"
    print(textwrap.fill(f"Exercise {exercise.number}, {verdict}", 80))  # the width of a page
    return right


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
    except NotYetError:
        raise  # a measure has looked and found nothing to measure
    except NotImplementedError:
        raise NotYetError("there is no answer yet: replace `raise NotImplementedError` by your own lines.") from None
    except (Exception, SystemExit) as error:
        what = traceback.format_exception_only(error)[-1].strip()  # also when the error cannot be printed
        shapes = ", ".join(f"{n} {tuple(v.shape)}" for n, v in arguments.items() if isinstance(v, Tensor))
        raise NotYetError(f"your function stopped with {what} (the shapes were {shapes})") from None
    for name, before, after in zip(arguments, arguments.values(), copies, strict=True):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            raise NotYetError(f"your function changes its argument `{name}` in place; leave what you are given as it was.")
    if result is None:
        raise NotYetError("your function returns nothing (None); is a `return` missing?")
    return result


class Trial:
    """A student's function on all cases, and the search for what explains a wrong result."""

    def __init__(
        self, answer: Any, cases: Sequence[Case], tolerance: float, measure: Callable[[Any], Function] | None = None
    ) -> None:
        self.look = measure or (lambda function: function)
        self.answer, self.cases, self.tolerance = self.look(answer), cases, tolerance
        self.results = [call(self.answer, case) for case in cases]

    def mistake(self, given: Sequence[Any], truth: Function, faults: Faults) -> str | None:
        """None when ``given`` is right; else what explains it: a fault, a common mistake, two faults, or how far off it is."""
        truths = self.truths(truth)
        if agree(given, truths, self.tolerance):
            return None
        named = self.known(given, wrong(truth, faults)) or self._random() or cause(given, truths, self.tolerance)
        return named or self.known(given, _both(truth, faults)) or distance(given, truths, self.tolerance)

    def truths(self, truth: Function) -> list[Tensor]:
        """What is right, case by case."""
        return [self.look(truth)(*case.values()) for case in self.cases]

    def known(self, given: Sequence[Any], known: Iterable[tuple[Function, str]]) -> str | None:
        """The sentence of the first wrong function that agrees on all cases."""
        results = list(zip(self.cases, map(as_tensor, given), strict=True))[::-1]  # tables end with their smallest cases
        looked = ((self.look(function), message) for function, message in known)
        return next((message for act, message in looked if all(self._agrees(act, *result) for result in results)), None)

    def _agrees(self, function: Function, case: Case, tensor: Tensor | None) -> bool:
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


def wrong(truth: Function, faults: Faults) -> list[tuple[Function, str]]:
    """Each fault as a function: dials are turned on the truth."""
    return [(partial(truth, **fault) if isinstance(fault, Mapping) else fault, text) for fault, text in faults]


def _both(truth: Function, faults: Faults) -> Iterable[tuple[Function, str]]:
    """Two faults at a time, of those that are one dial; not where a sentence calls the rest right."""
    last = "one fault is left: "  # what is said of a half-mended repair; two are left here
    single = [(fault, text.split(last)[-1]) for fault, text in faults if isinstance(fault, Mapping) and len(fault) == 1]
    lone = [(fault, text) for fault, text in single if not re.search(r"\b(is|are) (right|mended)\b", text)]
    for (one, first), (two, second) in combinations(lone, 2):
        if one.keys() != two.keys():
            yield partial(truth, **one, **two), f"two mistakes. One: {first} Two: {second}"


def _named(truth: Function, cases: Iterable[Sequence[Any]]) -> list[Case]:
    """Cases by the names of the truth's arguments; what is keyword-only is a dial."""
    names = [n for n, p in inspect.signature(truth).parameters.items() if p.kind is not p.KEYWORD_ONLY]
    return [dict(zip(names, case, strict=True)) for case in cases]


def formula(
    id: str,
    title: str,
    points: int,
    praise: str,
    truth: Function,
    cases: Iterable[Sequence[Any]],
    faults: Faults,
    tolerance: float = 1e-4,
    *,
    measure: Callable[[Any], Function] | None = None,
    second_look: Callable[[str | None, Any, Sequence[Case]], str | None] | None = None,
) -> None:
    """An exercise that asks for the function ``truth``.

    cases: the arguments to try. measure: from a function to what is compared of it, a function too; the truth and the faults
    are measured as the answer is. second_look: from (what is wrong, answer, cases) to what is said, None when all is right.
    """
    named = _named(measure(truth) if measure else truth, cases)

    def grade(answer: Any) -> None:
        trial = Trial(answer, named, tolerance, measure)
        problem = trial.mistake(trial.results, truth, faults)
        _refuse(second_look(problem, answer, named) if second_look else problem)

    register(Exercise(id, title, points, grade, praise, wrong(truth, faults)))


def rows(
    id: str,
    title: str,
    points: int,
    praise: str,
    parts: Mapping[str, tuple[Function, Faults]],
    cases: Iterable[Sequence[Any]],
    faults: Faults = (),
    tolerance: float = 1e-4,
) -> None:
    """An exercise that asks for several results, stacked: each is looked at by itself.

    parts: by what a student calls a row, its truth and its faults. faults: of all rows at once; their dials are the rows,
    ``({"mean": other}, "...")`` puts another function in the place of one.
    """

    def stacked(*arguments: Any, **others: Function) -> Tensor:
        return torch.stack([others.get(name, truth)(*arguments) for name, (truth, _) in parts.items()])

    named = _named(next(iter(parts.values()))[0], cases)
    whole = wrong(stacked, faults)
    known = [
        (partial(stacked, **{name: function}), f"In the {name}: {text}")
        for name, part in parts.items()
        for function, text in wrong(*part)
    ]

    def grade(answer: Any) -> None:
        trial = Trial(answer, named, tolerance)
        problem, truths = trial.mistake(trial.results, stacked, whole), trial.truths(stacked)
        given = [value for value in map(as_tensor, trial.results) if value is not None]
        if not problem or trial.known(trial.results, whole) or [g.shape for g in given] != [t.shape for t in truths]:
            return _refuse(problem)
        said = {name: trial.mistake([g[i] for g in given], *part) for i, (name, part) in enumerate(parts.items())}
        fine = " and ".join(f"the {name}" for name, wrongly in said.items() if not wrongly)
        start = f"{fine} {'is' if ' and ' not in fine else 'are'} right. " if fine else ""
        _refuse(start + " ".join(f"In the {name}: {wrongly}" for name, wrongly in said.items() if wrongly))

    register(Exercise(id, title, points, grade, praise, [*whole, *known]))


def choice(id: str, title: str, points: int, praise: str, right: str, wrong: Mapping[str, str]) -> None:
    """An exercise that asks for a letter: ``wrong`` says for each other letter what it overlooks."""
    letters = sorted([right, *wrong])

    def grade(answer: Any) -> None:
        if answer is None or answer is ...:
            raise NotYetError("there is no answer yet: give one letter as a string.")
        given = answer.strip().strip("(). ").lower() if isinstance(answer, str) else None
        if given not in letters:
            _refuse(f"answer with one of the letters {', '.join(letters)} as a string; this is {reprlib.repr(answer)}.")
        _refuse(wrong.get(str(given)))

    register(Exercise(id, title, points, grade, praise, list(wrong.items())))


def _refuse(problem: str | None) -> None:
    if problem:
        raise NotYetError(problem)


def draw(g: torch.Generator, *shape: int) -> Tensor:
    """Noise of a shape, in double precision: for the cases of a table."""
    return torch.randn(shape, generator=g, dtype=torch.float64)
