"""The reference: ``.. public:: tinyldm.solvers`` writes an entry for every public name that is defined there.

Docstrings stay plain prose in the sources. On the page the characters that mark up text are escaped, arguments are bold,
``:eq:`label` `` leads to the chapter's equation, which is repeated below, and each entry says which chapters use it. In the
chapters, a public name in literal text or in code leads to its entry.
"""

import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import public
from docutils import nodes
from ledger import equations as read_equations
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

PROTECTED = re.compile(r"(``.+?``|:\w+:`[^`]+`|(?<![\w*])\*\w+\*(?!\w))", re.S)  # already meant as markup
WORDS = re.compile(r"^:(\S+): ((?:.|\n )+)", re.M)


equations = cache(read_equations)


def arguments(value: Any) -> set[str]:
    """The names of what a function or class takes."""
    try:
        return set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return set()


def escaped(text: str, names: Iterable[str]) -> str:
    """Plain text as reStructuredText: nothing is markup; "names": becomes bold, "quoted" a literal."""
    text = re.sub(r"([\\*|_`])", r"\\\1", text)
    text = re.sub(r'(^|[\s(\[])"([\w.-]+)"', r'\1``"\2"``', text)
    one = "|".join(re.escape(name.replace("_", "\\_")) for name in names)
    return re.sub(rf"(^|(?<=[.;:)] ))((?:{one})(?:, (?:{one}))*):(?=\s)", r"**\2**:", text) if one else text


def prose(docstring: str, names: Iterable[str] = ()) -> list[str]:
    """A docstring as paragraphs of reStructuredText; what it raises and its source stand by themselves, examples stay."""
    found = []
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        if paragraph.startswith(">>>"):  # an example, which is no prose
            found.append(paragraph)
            continue
        flat = " ".join(paragraph.split())
        parts = PROTECTED.split(flat)
        parts[::2] = [escaped(part, names) for part in parts[::2]]
        text = re.sub(r":eq:`", "equation :eq:`", "".join(parts))
        found += re.split(r"(?<=[.:)]) (?=Raises (?:``|what )|Sources?: )", text)
    return [line for paragraph in found for line in (*paragraph.splitlines(), "")]


def below(name: str, docstring: str) -> list[str]:
    """What follows an entry: its equations, and the chapters that use it."""
    formulas, lines = equations(), []
    for label in dict.fromkeys(re.findall(r"Implements :eq:`([\w-]+)`", docstring)):
        lines += [".. math::", "", *(f"   {line}" for line in formulas[label][1].splitlines()), ""]
    used = ", ".join(f":doc:`{stem[:2]} </{stem}>`" for stem in public.chapters().get(name, []))
    return [*lines, ".. rst-class:: chapters", "", f"In chapters {used}", ""] if used else lines


def process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """autodoc-process-docstring: from the docstring of the source to that of the page."""
    docstring = "\n".join(lines)
    lines[:] = [*prose(docstring, arguments(value)), *below(name, docstring)]


def plain(app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, returns: str) -> Any:
    """autodoc-process-signature: a default that is made by a function has no text of its own."""
    return (re.sub(r"<function .*?>+|<factory>", "...", signature), returns) if signature else None


def shown(value: Any) -> str:
    """A constant in short: the names in a table, a type without its modules."""
    if isinstance(value, dict):
        return "Names: " + ", ".join(f"``{key!r}``".replace("'", '"') for key in value) + "."
    return f"``{re.sub(r'(?:[a-z_]+[.])+(?=[A-Za-z])', '', str(value))}``"


def members(value: Any) -> list[str]:
    """A class shows its methods, and its base where that is ours."""
    if not inspect.isclass(value):
        return []
    ours = any(base.__module__.startswith("tinyldm") for base in value.__bases__)
    return ["   :members:", "   :special-members: __call__", *["   :show-inheritance:"] * ours]


def asked(rooms: list[str]) -> list[str]:
    """The modules of these rooms, in this order, each once; those of a room after a minus are left out."""
    inside = {room: [m for m in public.modules() if f"{m}.".startswith(f"{room.lstrip('-')}.")] for room in rooms}
    without = {m for room, found in inside.items() if room.startswith("-") for m in found}
    return [m for m in dict.fromkeys(m for found in inside.values() for m in found) if m not in without]


class Public(SphinxDirective):
    """``.. public:: room ... -room ...``: what these modules and those inside them define, but for some.

    Its content says in words what the constants are, ``:tl.solvers.GRIDS: ...``.
    """

    required_arguments, optional_arguments, final_argument_whitespace, has_content = 1, 0, True, True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # a new name or chapter is no change of this page
        words = {name: " ".join(text.split()) for name, text in WORDS.findall("\n".join(self.content))}
        everything = (*public.entries(), *map(public.constant, words.keys() - public.known().keys()))
        lines = []
        for module in asked(self.arguments[0].split()):
            order = list(vars(public.modules()[module]))  # that of the source
            here = sorted((e for e in everything if e.home == module), key=lambda e: order.index(e.last))
            if here or module in public.doors():
                lines += self.file(module) + [line for e in here for line in self.entry(e, words.pop(e.name, ""))]
        if words:
            raise self.error(f"no such constant here: {', '.join(words)}")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)

    def file(self, module: str) -> list[str]:
        """The heading of a file: its place in the library and what it says of itself."""
        inside = vars(public.modules()[module])
        file = re.sub(r"^.*/tinyldm/|__init__\.py$", "", str(inside["__file__"]).replace("\\", "/"))
        anchor = [f".. py:module:: {public.spoken(module)}", ""] if module in public.doors() else []
        return [f"``{file}``", "-" * 80, "", *anchor, *prose(inside["__doc__"])]

    def entry(self, entry: public.Entry, words: str) -> list[str]:
        """One public name."""
        if public.documented(entry.value):
            kind = "class" if inspect.isclass(entry.value) else "function"
            if not entry.value.__doc__:
                raise self.error(f"{entry.name} has no docstring")
            return [f".. auto{kind}:: {entry.name}", *members(entry.value), ""]
        if not words:
            raise self.error(f"say in this directive what the constant is, :{entry.name}: ...")
        module, _, name = entry.name.rpartition(".")
        text = [*prose(words), shown(entry.value), "", *below(entry.name, "")]
        return [f".. py:data:: {name}", f"   :module: {module}", "", *(f"   {line}" for line in text), ""]


def place(app_env: Any, written: str, chapter: bool) -> tuple[str, str] | None:
    """Page and anchor of a name as somebody writes it; without ``tl.`` only where no plain word is meant."""
    name = re.sub(r"\(.*\)$", "", written)
    if not re.match(r"(tl|tinyldm)\.", name):
        plain = re.fullmatch(r"[a-z]+", name)
        name = f"tl.{name}" if chapter and not plain else "" if plain else public.unprefixed().get(name, "")
    name = public.spoken(name)
    entry = app_env.domains.python_domain.objects.get(public.known().get(name, name))
    return (entry.docname, entry.node_id) if entry else None


class LinkNames(SphinxPostTransform):
    """A literal that is a public name, with or without its call, becomes a link to its entry."""

    default_priority = 400

    def run(self, **kwargs: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            page = self.env.docname
            found = place(self.env, literal.astext(), not page.startswith("reference/"))
            if found and not isinstance(literal.parent, (nodes.reference, nodes.title)):
                literal.replace_self(make_refnode(self.app.builder, page, *found, literal.deepcopy()))


CALL = re.compile(r'<span class="n">tl</span>(?:<span class="o">\.</span><span class="n">\w+</span>)+')


def link_code(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """html-page-context: the same for ``tl.name`` in a chapter's code."""

    def link(match: re.Match[str]) -> str:
        found = place(app.env, re.sub(r"<.*?>", "", match[0]), True)
        if not found:
            return match[0]
        there = f"{app.builder.get_relative_uri(page, found[0])}#{found[1]}"
        return f'<a class="name" href="{there}">{match[0]}</a>'

    if "body" in context:
        context["body"] = CALL.sub(link, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    # autodoc imports what it documents by the name under which a reader writes it
    sys.modules.update({public.spoken(name): module for name, module in public.modules().items()})
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("public", Public)
    app.add_post_transform(LinkNames)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", plain)
    app.connect("html-page-context", link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
