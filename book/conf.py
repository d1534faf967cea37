"""The book: MyST sources, outputs from the executed notebooks, nothing from another host."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_ext")]  # lab, the ledger of equations, and the extensions

import lab  # noqa: E402
from plain import EXTENSIONS  # noqa: E402

# A page is the text of its chapter with the outputs of its executed notebook, so that building never runs anything. These are
# put together in files that Sphinx reads in place of the chapters.
lab.write_pages()

project = "tinyldm"
html_title = "Latent diffusion, a textbook that runs"
author = "the tinyldm authors"
copyright = "2026, the tinyldm authors. Text CC BY 4.0, code MIT"
language = "en"

extensions = ["myst_nb", "sphinx_design", "sphinx_exercise", "sphinxcontrib.bibtex", "sphinx-mathjax-offline"]
extensions += ["numbering", "predict", "reference"]  # our own
exclude_patterns = ["[0-9][0-9]-*.md", "_build", "Thumbs.db"]
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_ipywidgets_js = {}
nb_number_source_lines = False
myst_enable_extensions = sorted(EXTENSIONS)
myst_dmath_double_inline = True
math_number_all = False
numfig = True
numfig_format = {"figure": "Figure %s."}

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
