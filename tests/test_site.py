"""The web site: it builds without a warning, reads without a network, and moves without a kernel."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tinyldm.exercises import EXERCISES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

sys.path.insert(0, str(ROOT / "book"))

import ledger  # noqa: E402
import public  # noqa: E402

CHAPTERS = sorted(p.stem for p in (ROOT / "book").glob("[0-9][0-9]-*.md"))
OUTSIDE = r"(https?:)?//"
LOADED = {  # what a browser fetches without being asked
    "script": ["src"],
    "img": ["src", "srcset"],
    "iframe": ["src"],
    "source": ["src", "srcset"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "image": ["href", "xlink:href"],
    "use": ["href", "xlink:href"],
}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site, from copies: building writes into the source folder."""
    there = tmp_path_factory.mktemp("site")
    for name in ("book", "notebooks"):
        shutil.copytree(ROOT / name, there / name, ignore=shutil.ignore_patterns("_build", ".ipynb_checkpoints"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "book", "html"],
        cwd=there,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return there / "html"


@pytest.fixture(scope="session")
def pages(site):
    """Every page of the site, parsed."""
    files = (p for p in site.rglob("*.html") if "_static" not in p.parts)  # the theme leaves its templates there
    return {p.relative_to(site): BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser") for p in files}


@pytest.fixture(params=CHAPTERS)
def page(request, pages):
    """A chapter's page."""
    return pages[Path(f"{request.param}.html")]


def loads(soup):
    """Every address that a page makes the browser fetch."""
    for tag, attributes in LOADED.items():
        for element in soup.find_all(tag):
            yield from (element[a] for a in attributes if element.get(a))
    for link in soup.find_all("link"):
        if not {"canonical", "search", "index", "next", "prev", "author", "license"} & set(link.get("rel", [])):
            yield link["href"]
    styles = [s.get_text() for s in soup.find_all("style")] + [e["style"] for e in soup.find_all(style=True)]
    yield from css_loads("\n".join(styles))


def css_loads(text):
    yield from re.findall(r"url\(\s*['\"]?([^'\")]+)", text)
    yield from re.findall(r"@import\s+['\"]([^'\"]+)", text)


def test_the_site_has_every_chapter(pages):
    for name in (*CHAPTERS, "index", "roadmap", "appendix-a-notation", "bibliography"):
        assert Path(f"{name}.html") in pages


def test_no_page_loads_anything_from_another_host(pages):
    for name, soup in pages.items():
        outside = [address for address in loads(soup) if re.match(OUTSIDE, address)]
        assert outside == [], name


def test_no_script_in_a_page_fetches_from_another_host(pages):
    fetching = rf"(fetch|import|importScripts|open|require)\s*\(\s*[^)]*['\"`]{OUTSIDE}|(src|href)\s*=\s*['\"]{OUTSIDE}"
    importing = rf"\b(import|from)\s+['\"]{OUTSIDE}"
    for name, soup in pages.items():
        for script in soup.find_all("script", src=False):
            assert not re.search(f"{fetching}|{importing}", script.get_text()), name


def test_no_style_sheet_loads_from_another_host(site):
    sheets = list((site / "_static").rglob("*.css"))
    assert sheets
    for sheet in sheets:
        outside = [a for a in css_loads(sheet.read_text(encoding="utf-8")) if re.match(OUTSIDE, a)]
        assert outside == [], sheet


def test_everything_that_a_page_loads_is_there(site, pages):
    for name, soup in pages.items():
        for address in loads(soup):
            if not address.startswith(("data:", "#")):
                file = site / name.parent / unquote(urlsplit(address).path)
                assert file.is_file(), f"{name}: {address}"
                assert file.stat().st_size > 0, f"{name}: {address}"


def test_every_internal_link_leads_somewhere(site, pages):
    ids = {name: {e["id"] for e in soup.find_all(id=True)} for name, soup in pages.items()}
    followed = 0
    for name, soup in pages.items():
        for link in soup.find_all("a", href=True):
            address = urlsplit(link["href"])
            if address.scheme or address.netloc:
                continue
            target = Path(os.path.normpath(name.parent / unquote(address.path))) if address.path else name
            if target.suffix == ".html":
                followed += 1
                assert target in ids, f"{name}: {link['href']}"
                assert not address.fragment or unquote(address.fragment) in ids[target], f"{name}: {link['href']}"
            elif target.parts[0] == "_images":  # a sharp picture, to be looked at in its own size
                assert (site / target).is_file(), f"{name}: {link['href']}"
            else:
                assert link["href"] in ("#", ""), f"{name}: {link['href']}"
    assert followed > 100


def test_the_reference_has_every_public_name(site, pages):
    found = [e["id"] for name, soup in pages.items() if name.parts[0] == "reference" for e in soup.select("dt[id]")]
    assert {e.name for e in public.entries()} <= set(found)
    assert len(found) == len(set(found))
    searched = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{word}"' in searched for word in ("from_pretrained", "folder", "checkpoint"))


def test_chapters_and_reference_lead_to_each_other(pages):
    chapter, solvers = pages[Path("08-pf-ode-solvers.html")], pages[Path("reference/solvers.html")]
    assert chapter.select('pre a.name[href="reference/solvers.html#tl.ddim"]')  # in code
    assert chapter.select('p a[href="reference/solvers.html#tl.dpmpp_2m"] code')  # in the text
    entry = solvers.find(id="tl.ddim").parent
    assert entry.select('p.chapters a[href="../08-pf-ode-solvers.html"]')
    assert entry.select_one('a[href$="#equation-ddim"]').get_text() == f"({ledger.equation_numbers()['ddim']})"
    assert entry.select("div.math")


def test_equations_and_exercises_have_the_book_s_numbers(pages):
    numbers, formulas = ledger.equation_numbers(), ledger.equations()
    appendix = pages[Path("appendix-d-ledger.html")]
    for stem in CHAPTERS:
        page = pages[Path(f"{stem}.html")]
        here = {f"equation-{label}": f"({numbers[label]})" for label, (chapter, _) in formulas.items() if chapter == stem}
        assert {e.parent["id"]: e.get_text().rstrip("#") for e in page.select(".math .eqno")} == here
        for soup in (page, appendix):
            for link in soup.select('a.reference[href*="#equation-"]'):
                assert link.get_text() == f"({numbers[link['href'].split('#equation-')[1]]})"
        titles = [e.get_text().split(" (")[0].strip() for e in page.select(".exercise .admonition-title")]
        ids = [id for id in sorted(EXERCISES) if id.startswith(stem[:2])]
        assert titles == [f"Exercise {EXERCISES[id].number}" for id in ids]


def test_every_figure_is_a_picture_that_shows_something(page, site):
    article = page.find("article")
    figures = article.find_all("figure")
    assert figures
    for k, figure in enumerate(figures, start=1):
        number = figure.select_one("figcaption .caption-number").get_text().strip()
        assert re.fullmatch(rf"Figure \d+F?\.{k}\.", number)
        assert figure["id"] == re.sub(r"\W+", "-", number).strip("-").replace("Figure", "fig")
        assert figure.find("img") or figure.select(".flipbook")
        assert figure.select_one("figcaption .caption-text").get_text().strip()
    assert not re.search(r"^Figure \d", "\n".join(s.get_text() for s in article.find_all("strong")), re.M)
    for address in [i["src"] for i in article.find_all("img")]:
        picture = np.asarray(Image.open(io.BytesIO((site / unquote(address)).read_bytes())).convert("L"))
        assert picture.shape[1] > 300
        assert int(picture.max()) - int(picture.min()) > 100  # not a blank canvas


def test_a_figure_that_the_text_names_is_one_click_away(pages):
    links = pages[Path("08-pf-ode-solvers.html")].select('p a.reference[href="#fig-8-3"]')
    assert links
    assert {link.get_text() for link in links} == {"Figure 8.3"}


def test_the_page_is_clean(page):
    text = page.find("article").get_text()
    assert not re.search(r"\d+it/s|\d%\|", text)  # progress bars
    assert not re.search(r"\{(ref|cite|eq|doc)\}`|^:{3,}", text, re.M)  # directives that were not understood
    assert "Traceback" not in text
    assert not page.find("script", type="application/vnd.jupyter.widget-view+json")  # a slider without a kernel is dead


def test_formulas_are_drawn_by_a_script_of_the_site(page, site):
    sources = [s["src"] for s in page.find_all("script", src=True) if "mathjax" in s["src"].lower()]
    assert sources
    assert page.select("div.math, span.math")
    fonts = [p.suffix for p in (site / Path(urlsplit(sources[0]).path)).parent.rglob("*") if p.suffix.startswith(".woff")]
    assert fonts


def test_solutions_are_folded(page):
    cells = page.select('div[class*="tag_solution-"]')
    assert len(cells) >= 4
    texts = page.select('[id^="solution-text"]') or [d for d in page.find_all("details") if "Worked" in d.get_text()]
    assert len(texts) == len(cells)
    for cell in cells:
        assert all(pre.find_parent("details") is not None for pre in cell.find_all("pre"))
    for details in page.find("article").find_all("details"):
        assert not details.has_attr("open")


def test_the_flipbook_is_there_with_its_script(page):
    (flipbook,) = page.select(".flipbook")
    assert len(flipbook.select("input[type=range]")) == len(flipbook.select("output")) >= 2
    assert "url(data:image/png;base64," in flipbook.select_one("[role=img]")["style"]
    script = flipbook.find("script").get_text()
    assert "currentScript.parentElement" in script
    assert "backgroundPosition" in script


# ---- in a browser, where there is one


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on the PATH")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@pytest.mark.parametrize("name", [*CHAPTERS, "index", "reference/solvers", "reference/foreign"])
def test_a_page_opens_from_a_folder_without_a_network(name, site, browser):
    tab, problems = browser.new_page(), []
    tab.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or problems.append(r.url))
    tab.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    tab.on("console", lambda m: m.type == "error" and problems.append(m.text))
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.goto((site / f"{name}.html").as_uri(), wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_function(
            "document.querySelectorAll('mjx-container').length > (location.pathname.includes('reference') ? 0 : 20)"
        )
        assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert tab.locator("article details[open]").count() == 0
    for book in tab.locator(".flipbook").all():
        picture, outputs = book.locator("[role=img]"), book.locator("output")
        place = "e => getComputedStyle(e).backgroundPosition"
        seen = {picture.evaluate(place)}
        for i, slider in enumerate(book.locator("input").all()):
            if slider.get_attribute("max") != "0":
                said = outputs.nth(i).text_content()
                slider.press("Home")  # sliders start in the middle
                assert outputs.nth(i).text_content() != said
                assert picture.evaluate(place) not in seen
                seen.add(picture.evaluate(place))
        assert len(seen) > 2
    tab.close()
    assert problems == []
