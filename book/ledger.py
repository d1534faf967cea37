"""Appendix D, the equation ledger: label -> formula -> function -> test -> measured difference. ``make ledger`` writes it.

The three lists are read from the sources: labels from the chapters, functions from docstrings (``:eq:`label` ``), tests from
their marker ``equation("label")``. The differences are those that a run of the marked tests has measured (``ledger.json``).
"""

import ast
import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from tinyldm.exercises.assignment import equation_numbers as numbered

ROOT = Path(__file__).parents[1]
LABELLED = re.compile(r"^\$\$\n(.+?)\n\$\$ \(([\w-]+)\)$", re.M | re.S)


def equations() -> dict[str, tuple[str, str]]:
    """label -> (chapter's file stem, formula in LaTeX), in the order of the book."""
    found = {}
    for chapter in sorted((ROOT / "book").glob("[0-9][0-9]-*.md")):
        for formula, label in LABELLED.findall(re.sub(r"```.*?```", "", chapter.read_text(encoding="utf-8"), flags=re.S)):
            found[label] = (chapter.stem, formula.split("$$")[-1].strip())
    return found


@cache
def equation_numbers() -> dict[str, str]:
    """label -> number, 8.3 for the third labelled equation of chapter 08."""
    return numbered(ROOT / "book")


def given_twice() -> list[str]:
    """Labels that more than one equation has."""
    texts = (p.read_text(encoding="utf-8") for p in (ROOT / "book").glob("[0-9][0-9]-*.md"))
    return [label for label, n in Counter(label for text in texts for _, label in LABELLED.findall(text)).items() if n > 1]


def _docstrings(tree: ast.AST, name: str):
    if isinstance(tree, (ast.Module, ast.ClassDef, ast.FunctionDef)):
        yield name, ast.get_docstring(tree) or ""
    for node in ast.iter_child_nodes(tree):
        yield from _docstrings(node, f"{name}.{node.name}" if hasattr(node, "name") else name)


def functions() -> dict[str, list[str]]:
    """label -> the functions whose docstrings name it."""
    found = defaultdict(list)
    for file in sorted((ROOT / "tinyldm").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name, text in _docstrings(ast.parse(file.read_text(encoding="utf-8")), module):
            for label in re.findall(r":eq:`([\w-]+)`", text):
                found[label].append(name)
    return dict(found)


def tests() -> dict[str, list[str]]:
    """label -> the tests that are marked with it, as file::function."""
    found = defaultdict(list)
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("mark.equation"):
                    found[mark.args[0].value].append(f"{file.name}::{node.name}")
    return dict(found)


def page(differences: dict[str, float]) -> str:
    """The appendix in MyST."""
    lines = [
        "# Appendix D. Equation ledger",
        "",
        "Every labelled equation of the book, the function that computes it, the tests that check it against an independent",
        "truth (a closed form, quadrature, SciPy, automatic differentiation, diffusers), and the largest difference that those",
        "tests measured, relative to the compared values where these exceed 1. Where the truth is an average over random",
        "draws the difference is statistical, and the test bounds it by the standard error; for solvers it includes that of",
        "the observed order. `make ledger` writes this page; a test fails when an equation has no function or no test, or when",
        "a function or a test names an equation that does not exist.",
    ]
    computed, checked, last = functions(), tests(), None
    for label, (chapter, formula) in equations().items():
        if chapter != last:
            lines += ["", f"## {{doc}}`{chapter}`"]
            last = chapter
        found = differences.get(label)
        measured = f"largest difference {found:.0e}" if found is not None else "no number to compare, the test asserts a property"
        lines += [
            "",
            f"**`{label}`** {{eq}}`{label}`",
            "",
            "$$",
            formula,
            "$$",
            "",
            f"Computed by {', '.join(f'`{name}`' for name in computed.get(label, []))}. Checked by "
            f"{', '.join(f'`{name}`' for name in checked.get(label, []))}; {measured}.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    measured = json.loads((ROOT / "book" / "ledger.json").read_text())
    (ROOT / "book" / "appendix-d-ledger.md").write_text(page(measured), encoding="utf-8")
