"""The reference: everything public is on a page, under the name a reader writes, and says what it is."""

import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import public  # noqa: E402

PAGES = sorted((ROOT / "book" / "reference").glob("*.rst"))
DIRECTIVES = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
SPOKEN_OF = set(re.findall(r"^   :(\S+): \S", DIRECTIVES, re.M))
ROOMS = set(re.findall(r"(?<!\S)tinyldm[\w.]*", " ".join(re.findall(r"^\.\. public::(.+(?:\n   tiny.+)*)", DIRECTIVES, re.M))))
CONSTANTS = [e for e in public.entries() if not public.documented(e.value)]


def begins_with_a_sentence(value):
    first = (inspect.getdoc(value) or "").split("\n\n")[0]
    return re.match(r"\S", first) is not None and first.rstrip().endswith((".", ":")) and len(first.split()) > 1


@pytest.mark.parametrize("entry", [e for e in public.entries() if public.documented(e.value)], ids=lambda e: e.name)
def test_a_public_name_begins_with_a_sentence(entry):
    assert begins_with_a_sentence(entry.value)


@pytest.mark.parametrize("entry", public.entries(), ids=lambda e: e.name)
def test_a_public_name_is_defined_in_a_room_that_has_a_page(entry):
    assert any(f"{entry.home}.".startswith(f"{room}.") for room in ROOMS), "name its module in book/reference"


@pytest.mark.parametrize("entry", CONSTANTS, ids=lambda e: e.name)
def test_a_public_constant_is_described(entry):
    assert entry.name in SPOKEN_OF


def test_every_package_and_every_module_at_the_root_is_open():
    here = {
        ".".join(("tinyldm", *p.relative_to(ROOT / "tinyldm").with_suffix("").parts)) for p in (ROOT / "tinyldm").rglob("*.py")
    }
    wanted = {m.removesuffix(".__init__") for m in here if m.endswith(".__init__") or m.count(".") == 1}
    assert wanted <= public.doors().keys()
    assert {"tinyldm.nn.presets", "tinyldm.nn.weights"} <= public.doors().keys()


def test_the_pages_are_in_the_contents():
    contents = (ROOT / "book" / "reference" / "index.rst").read_text(encoding="utf-8")
    assert [p.stem for p in PAGES if p.stem != "index"] == sorted(re.findall(r"^   (\w+)$", contents, re.M))


def test_the_names_are_those_of_a_reader():
    names = {e.name for e in public.entries()}
    assert {"tl.ddim", "tl.nn.UNet", "tl.losses.denoising_loss", "tl.train.fit", "tl.nn.weights.from_pretrained"} <= names
    assert public.known()["tl.solvers.ddim"] == public.known()["tl.solvers.ddim.ddim"] == "tl.ddim"
    assert public.known()["tl.train.Budget.decay"] == "tl.train.Budget.decay"
    assert len(names) == len(public.entries())


def test_an_entry_knows_its_chapters():
    assert "08-pf-ode-solvers" in public.chapters()["tl.ddim"]
    assert set(public.chapters()) <= set(public.known().values())
