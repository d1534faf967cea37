"""The book: MyST sources, outputs from the executed notebooks, nothing from another host."""

import sys
from itertools import pairwise
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_ext")]  # the ledger of equations, and the reference

# A chapter's page is its executed notebook, so that building never runs anything. The notebooks are generated from the
# chapters' .md files, which are therefore left out; a test compares the two cell by cell.
for stale in HERE.glob("[0-9][0-9]-*.ipynb"):
    stale.unlink()
for notebook in sorted((HERE.parent / "notebooks").glob("[0-9][0-9]-*.ipynb")):
    page = nbformat.read(notebook, as_version=4)
    for cell, caption in pairwise(page.cells):
        if caption.source.startswith("**Figure"):  # what the caption says is what a screen reader should say
            cell.metadata["mystnb"] = {"image": {"alt": caption.source.split("\n\n")[0].replace("\n", " ").replace("*", "")}}
    nbformat.write(page, HERE / notebook.name)

project = "tinyldm"
html_title = "Latent diffusion, a textbook that runs"
author = "the tinyldm authors"
copyright = "2026, the tinyldm authors. Text CC BY 4.0, code MIT"
language = "en"

extensions = ["myst_nb", "sphinx_design", "sphinx_exercise", "sphinxcontrib.bibtex", "sphinx-mathjax-offline", "reference"]
exclude_patterns = ["[0-9][0-9]-*.md", "_build", "Thumbs.db"]
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_ipywidgets_js = {}
nb_number_source_lines = False
nb_code_prompt_show = "Solution code"  # the only cells that are folded
nb_code_prompt_hide = "Hide the solution code"
myst_enable_extensions = ["colon_fence", "dollarmath", "amsmath", "deflist", "smartquotes"]
myst_dmath_double_inline = True
math_number_all = False
numfig = True

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
smartquotes = False  # the chapters have MyST's own; in the reference "lam" is what one types
python_use_unqualified_type_names = True
maximum_signature_line_length = 60
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_repository_button": False,
    "home_page_in_toc": True,
}
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
