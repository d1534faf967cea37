"""What the tests of the graders share: a student's function from its text, changes to it, and the book's solutions."""

import importlib
import inspect
import math
import re
import textwrap
from pathlib import Path

import numpy as np
import torch

import tinyldm as tl

HERE = Path(__file__).parent


def up(c, x):
    """A coefficient a sample with the rank of x."""
    return c.reshape(-1, *(1,) * (x.ndim - 1))


COMMON = {"torch": torch, "np": np, "tl": tl, "math": math, "up": up}


def student(arguments, text, **scope):
    """A student's function of ``arguments``, from the text of its body or of the value that it returns."""
    body = text if "return" in text or "raise" in text else f"return {text}"
    scope = COMMON | scope
    exec(f"def answer({arguments}):\n" + textwrap.indent(body, "    "), scope)
    return scope["answer"]


def edited(text, *edits):
    """A right answer with a student's changes."""
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


def solved(chapters):
    """The worked solutions of the chapters whose numbers match, a function by exercise; letters are left out."""
    found = {}
    cell = rf":tags: \[solution-({chapters}-\d), hide-cell\]\n\n(.*?)\n\nassert "
    for chapter in sorted((HERE.parent / "book").glob("[0-9][0-9]-*.md")):
        for id, text in re.findall(cell, chapter.read_text(encoding="utf-8"), re.S):
            scope = {"torch": torch, "math": math, "np": np, "tl": tl}
            exec(text, scope)
            name = re.search(r"def (\w+)", text)
            if name:
                found[id] = scope[name[1]]
    return found


SOLVED = solved(r"\d\d")
ARGUMENTS = {id: ", ".join(inspect.signature(function).parameters) for id, function in SOLVED.items()}
TABLES = {file.stem[2:]: importlib.import_module(f"students.{file.stem}") for file in sorted(HERE.glob("students/*.py"))}


def rows(table):
    """The rows of one table of all chapters, the exercise first."""
    return [row for chapter in TABLES.values() for row in getattr(chapter, table, ())]


def handed_in(id, answer):
    """What a row hands in: the text of a function as that function, anything else as it is."""
    is_text = id in ARGUMENTS and isinstance(answer, str)
    return student(ARGUMENTS[id], answer, **vars(TABLES[id[:2]])) if is_text else answer
