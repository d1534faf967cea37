"""A chapter's notebook and its page, both from ``NN-slug.md``: ``python book/lab.py 08-pf-ode-solvers`` writes the notebook.

The notebook is for JupyterLab: plain Markdown, set-up and solutions folded. It keeps the outputs of cells whose code is as it
was, so that a change of the text needs no new run. The page is for Sphinx: the chapter as it stands, with the notebook's outputs.
"""

import hashlib
import re
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from plain import BOOK, plain

NOTEBOOKS = BOOK.parent / "notebooks"
FOLDED = {
    "hide-input": {"source_hidden": True},
    "hide-output": {"outputs_hidden": True},
    "hide-cell": {"source_hidden": True, "outputs_hidden": True},
}
PROMPTS = {  # what a folded cell says on the page, by how one of its tags begins
    "solution-": ("Solution code", "Hide the solution code"),
    "hide-input": ("Show the code", "Hide the code"),
    "hide-output": ("Show the outcome", "Hide the outcome"),
}
ASKED = re.compile(r'check\("(\d\d-\d+)", (\w+)\)')
CAPTION = re.compile(r"\*\*Figure \d+F?\.\d+\.\*\*")


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def chapter(stem: str) -> NotebookNode:
    return jupytext.read(BOOK / f"{stem}.md")


def code(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


def written(cells: list[NotebookNode]) -> list[str]:
    """The source of each cell in the notebook.

    A solution defines a name of its own there, ``heun_step_solution``: running it must not replace the reader's ``heun_step``.
    """
    asked = {f"solution-{id}": name for cell in code(cells) for id, name in ASKED.findall(cell.source)}
    sources = []
    for cell in cells:
        if cell.cell_type == "markdown":
            sources.append(plain(cell.source))
            continue
        source = cell.source
        for name in (asked[tag] for tag in tags(cell) if tag in asked):
            # where it is called, handed over or assigned, not the same word in a sentence
            source = re.sub(rf"(?<![\w.]){name}(?=\(|\)| =)", f"{name}_solution", source)
        sources.append(source)
    return sources


def notebook(stem: str, before: NotebookNode | None) -> NotebookNode:
    """The chapter's notebook, with what its cells have put out ``before``."""
    kept = defaultdict(list)
    for cell in code(before.cells if before else []):
        kept[cell.source].append(cell)
    made = chapter(stem)
    if before:
        made.metadata = before.metadata
    made.metadata.pop("jupytext", None)  # it is no source: nothing leads back from it to the chapter
    used: dict[str, int] = defaultdict(int)
    for cell, source in zip(made.cells, written(made.cells), strict=True):
        cell.source = source
        used[source] += 1
        cell.id = hashlib.sha256(f"{used[source]} {source}".encode()).hexdigest()[:8]
        for tag in tags(cell):
            if tag in FOLDED:
                cell.metadata["jupyter"] = FOLDED[tag]
        if cell.cell_type == "code" and kept[source]:
            old = kept[source].pop(0)
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
            if "execution" in old.metadata:
                cell.metadata["execution"] = old.metadata["execution"]
    return made


def page(stem: str) -> NotebookNode:
    """The chapter's text and directives, with the outputs of its notebook."""
    made, run = chapter(stem), nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    cells = code(made.cells)
    wanted = [source for cell, source in zip(made.cells, written(made.cells), strict=True) if cell.cell_type == "code"]
    have = code(run.cells)
    for number, (source, cell) in enumerate(zip(wanted, have), start=1):
        if cell.source != source:
            raise ValueError(f"code cell {number} of book/{stem}.md differs from its notebook: make notebook-{stem}\n\n{source}")
    if len(wanted) != len(have):
        raise ValueError(f"book/{stem}.md has {len(wanted)} code cells, its notebook {len(have)}: make notebook-{stem}")
    for cell, ran in zip(cells, have, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        for start, (show, hide) in PROMPTS.items():
            if any(tag.startswith(start) for tag in tags(cell)):
                cell.metadata["mystnb"] = {"code_prompt_show": show, "code_prompt_hide": hide}
    for cell, caption in pairwise(made.cells):
        if CAPTION.match(caption.source):  # what the caption says is what a screen reader should say
            said = plain(caption.source).split("\n\n")[0].replace("\n", " ").replace("*", "")
            cell.metadata.setdefault("mystnb", {})["image"] = {"alt": re.sub(r"\[(.*?)\]\(.*?\)", r"\1", said)}
    for number, cell in enumerate(made.cells):
        cell.id = str(number)
    made.metadata["widgets"] = run.metadata.get("widgets", {})
    return made


def write(made: NotebookNode, file: Path) -> None:
    """Only where something has changed: Sphinx reads again what is newer."""
    text = nbformat.writes(made) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def write_pages() -> None:
    """``book/NN-slug.ipynb`` for every chapter, and none for what is no chapter any more."""
    stems = {file.stem for file in BOOK.glob("[0-9][0-9]-*.md")}
    for stale in BOOK.glob("[0-9][0-9]-*.ipynb"):
        if stale.stem not in stems:
            stale.unlink()
    for stem in sorted(stems):
        write(page(stem), BOOK / f"{stem}.ipynb")


def main(stem: str) -> None:
    file = NOTEBOOKS / f"{stem}.ipynb"
    write(notebook(stem, nbformat.read(file, as_version=4) if file.exists() else None), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
