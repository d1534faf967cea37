"""``::::{predict} title``: a question to answer before reading on; in it ``:::{outcome} title``, folded until there is an answer.

Both titles may be left out.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_design.dropdown import DropdownDirective


class Predict(SphinxDirective):
    """A box with the question."""

    optional_arguments, final_argument_whitespace, has_content = 1, True, True

    def run(self) -> list[nodes.Node]:
        title, messages = self.parse_inline(" ".join(self.arguments) or "Predict")
        box = nodes.admonition("", nodes.title("", "", *title), *self.parse_content_to_nodes(), classes=["predict"])
        return [box, *messages]


class Outcome(DropdownDirective):
    """What happens: closed at first."""

    def run(self) -> list[nodes.Node]:
        self.arguments = self.arguments or ["Outcome"]
        return super().run()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("predict", Predict)
    app.add_directive("outcome", Outcome)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
