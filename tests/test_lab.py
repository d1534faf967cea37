"""The notebooks read well in JupyterLab, and they, the pages, the ledger and the grader count in the same way."""

import ast
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tinyldm.exercises import EXERCISES, assignment

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))

import lab  # noqa: E402
import ledger  # noqa: E402
from plain import plain  # noqa: E402
from test_sentences import sentences  # noqa: E402

STEMS = sorted(p.stem for p in (ROOT / "book").glob("[0-9][0-9]-*.md"))
per_chapter = pytest.mark.parametrize("stem", STEMS)
MYST = re.compile(r"\{[\w:-]+\}`|^\s*(:{3,}|(`{3,}|~{3,})\{)|^\([\w-]+\)=$|\[\^\w+\]|\$\$ ?\([\w-]+\)|^:[\w-]+: ", re.M)


def read(stem):
    return nbformat.read(lab.NOTEBOOKS / f"{stem}.ipynb", as_version=4)


def text(stem):
    """All that a notebook says in Markdown, but for code that it quotes."""
    cells = [c.source for c in read(stem).cells if c.cell_type == "markdown"]
    return re.sub(r"^```.*?^```", "", "\n\n".join(cells), flags=re.M | re.S)


# ---- the notebook


@per_chapter
def test_the_notebook_is_what_the_chapter_says(stem):
    """Text, code, tags and what is folded; written again, it would not change."""
    made = lab.notebook(stem, read(stem)).cells
    for number, (want, have) in enumerate(zip(made, read(stem).cells)):
        assert have.source == want.source, f"cell {number}: make notebook-{stem}"
        assert (have.cell_type, have.id, have.metadata) == (want.cell_type, want.id, want.metadata), f"cell {number}"
    assert len(made) == len(read(stem).cells)


@per_chapter
def test_no_cell_shows_raw_markup(stem):
    assert not MYST.search(text(stem)), MYST.search(text(stem))


@per_chapter
def test_no_sentence_of_the_chapter_is_lost(stem):
    chapter = "\n\n".join(c.source for c in lab.chapter(stem).cells if c.cell_type == "markdown")
    said = "\n\n".join(c.source for c in read(stem).cells if c.cell_type == "markdown")
    markup = r"\{[\w:]+\}`[^`]*`|^:{3,}(?:\{\w+\})?|^:\w+: .*$|^\([\w-]+\)=$|^\$\$ \(.*\)$|\n"
    assert [part for part in re.split(markup, chapter, flags=re.M) if part.strip() not in said] == []


@per_chapter
def test_a_link_leads_to_a_notebook_or_to_a_paper(stem):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"\$.*?\$|`.*?`", "", text(stem), flags=re.S))
    assert links
    for link in links:
        assert re.fullmatch(r"https://arxiv\.org/abs/[\d.]+", link) or (lab.NOTEBOOKS / link).is_file(), link


@per_chapter
def test_what_is_folded_on_the_page_is_folded_in_jupyterlab(stem):
    for cell in lab.code(read(stem).cells):
        hidden = cell.metadata.get("jupyter", {})
        assert hidden == next((lab.FOLDED[tag] for tag in lab.tags(cell) if tag in lab.FOLDED), {})


@per_chapter
def test_a_solution_leaves_the_reader_s_own_answer_alone(stem):
    cells = lab.code(read(stem).cells)
    asked = {id: name for c in cells for id, name in lab.ASKED.findall(c.source) if f"check-{id}" in lab.tags(c)}
    assert sorted(asked) == sorted(id for id in EXERCISES if id.startswith(stem[:2]))
    for cell in cells:
        for id, name in asked.items():
            if f"solution-{id}" in lab.tags(cell):
                tree = list(ast.walk(ast.parse(cell.source)))
                made = {n.name for n in tree if isinstance(n, ast.FunctionDef)}
                used = {n.id for n in tree if isinstance(n, ast.Name)}
                assert f"{name}_solution" in made | used
                assert name not in made | used


# ---- numbers


@per_chapter
def test_equations_are_numbered_as_in_the_ledger(stem):
    numbers = ledger.equation_numbers()
    here = [numbers[label] for label, (chapter, _) in ledger.equations().items() if chapter == stem]
    assert re.findall(r"\\tag\{(.*?)\}", text(stem)) == here
    assert here == [f"{assignment.chapter_number(stem)}.{k}" for k, _ in zip(count(1), here)]
    source = re.sub(r"```.*?```", "", (ROOT / "book" / f"{stem}.md").read_text(encoding="utf-8"), flags=re.S)
    assert all(f"({numbers[label]})" in text(stem) for label in re.findall(r"\{eq\}`(.+?)`", source))


@per_chapter
def test_exercises_are_numbered_as_the_grader_says(stem):
    titles = re.findall(r"^### Exercise (\S+)\. ", text(stem), re.M)
    assert titles == [EXERCISES[id].number for id in sorted(EXERCISES) if id.startswith(stem[:2])]
    said = [o.text for c in lab.code(read(stem).cells) for o in c.outputs if o.get("text", "").startswith("Exercise ")]
    assert {re.match(r"Exercise (\S+), (correct|not yet):", words)[1] for words in said} == set(titles)


def test_a_page_further_has_numbers_of_its_own():
    assert [assignment.chapter_number(stem) for stem in ("00-one-sitting", "13-guidance", "13-further")] == ["0", "13", "13F"]


def test_the_grader_names_only_what_the_book_has():
    figures = {n for stem in STEMS for n in re.findall(r"^\*\*Figure (\d+F?\.\d+)\.\*\*", text(stem), re.M)}
    there = {"figure": figures, "exercise": {e.number for e in EXERCISES.values()}}
    there["equation"] = set(ledger.equation_numbers().values())
    named = re.compile(r"\b(figure|exercise|equation)s? \(?(\d[\w.-]*\d)", re.I)
    said = [s for file in (ROOT / "tinyldm" / "exercises").glob("*.py") for s in sentences(file.read_text(encoding="utf-8"))]
    found = [match.groups() for sentence in said for match in named.finditer(sentence)]
    assert found
    for kind, number in found:
        assert number in there[kind.lower()], (kind, number)


# ---- the renderer


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("As {cite}`ho2020` say.", "As [[Ho et al. 2020]](https://arxiv.org/abs/2006.11239) say."),
        ("As {cite:t}`tipping1999,\nefron2011` say.", "As Tipping and Bishop (1999), Efron (2011) say."),
        ("See {eq}`marginal`.", "See (0.6)."),
        ("See {doc}`that <05-ddpm>` and {doc}`all <roadmap>`.", "See [that](05-ddpm.ipynb) and all."),
        ("In {ref}`chapter 06 <ch-06>`, {ref}`99 <ch-99>`.", "In [chapter 06](06-forward-sde.ipynb), 99."),
        ("(here)=\n## There", "## There"),
        ("$$\na = b .\n$$ (marginal)", "$$\na = b .\n\\tag{0.6}\n$$"),
        ("`{eq}` is a role", "`{eq}` is a role"),
        (":::{exercise} Two\n:label: ex-08-2\n\nDo {eq}`marginal`.\n:::", "### Exercise 8.2. Two\n\nDo (0.6)."),
        (":::{note}\nOne.\n\nTwo.\n:::", "> **Note**\n>\n> One.\n>\n> Two."),
        (
            "::::{predict}\nWhich?\n\n:::{outcome}\nThis.\n:::\n::::",
            "> **Predict**\n>\n> Which?\n>\n> <details>\n> <summary>Outcome</summary>\n>\n> This.\n>\n> </details>",
        ),
    ],
)
def test_markup_becomes_plain_markdown(myst, markdown):
    assert plain(myst) == markdown


@pytest.mark.parametrize("myst", ["{unknown}`x`", ":::{unknown}\nx\n:::", "{ref}`no-text`"])
def test_what_has_no_rule_is_refused(myst):
    with pytest.raises(ValueError, match=r"no rule for|a text"):
        plain(myst)


def test_a_prediction_is_a_box_whose_outcome_is_folded(tmp_path):
    extensions = str(ROOT / "book" / "_ext")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {extensions!r})\n"
        "extensions = ['myst_parser', 'sphinx_design', 'predict']\nmyst_enable_extensions = ['colon_fence']\n"
    )
    (tmp_path / "index.md").write_text("# One\n\n::::{predict}\nWhich?\n\n:::{outcome}\nThis.\n:::\n::::\n")
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", ".", "html"], cwd=tmp_path, check=True)
    box = BeautifulSoup((tmp_path / "html" / "index.html").read_text(encoding="utf-8"), "html.parser").select_one(".predict")
    assert box.select_one(".admonition-title").get_text() == "Predict"
    assert not box.details.has_attr("open")
    assert box.details.summary.get_text().strip() == "Outcome"
    assert "This." in box.details.get_text()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A book of one chapter with one cell that prints."""
    for name in ("book", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(lab, "BOOK", tmp_path / "book")
    monkeypatch.setattr(lab, "NOTEBOOKS", tmp_path / "notebooks")
    source = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n# One\n\n```{code-cell}\nprint(1)\n```\n"
    (tmp_path / "book" / "01-one.md").write_text(source)
    printed = new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")], execution_count=1)
    nbformat.write(new_notebook(cells=[printed]), tmp_path / "notebooks" / "01-one.ipynb")
    return tmp_path / "book" / "01-one.md"


def test_a_folded_cell_says_what_it_hides(shelf):
    shelf.write_text(shelf.read_text().replace("print(1)", ":tags: [hide-input]\n\nprint(1)"))
    lab.main("01-one")
    assert lab.code(read("01-one").cells)[0].metadata.jupyter == {"source_hidden": True}
    assert lab.code(lab.page("01-one").cells)[0].metadata.mystnb["code_prompt_show"] == "Show the code"


def test_outputs_stay_with_code_that_stays(shelf):
    shelf.write_text(shelf.read_text().replace("# One", "# Another\n\nWith more text."))
    lab.main("01-one")
    words, cell = read("01-one").cells
    assert words.source == "# Another\n\nWith more text."
    assert cell.outputs[0].text == "1\n"
    lab.write_pages()
    page = nbformat.read(shelf.with_suffix(".ipynb"), as_version=4)
    assert page.cells[1].outputs == cell.outputs


def test_code_that_was_not_run_has_no_page(shelf):
    shelf.write_text(shelf.read_text().replace("print(1)", "print(2)"))
    with pytest.raises(ValueError, match=r"code cell 1 .* make notebook-01-one"):
        lab.page("01-one")
    lab.main("01-one")
    assert lab.code(read("01-one").cells)[0].outputs == []
