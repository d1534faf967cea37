"""From a chapter to an nbgrader assignment: the exercises alone, with hidden solutions and graded checks.

``python -m tinyldm.exercises.assignment book build/assignments`` writes a course folder: ``source/`` for the teacher
and ``release/`` for the students. In a chapter the cells of an exercise carry tags: ``answer-ID`` is the student's stub,
``check-ID`` the call that grades it, ``solution-ID`` a cell that defines the same name; the statement is the Markdown cell
with the directive labelled ``ex-ID``.
"""

import ast
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from ..errors import expect
from . import EXERCISES, names

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
FURTHER = "-further"  # how the name of a chapter's companion ends
LABELLED = re.compile(r"^\$\$ \(([\w-]+)\)$", re.M)  # the last line of an equation that has a label


def source_notebook(chapter: FilePath) -> Any:
    """The teacher's notebook of a chapter (a .md file): every exercise with its solution between nbgrader's marks."""
    try:
        import jupytext
    except ImportError as error:
        raise ImportError("assignments need jupytext and nbgrader, pip install 'tinyldm[classroom]'") from error
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    cells, numbers = jupytext.read(chapter).cells, equation_numbers(chapter.parent)
    tagged = {tag: cell for cell in cells for tag in cell.metadata.get("tags", [])}
    ids = [tag.removeprefix("answer-") for tag in tagged if tag.startswith("answer-")]
    expect(bool(ids), "chapter", chapter.name, "at least one cell tagged answer-ID")
    setup = new_code_cell("import math\n\nimport torch\n\nimport tinyldm as tl", metadata=_marks("setup", locked=True))
    out = [new_markdown_cell(f"# Assignment: {chapter.stem}", metadata=_marks("title", locked=True)), setup]
    for id in ids:
        statement = next(cell.source for cell in cells if cell.cell_type == "markdown" and f"ex-{id}" in cell.source)
        stub, solution = tagged[f"answer-{id}"].source, tagged[f"solution-{id}"].source
        check = tagged[f"check-{id}"].source.removeprefix("passed = ")
        out += [
            new_markdown_cell(plain_statement(statement, id, numbers), metadata=_marks(f"statement-{id}", locked=True)),
            new_code_cell(hide_solution(stub, solution), metadata=_marks(f"answer-{id}", solution=True)),
            new_code_cell(
                f"assert {check.strip()}", metadata=_marks(f"check-{id}", locked=True, grade=True, points=EXERCISES[id].points)
            ),
        ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return new_notebook(cells=out, metadata={"kernelspec": kernel})


def _marks(grade_id: str, locked: bool = False, solution: bool = False, grade: bool = False, points: int | None = None) -> dict:
    marks = {"grade": grade, "grade_id": grade_id, "locked": locked, "schema_version": 3, "solution": solution, "task": False}
    return {"nbgrader": marks | ({"points": points} if grade else {})}


def chapter_number(stem: str) -> str:
    """What the numbers of a chapter's equations, figures and exercises begin with: 8, and 8F on its companion page."""
    return f"{int(stem[:2])}{'F' * stem.endswith(FURTHER)}"


def equation_numbers(book: FilePath) -> dict[str, str]:
    """label -> number of the labelled equations of a folder of chapters, as the book counts them: 8.3 is chapter 08's third."""
    found: dict[str, str] = {}
    for chapter in sorted(book.glob("[0-9][0-9]-*.md")):
        prefix = chapter_number(chapter.stem)
        labels = LABELLED.findall(re.sub(r"```.*?```", "", chapter.read_text(encoding="utf-8"), flags=re.S))
        found |= {label: f"{prefix}.{k}" for k, label in enumerate(labels, start=1)}
    return found


def plain_statement(text: str, id: str, equations: Mapping[str, str]) -> str:
    """The body of an exercise directive as plain Markdown, for readers without MyST. ``equations``: label -> number."""
    found = re.search(
        rf"^(:{{3,}})\{{exercise\}}(?: ([^\n]*))?\n(?::[^\n]*\n)*?:label: ex-{id}\n(?::[^\n]*\n)*\n?(.*?)^\1\s*$",
        text,
        re.M | re.S,
    )
    expect(found is not None, "statement", text[:60], f"an exercise directive with the label ex-{id}")
    assert found is not None
    body = re.sub(r"\{eq\}`([^`]+)`", lambda label: f"({equations[label[1]]})", found[3].strip())
    body = re.sub(r"\{(?:ref|doc)\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", body)  # roles that a plain notebook would show raw
    return f"## Exercise {EXERCISES[id].number}: {EXERCISES[id].title}\n\n{body}"


def hide_solution(stub: str, solution: str) -> str:
    """The stub's first lines, then the solution's body between the marks that nbgrader cuts out.

    Both cells end in the definition of one name: a function, or a value given to a variable.
    """
    asked, solved = ast.parse(stub).body[-1], ast.parse(solution).body
    if isinstance(asked, ast.FunctionDef):
        full = next(node for node in solved if isinstance(node, ast.FunctionDef) and node.name == asked.name)
        head = stub.splitlines()[: asked.body[0].end_lineno if ast.get_docstring(asked) else asked.body[0].lineno - 1]
        first = full.body[1] if ast.get_docstring(full) else full.body[0]
        body = solution.splitlines()[first.lineno - 1 : full.end_lineno]
        return "\n".join([*head, f"    {BEGIN}", *body, f"    {END}"])
    lines = solution.splitlines()[: solved[0].end_lineno]
    assert isinstance(asked, ast.Assign)
    return "\n".join([f"# Give your answer to the name `{ast.unparse(asked.targets[0])}`.", BEGIN, *lines, END])


def main(book: str, course: str) -> None:
    """Write the source notebooks of every chapter with exercises, then let nbgrader make the students' versions."""
    import nbformat
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    root = FilePath(course).resolve()
    # nbgrader starts a program of its own environment by name, also when that environment is not activated
    os.environ["PATH"] = f"{FilePath(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    api = NbGraderAPI(config=Config({"CourseDirectory": {"root": str(root), "course_id": "tinyldm"}}))
    prefixes = {id.split("-")[0] for id in names()}
    for chapter in sorted(FilePath(book).glob("[0-9][0-9]-*.md")):
        if chapter.stem[:2] in prefixes:
            target = root / "source" / chapter.stem / f"{chapter.stem}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(source_notebook(chapter), target)
            result = api.generate_assignment(chapter.stem, force=True)
            if not result["success"]:
                sys.exit(f"nbgrader refused {chapter.stem}:\n{result.get('log', '')}\n{result.get('error', '')}")
            print(f"{root / 'release' / chapter.stem}")


if __name__ == "__main__":
    main(*sys.argv[1:])
