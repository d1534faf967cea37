"""One numbering on the page, in the notebook and in the grader: equation (8.3), Figure 8.2, Exercise 8.1 are those of chapter 08.

A caption, the paragraph below a picture that begins with ``**Figure 8.2.**``, makes one figure of both, ``#fig-8-2``. Where a
text says "Figure 8.2" or "exercise 8.1", it leads there.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from tinyldm.exercises.assignment import chapter_number

CAPTION = re.compile(r"Figure (\d+F?\.\d+)\.")
NAMED = re.compile(r"\b(figure|exercise)s?\s(\d+F?\.\d+)(?!\d)", re.I)


def shows(node: nodes.Element) -> bool:
    """Whether a part of a cell's output is a picture or a flipbook, not what was printed beside it."""
    return isinstance(node, nodes.image) or node.get("nb_element") == "mime_bundle"


class Figures(SphinxTransform):
    """A cell's picture and the caption below it become a figure."""

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        for strong in list(self.document.findall(nodes.strong)):
            paragraph, found = strong.parent, CAPTION.fullmatch(strong.astext())
            if not found or not paragraph.astext().startswith(strong.astext()):
                continue
            cell = paragraph.parent[paragraph.parent.index(paragraph) - 1]
            (output,) = (part for part in cell if "cell_output" in part["classes"])
            drawn = [part for part in output if shows(part)]
            figure = nodes.figure("", ids=[f"fig-{found[1].replace('.', '-')}"])
            text = paragraph.children[paragraph.index(strong) + 1 :]
            text[0] = nodes.Text(text[0].astext().lstrip())
            figure += [*drawn[-1:], nodes.caption("", "", *text)]
            for part in drawn[-1:]:
                output.remove(part)
            # inside the cell: what the theme says of its outputs, widths among them, holds for the picture as before
            output += figure
            paragraph.parent.remove(paragraph)


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """env-get-updated: Sphinx has counted through the whole book; count in each chapter instead."""
    for page, kinds in env.toc_fignumbers.items():
        if re.match(r"\d\d-", page):
            for numbers in kinds.values():
                numbers.update({id: (chapter_number(page), k) for k, id in enumerate(numbers, start=1)})  # type: ignore[misc]
    return list(env.toc_fignumbers)


class LinkNumbers(SphinxPostTransform):
    """A figure or an exercise that the text names by its number."""

    default_priority = 410

    def run(self, **kwargs: Any) -> None:
        places = {
            (kind, ".".join(map(str, number))): (page, id)
            for page, kinds in self.env.toc_fignumbers.items()
            for kind in ("figure", "exercise")
            for id, number in kinds.get(kind, {}).items()
        }
        for text in list(self.document.findall(nodes.Text)):
            if isinstance(text.parent, (nodes.paragraph, nodes.caption, nodes.emphasis, nodes.strong, nodes.entry)):
                self.link(text, places)

    def link(self, text: nodes.Text, places: dict[tuple[str, str], tuple[str, str]]) -> None:
        made: list[nodes.Node] = []
        words, end = text.astext(), 0
        for found in NAMED.finditer(words):
            place = places.get((found[1].lower(), found[2]))
            if place:
                made += [nodes.Text(words[end : found.start()])]
                made += [make_refnode(self.app.builder, self.env.docname, *place, nodes.Text(found[0]))]
                end = found.end()
        if made:
            text.parent.replace(text, [*made, nodes.Text(words[end:])])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(Figures)
    app.add_post_transform(LinkNumbers)
    app.connect("env-get-updated", renumber)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
