"""Graders of the chapters that are not tables yet; this file goes with the last of them."""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from . import core
from .core import Exercise, NotYetError, call, register
from .diagnose import agree, as_tensor, cause, distance

__all__ = ["Dials", "Exercise", "NotYetError", "Rows", "Wrong", "call", "grade_choice", "grade_dials", "register"]

Wrong = Sequence[tuple[Callable[..., Any], str]]
Rows = Mapping[str, tuple[Callable[..., Any], Wrong]]
Rare = Iterable[tuple[Callable[..., Any], str]]
Dials = Mapping[str, Sequence[tuple[Any, str]]]


class Trial(core.Trial):
    """The search with truths as numbers."""

    def explained(self, given: Sequence[Any], truths: Sequence[Tensor], wrong: Wrong, rare: Rare = ()) -> str | None:
        """None when ``given`` is right; else what is known of it, common to all formulas, ``rare``, or how far off it is."""
        if agree(given, truths, self.tolerance):
            return None
        named = self.known(given, wrong) or self._random() or cause(given, truths, self.tolerance)
        return named or self.known(given, rare) or distance(given, truths, self.tolerance)


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
    problem = trial.explained(trial.results, truths, known, _both(known))
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
    problem = trial.explained(trial.results, truths, wrong)
    given = [value for value in map(as_tensor, trial.results) if value is not None]
    if problem is None:
        return
    if trial.known(trial.results, wrong) or [g.shape for g in given] != [t.shape for t in truths]:
        raise NotYetError(problem)
    said = {
        name: trial.explained([g[i] for g in given], [t[i] for t in truths], known)
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
