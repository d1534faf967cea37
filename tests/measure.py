"""What the equation ledger records: how far each marked equation was from the truth that its tests compare it with.

The usual comparisons (torch.testing.assert_close, numpy.testing.assert_allclose, pytest.approx) are watched while a marked
test runs; nothing about them changes.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

APPROX, CLOSE, ALLCLOSE = pytest.approx, torch.testing.assert_close, np.testing.assert_allclose


def difference(actual, expected):
    """Largest absolute difference, relative to the largest expected value where that exceeds 1; None for what is no number."""
    try:
        a, b = (np.asarray(torch.as_tensor(v).detach().cpu(), dtype=np.float64) for v in (actual, expected))
    except (TypeError, ValueError, RuntimeError):
        return None
    if a.size == 0 or b.size == 0:
        return None
    value = float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b)))))
    return value if math.isfinite(value) else None


class Ledger:
    """A pytest plugin: ``--ledger FILE`` writes {label: largest difference}."""

    def __init__(self, path):
        self.path, self.found = Path(path), {}

    @pytest.fixture(autouse=True)
    def watched(self, request, monkeypatch):
        labels = [mark.args[0] for mark in request.node.iter_markers("equation")]
        if not labels:
            return

        def note(actual, expected):
            value = difference(actual, expected)
            if value is not None:
                for label in labels:
                    self.found[label] = max(value, self.found.get(label, 0.0))

        def close(actual, expected, **options):
            note(actual, expected)
            return CLOSE(actual, expected, **options)

        def allclose(actual, desired, *args, **options):
            note(actual, desired)
            return ALLCLOSE(actual, desired, *args, **options)

        def approx(expected, *args, **options):
            inner = APPROX(expected, *args, **options)

            class Watched(type(inner)):
                __hash__ = None

                def __eq__(self, actual):
                    note(actual, expected)
                    return inner == actual

            watched = object.__new__(Watched)
            watched.__dict__.update(inner.__dict__)
            return watched

        monkeypatch.setattr(torch.testing, "assert_close", close)
        monkeypatch.setattr(np.testing, "assert_allclose", allclose)
        monkeypatch.setattr(pytest, "approx", approx)

    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(dict(sorted(self.found.items())), indent=1) + "\n", encoding="utf-8")
