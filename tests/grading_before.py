"""What graders that are no tables yet expect; this file goes with the last of them."""

import sys
from functools import partial

import torch

from tinyldm.exercises import EXERCISES


def expected_mistakes(id, monkeypatch, solved):
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
    EXERCISES[id].grade(solved.get(id))
    monkeypatch.undo()
    return [(handed_in(answer), text) for answer, text in seen]


def handed_in(answer):
    """Where a grader compares what it measures of an answer, ``partial(measure, answer)``, the answer itself."""
    return answer.args[0] if isinstance(answer, partial) and answer.args else answer
