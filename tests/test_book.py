"""The book, the notebooks, the library and the installation say the same thing."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from itertools import count
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tinyldm.exercises import names

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))

from tinyldm.exercises.assignment import FURTHER, chapter_number  # noqa: E402

CHAPTERS = sorted((ROOT / "book").glob("[0-9][0-9]-*.md"))
IGNORED = "nbval-ignore-output"
MACHINE = {
    "an address": r"\b0x[0-9a-f]{6,}",
    "a path": r"(?<![\w/.])(/(home|root|Users|tmp|usr|opt|var|mnt)/\S+|[A-Z]:\\\S+)",
    "a time": r"\b\d+(\.\d+)? ?(s|ms|sec|seconds|minutes)\b|\d\d:\d\d|\bit/s\b",
    "a progress bar": r"\r|\d+%\|",
}


def notebook(chapter):
    return jupytext.read(ROOT / "notebooks" / f"{chapter.stem}.ipynb")


def tags(cell):
    return cell.metadata.get("tags", [])


def code(cells):
    return [c for c in cells if c.cell_type == "code"]


def texts(cell):
    """What a cell printed, each with where it went."""
    for out in cell.outputs:
        if out.output_type == "stream":
            yield out.name, out.text
        elif out.output_type in ("execute_result", "display_data"):
            yield out.output_type, out.data.get("text/plain", "")


per_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.stem)
per_core = pytest.mark.parametrize("chapter", [c for c in CHAPTERS if not c.stem.endswith(FURTHER)], ids=lambda c: c.stem)


# ---- chapters and notebooks


def test_every_chapter_has_a_notebook_and_the_reverse():
    assert CHAPTERS
    assert [c.stem for c in CHAPTERS] == sorted(n.stem for n in (ROOT / "notebooks").glob("*.ipynb"))
    index = (ROOT / "book" / "index.md").read_text()
    assert all(re.search(rf"^{c.stem}$", index, re.M) for c in CHAPTERS)


@per_chapter
def test_the_notebook_was_executed_in_order_without_error(chapter):
    cells = code(notebook(chapter).cells)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]


@per_chapter
def test_a_cell_whose_output_is_not_compared_asserts_something(chapter):
    for cell in code(jupytext.read(chapter).cells):
        if IGNORED in tags(cell):
            statements = ast.walk(ast.parse(cell.source))
            assert any(isinstance(node, ast.Assert) for node in statements), cell.source


@per_chapter
def test_a_cell_whose_output_is_compared_prints_nothing_of_this_machine(chapter):
    for cell in code(notebook(chapter).cells):
        if IGNORED in tags(cell):
            continue
        for where, text in texts(cell):
            assert where != "stderr", cell.source
            for what, pattern in MACHINE.items():
                assert not re.search(pattern, text), f"{what} in the output of\n{cell.source}"
        kinds = {kind for out in cell.outputs for kind in out.get("data", {})}
        assert not any("widget" in kind for kind in kinds), cell.source  # a widget's id differs from run to run


@per_chapter
def test_most_cells_are_compared_strictly(chapter, record_property):
    kinds = Counter(IGNORED in tags(c) for c in code(jupytext.read(chapter).cells))
    record_property("compared", kinds[False])
    record_property("ignored", kinds[True])
    assert kinds[False] > kinds[True] > 0


# ---- what a chapter must have


@per_core
def test_a_chapter_has_its_parts(chapter):
    text = chapter.read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", text, re.M)
    assert text.count("{exercise}") >= 4
    last = "Remember" if "Remember" in sections else "Close"
    order = [sections.index(name) for name in ("Claims on trial", "Common mistakes", "Exercises", last)]
    assert order == sorted(order)
    assert order[-1] == len(sections) - 1
    assert len(re.findall(r"^# ", re.sub(r"```.*?```", "", text, flags=re.S), re.M)) == 1


@per_chapter
def test_figures_are_numbered_in_order_and_each_is_drawn(chapter):
    cells = jupytext.read(chapter).cells
    found = [
        (i, n)
        for i, c in enumerate(cells)
        if c.cell_type == "markdown"
        for n in re.findall(r"^\*\*Figure (\S+)\*\*", c.source, re.M)
    ]
    assert [n for _, n in found] == [f"{chapter_number(chapter.stem)}.{k}." for k, _ in zip(count(1), found)]
    for i, number in found:
        assert cells[i - 1].cell_type == "code", f"Figure {number} stands below no cell"
        assert cells[i].source.startswith("**Figure"), f"Figure {number} does not open its paragraph"


@per_chapter
def test_every_exercise_has_its_cells_and_its_grader(chapter):
    cells = jupytext.read(chapter).cells
    place = {tag: i for i, c in enumerate(cells) for tag in tags(c)}
    prefix = chapter.stem[:2]
    known = [id for id in names() if id.startswith(f"{prefix}-")]
    labelled = re.findall(rf"^:label: ex-({prefix}-\w+)$", chapter.read_text(encoding="utf-8"), re.M)
    assert labelled == known
    for part in ("answer", "check", "solution"):
        assert [t.removeprefix(f"{part}-") for t in place if t.startswith(f"{part}-")] == known
    for id in known:
        statement = next(i for i, c in enumerate(cells) if f":label: ex-{id}\n" in c.source)
        assert statement < place[f"answer-{id}"] < place[f"check-{id}"] < place[f"solution-{id}"]
        assert "hide-cell" in tags(cells[place[f"solution-{id}"]])
        asked = re.search(rf'check\("{id}", (\w+)\)', cells[place[f"check-{id}"]].source)[1]
        for part in ("answer", "solution"):
            assert re.search(rf"^(def {asked}\(|{asked} =)", cells[place[f"{part}-{id}"]].source, re.M)
        assert f'assert tl.exercises.check("{id}", {asked})' in cells[place[f"solution-{id}"]].source


# ---- installation

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
CONSTRAINTS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]


FLOOR = PYPROJECT["project"]["requires-python"].removeprefix(">=")  # the oldest Python that is admitted
NOTEBOOKS = {"ipywidgets", "jupytext", "matplotlib_inline", "nbformat", "nbgrader", "traitlets"}  # inside functions


def direct():
    wanted = [Requirement(r) for r in [*PYPROJECT["project"]["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]]
    assert all(r.extras <= set(EXTRAS) for r in wanted if r.name == "tinyldm")
    return [r for r in wanted if r.name != "tinyldm"]


def pinned():
    pins = {}
    for line in CONSTRAINTS:
        name, version = re.fullmatch(r"([\w.-]+)==([\w.+]+)", line).groups()
        assert canonicalize_name(name) not in pins, line
        pins[canonicalize_name(name)] = version
    return pins


def test_constraints_pin_every_direct_dependency_once():
    pins = pinned()
    for wanted in direct():
        assert canonicalize_name(wanted.name) in pins, f"{wanted} has no pin"
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted
    assert pins["torch"] == "2.13.0"
    assert not [n for n in pins if n.startswith(("torchvision", "torchaudio", "nvidia", "cuda", "triton"))]


def test_every_pin_can_be_installed_on_the_oldest_python_that_is_admitted():
    """Found where a pin asked for 3.11.5: the newest versions were collected with a newer Python than the oldest one."""
    needs = {}
    for name, version in pinned().items():
        with suppress(PackageNotFoundError):
            found = distribution(name)
            if found.version.split("+")[0] == version:
                needs[f"{name}=={version}"] = found.metadata["Requires-Python"] or ""
    if not needs:
        pytest.skip("none of the pinned versions is installed here")
    assert not {pin: python for pin, python in needs.items() if not SpecifierSet(python).contains(FLOOR)}


def test_the_oldest_python_is_the_same_wherever_it_is_named():
    makefile, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "README.md"))
    assert str(tuple(map(int, FLOOR.split(".")))) in makefile
    assert f"Python {FLOOR} or newer is needed" in makefile
    assert f"You need Python {FLOOR} or newer" in readme
    major, minor = FLOOR.split(".")[:2]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == f"{major}.{minor}"


def test_readme_installs_the_pytorch_that_is_pinned():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\btorch==([\w.]+)", readme) == [pinned()["torch"]]
    assert set(re.findall(r"pip install '\.\[(\w+)\]'", readme)) <= set(EXTRAS)


def test_the_library_depends_on_what_it_imports_and_not_on_jupyter():
    needed = {canonicalize_name(Requirement(r).name) for r in PYPROJECT["project"]["dependencies"]}
    assert not [n for n in needed if "jupyter" in n or n in NOTEBOOKS | {"ipython", "notebook"}]
    sold_as = packages_distributions()
    for file in (ROOT / "tinyldm").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
        for name in {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"tinyldm"} - NOTEBOOKS:
            assert needed & {canonicalize_name(d) for d in sold_as.get(name, ())}, f"{file.name} imports {name}"


def test_the_command_is_a_function_that_exists():
    for place in PYPROJECT["project"]["scripts"].values():
        module, name = place.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_dependencies_are_ranges_that_do_not_pull_in_torchvision():
    for wanted in direct():
        assert any(s.operator == ">=" for s in wanted.specifier), wanted
        assert not any(s.operator == "==" for s in wanted.specifier), wanted
    avoided = {"torchvision", "lpips", "clean-fid", "k-diffusion", "denoising-diffusion-pytorch", "smalldiffusion"}
    assert not avoided & {canonicalize_name(r.name) for r in direct()}


def test_conda_installs_what_make_installs():
    env = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in env["dependencies"] if isinstance(d, str)]
    pip = next(d["pip"] for d in env["dependencies"] if isinstance(d, dict))
    assert env["name"] == PYPROJECT["project"]["name"]
    assert f"python{PYPROJECT['project']['requires-python']}" in conda
    assert "pip" in conda
    assert "-c constraints.txt" in pip
    (editable,) = (set(re.fullmatch(r"-e \.\[(.+)\]", p)[1].split(",")) for p in pip if p.startswith("-e"))
    made = {frozenset(m.split(",")) for m in re.findall(r"-e '\.\[(.+?)\]'", (ROOT / "Makefile").read_text())}
    assert made == {frozenset(editable)}
    assert editable == set(EXTRAS)


def test_the_texts_name_only_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z%-]+):", makefile, re.M))
    for file in [ROOT / "README.md", *(ROOT / "book").glob("*.md"), ROOT / "Makefile"]:
        named = set(re.findall(r"(?:`|^|# )make ([a-z-]+)\b", file.read_text(encoding="utf-8"), re.M))
        assert named <= targets, file.name
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)[1].split()
    assert set(phony) == targets - {"notebook-%"}


def test_no_file_names_a_package_registry_or_a_content_network():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    # written in two parts, so that this file does not name them either
    hosts = [f"{a}.{b}" for a, b in [("pypi", "org"), ("files.pythonhosted", "org"), ("registry.npmjs", "org")]]
    hosts += [f"deb.{'debian'}.org", f"{'unpkg'}.com", f"fonts.{'googleapis'}.com", f"fonts.{'gstatic'}.com"]
    network = re.compile("|".join(map(re.escape, hosts)) + r"|//[\w.-]*(cdn|jsdelivr|cloudflare)[\w.-]*/")
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.is_file() and file.suffix not in (".safetensors", ".png", ".gz"):
            found = network.search(file.read_text(encoding="utf-8"))
            assert found is None, f"{name}: {found[0]}"
