"""The classroom: students get no solution, the machine gives all points to a solved assignment and none to an empty one."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

from tinyldm.exercises import EXERCISES, names
from tinyldm.exercises.assignment import BEGIN, END, hide_solution, plain_statement, source_notebook

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("[0-9][0-9]-*.md"))


def ids_of(chapter):
    return [id for id in names() if id.startswith(chapter.stem[:2])]


EVERY = [(chapter, id) for chapter in CHAPTERS for id in ids_of(chapter)]
per_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.stem)


def solutions(chapter):
    """The chapter's solution cells by exercise."""
    cells = jupytext.read(chapter).cells
    return {id: next(c.source for c in cells if f"solution-{id}" in c.metadata.get("tags", [])) for id in ids_of(chapter)}


def by_id(notebook):
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A course folder, and a way to run Python in it that sees no configuration of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    # As make starts it: the environment's own programs are not on the PATH.
    there = os.environ["PATH"].split(os.pathsep)
    here = Path(sys.executable).parent
    env = os.environ | {
        "PATH": os.pathsep.join(p for p in there if Path(p) != here),
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_NO_CONFIG": "1",
    }

    def python(*arguments, path=""):
        extra = {"PATH": os.pathsep.join(filter(None, [path, env["PATH"]]))}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=home, env=env | extra, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return home / "course", python


@pytest.fixture(scope="module")
def release(classroom):
    """The students' notebooks by chapter, made by the command that ``make assignments`` runs."""
    course, python = classroom
    out = python("-m", "tinyldm.exercises.assignment", str(ROOT / "book"), str(course))
    assert out.split() == [str(course / "release" / c.stem) for c in CHAPTERS]
    return {c: nbformat.read(course / "release" / c.stem / f"{c.stem}.ipynb", 4) for c in CHAPTERS}


@per_chapter
def test_the_release_asks_every_exercise_in_order(chapter, release):
    nbformat.validate(release[chapter])
    want = [f"{part}-{id}" for id in ids_of(chapter) for part in ("statement", "answer", "check")]
    assert [c.metadata.nbgrader.grade_id for c in release[chapter].cells] == ["title", "setup", *want]
    for id in ids_of(chapter):
        text = by_id(release[chapter])[f"statement-{id}"].source
        assert EXERCISES[id].title in text.splitlines()[0]
        assert not re.search(r":{3}|^:\w+:|\{[a-z-]+\}`", text, re.M)  # no MyST that a plain notebook would show raw


@per_chapter
def test_the_release_holds_no_solution(chapter, release):
    text = "\n".join(c.source for c in release[chapter].cells)
    assert BEGIN not in text
    assert END not in text
    for id, solution in solutions(chapter).items():
        function = next((n for n in ast.parse(solution).body if isinstance(n, ast.FunctionDef)), None)
        lines = [ast.parse(solution).body[0]] if function is None else [n for n in function.body if not is_text(n)]
        asked = by_id(release[chapter])[f"statement-{id}"].source  # the broken sampler shares lines with the mended one
        for line in "\n".join(map(ast.unparse, lines)).splitlines():
            assert line.strip() in asked or line.strip() not in text
    assert all(not c.get("outputs") for c in release[chapter].cells)


def is_text(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize(("chapter", "id"), EVERY, ids=[id for _, id in EVERY])
def test_a_stub_says_that_it_is_one(chapter, id, release):
    stub = by_id(release[chapter])[f"answer-{id}"].source
    asked = re.search(r", (\w+)\)$", by_id(release[chapter])[f"check-{id}"].source)[1]
    assert asked in stub  # else the student has to guess what the checked name is
    scope = {}
    if f"def {asked}" in stub:
        exec(stub, scope)
        count = scope[asked].__code__.co_argcount
        with pytest.raises(NotImplementedError):
            scope[asked](*[None] * count)
    else:
        with pytest.raises(NotImplementedError):
            exec(stub, scope)


@per_chapter
def test_the_checks_are_locked_and_worth_the_points(chapter, release):
    for id in ids_of(chapter):
        check, answer = by_id(release[chapter])[f"check-{id}"], by_id(release[chapter])[f"answer-{id}"]
        assert check.source.startswith(f'assert tl.exercises.check("{id}", ')
        assert check.metadata.nbgrader.locked
        assert check.metadata.nbgrader.grade
        assert check.metadata.nbgrader.points == EXERCISES[id].points
        assert answer.metadata.nbgrader.solution
        assert not answer.metadata.nbgrader.locked


@per_chapter
def test_a_solved_assignment_gets_all_points_and_an_empty_one_none(chapter, classroom, release):
    course, python = classroom
    name, solved = chapter.stem, nbformat.from_dict(release[chapter])
    empty = nbformat.from_dict(json.loads(nbformat.writes(release[chapter])))
    for id, solution in solutions(chapter).items():
        by_id(solved)[f"answer-{id}"].source = solution
    for student, notebook in {"empty": empty, "solved": solved}.items():
        folder = course / "submitted" / student / name
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    options = [f"--CourseDirectory.root={course}", "--CourseDirectory.course_id=tinyldm"]
    python("-m", "nbgrader", "autograde", name, *options, path=str(Path(sys.executable).parent))

    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        grades = {
            s.student.id: {g.name: (g.score, g.max_score) for n in s.notebooks for g in n.grades}
            for s in book.assignment_submissions(name)
        }
    points = {f"check-{id}": EXERCISES[id].points for id in ids_of(chapter)}
    assert grades["solved"] == {check: (worth, worth) for check, worth in points.items()}
    assert grades["empty"] == {check: (0, worth) for check, worth in points.items()}


# ---- the pieces


@per_chapter
def test_every_exercise_of_the_chapter_is_in_the_source(chapter):
    assert sum(1 for c in source_notebook(chapter).cells if c.metadata.nbgrader.grade) == len(ids_of(chapter))


def test_a_chapter_without_exercises_is_refused(tmp_path):
    (tmp_path / "07-empty.md").write_text("# Nothing to do\n")
    with pytest.raises(ValueError, match=re.escape("07-empty.md")):
        source_notebook(tmp_path / "07-empty.md")


STUB = 'def f(x):\n    """Twice x."""\n    raise NotImplementedError'


@pytest.mark.parametrize(
    ("stub", "solution", "want"),
    [
        (
            STUB,
            'def f(x):\n    """Twice x."""\n    y = x + x\n    return y\n\n\nassert f(1) == 2',
            f'def f(x):\n    """Twice x."""\n    {BEGIN}\n    y = x + x\n    return y\n    {END}',
        ),
        (
            "def f(x):\n    raise NotImplementedError",
            "import math\n\n\ndef f(x):\n    return math.pi",
            f"def f(x):\n    {BEGIN}\n    return math.pi\n    {END}",
        ),
        (STUB, "def f(x):\n    return 2 * x", f'def f(x):\n    """Twice x."""\n    {BEGIN}\n    return 2 * x\n    {END}'),
    ],
)
def test_only_the_body_of_a_solution_is_hidden(stub, solution, want):
    assert hide_solution(stub, solution) == want


@pytest.mark.parametrize("fence", [":::", "::::", ":::::"])
@pytest.mark.parametrize("options", [":label: ex-00-1\n", ":class: dropdown\n:label: ex-00-1\n"])
def test_a_statement_is_found_and_stripped_of_its_directive(fence, options):
    text = f"Before.\n\n{fence}{{exercise}} Noise\n{options}\nWrite *it*.\n\n- a\n{fence}\n\nAfter."
    assert plain_statement(text, "00-1", {}) == "## Exercise 0.1: Noise a latent\n\nWrite *it*.\n\n- a"


def test_a_statement_s_references_become_words():
    text = ":::{exercise} Noise\n:label: ex-00-1\n\nBy {eq}`heun` of {ref}`chapter 08 <ch-08>`.\n:::"
    assert plain_statement(text, "00-1", {"heun": "8.3"}).endswith("By (8.3) of chapter 08.")


def test_a_statement_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="label ex-00-2"):
        plain_statement(":::{exercise}\n:label: ex-00-1\n\nText\n:::", "00-2", {})
