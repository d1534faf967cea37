"""MyST into Markdown that JupyterLab shows without an extension: ``plain(text)``.

MyST's own parser says where directives and roles stand; two tables, ``DIRECTIVES`` and ``ROLES``, say what becomes of each. One
that is in neither table is an error, so that nothing reaches a reader as raw markup.
"""

import re
from functools import cache
from pathlib import Path

from ledger import equation_numbers
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import BibliographyData, Entry, Person, parse_file
from pybtex.richtext import Text

from tinyldm.exercises import EXERCISES
from tinyldm.exercises.assignment import FURTHER

BOOK = Path(__file__).parent
EXTENSIONS = {"colon_fence", "dollarmath", "amsmath", "deflist", "smartquotes"}  # the page's as well
ADMONITIONS = ("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso")


# ---- roles: inside a sentence


@cache
def bibliography() -> BibliographyData:
    return parse_file(BOOK / "references.bib")


def surname(person: Person) -> str:
    return str(Text.from_latex(" ".join([*person.prelast_names, *person.last_names])))


def work(key: str, form: str) -> str:
    """A work by its authors and year, leading to the paper where the bibliography knows its number on arXiv."""
    entry: Entry = bibliography().entries[key.strip()]
    names = [surname(person) for person in entry.persons["author"]]
    who = " and ".join(names) if len(names) < 3 and "others" not in names else f"{names[0]} et al."
    paper = re.search(r"arXiv:(\d{4}\.\d{4,5})", entry.fields.get("note", ""))
    text = form.format(who, entry.fields["year"])
    return f"[{text}](https://arxiv.org/abs/{paper[1]})" if paper else text


def cite(keys: str) -> str:
    """In brackets as on the page, where it may be a noun or an aside."""
    return ", ".join(work(key, "[{} {}]") for key in keys.split(","))


def cite_text(keys: str) -> str:
    return ", ".join(work(key, "{} ({})") for key in keys.split(","))


def eq(label: str) -> str:
    return f"({equation_numbers()[label]})"


def exercise_number(label: str) -> str:
    """Of the label ex-08-1: 8.1."""
    return EXERCISES[label.removeprefix("ex-")].number


def parted(content: str) -> tuple[str, str]:
    """Text and target of ``text <target>``; without a text of its own, the text is empty."""
    found = re.fullmatch(r"(.*?)\s*<(.+)>", content, re.S)
    return (found[1], found[2]) if found else ("", content)


def doc(content: str) -> str:
    """A link to the notebook of a chapter; a page that has none is only named."""
    text, stem = parted(content)
    if not text:
        text = re.findall(r"^# (.+)$", (BOOK / f"{stem}.md").read_text(encoding="utf-8"), re.M)[0]
    return f"[{text}]({stem}.ipynb)" if re.match(r"\d\d-", stem) else text


def ref(content: str) -> str:
    """``ch-08`` leads to that chapter's notebook once it is written; a place inside a page is only named."""
    text, label = parted(content)
    if found := re.fullmatch(r"ch-(\d\d)", label):
        written = [file.stem for file in BOOK.glob(f"{found[1]}-*.md") if not file.stem.endswith(FURTHER)]
        return doc(f"{text or f'chapter {found[1]}'} <{written[0]}>") if written else text or f"chapter {found[1]}"
    if label.startswith("ex-"):
        return text or f"Exercise {exercise_number(label)}"
    if not text:
        raise ValueError(f"give {{ref}}`{label}` a text, `text <{label}>`: a notebook does not know it")
    return text


ROLES = {"cite": cite, "cite:p": cite, "cite:t": cite_text, "eq": eq, "doc": doc, "ref": ref, "math": "${}$".format}


# ---- directives: blocks of their own


def quote(title: str, body: str) -> str:
    lines = f"**{title}**\n\n{body}".split("\n")
    return "\n".join(f"> {line}".rstrip() for line in lines)


def details(summary: str, body: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def exercise(title: str, body: str, label: str) -> str:
    return f"### Exercise {exercise_number(label)}. {title}\n\n{body}"


DIRECTIVES = {
    "exercise": exercise,
    "solution": lambda title, body, label: details("Worked solution", body),
    "dropdown": lambda title, body, label: details(title, body),
    "predict": lambda title, body, label: quote(title or "Predict", body),
    "outcome": lambda title, body, label: details(title or "Outcome", body),
    "admonition": lambda title, body, label: quote(title, body),
    **{name: lambda title, body, label, name=name: quote(title or name.capitalize(), body) for name in ADMONITIONS},
}


def directive(info: str, content: str) -> str:
    """A fenced directive; of its options only the label says something."""
    name, _, title = info.partition("}")
    if name[1:] not in DIRECTIVES:
        raise ValueError(f"book/plain.py has no rule for the directive {name}}}")
    options, body = re.fullmatch(r"((?::[\w-]+:[^\n]*\n)*)(.*)", content, re.S).groups()
    label = re.search(r"^:label: (.+)$", options, re.M)
    return DIRECTIVES[name[1:]](plain(title.strip()), plain(body.strip()), label[1] if label else "")


# ---- the text


@cache
def parser() -> MarkdownIt:
    return create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS, dmath_double_inline=True), RendererHTML)


def sentence(token: Token, source: str) -> str:
    """A line or paragraph with its roles replaced."""
    for child in token.children or []:
        if child.type == "myst_role":
            name = child.meta["name"]
            if name not in ROLES:
                raise ValueError(f"book/plain.py has no rule for the role {{{name}}}")
            words = r"\s+".join(map(re.escape, child.content.split()))  # the source may have broken the line here
            before, _, after = re.split(rf"(\{{{name}\}}`{words}`)", source, maxsplit=1)
            source = f"{before}{ROLES[name](child.content)}{after}"
    return source


def block(token: Token, source: str) -> str | None:
    """What stands in a token's lines instead; None where they stay."""
    if token.type in ("fence", "colon_fence") and token.info.startswith("{"):
        return directive(token.info, token.content)
    if token.type == "math_block_label":
        formula = source.rpartition("$$")[0].rstrip()
        return f"{formula}\n\\tag{{{equation_numbers()[token.info]}}}\n$$"
    if token.type in ("myst_target", "myst_line_comment"):
        return ""
    return sentence(token, source) if token.type == "inline" else None


def plain(text: str) -> str:
    """The same text in plain Markdown."""
    lines = text.split("\n")
    for token in reversed(parser().parse(text)):  # from the end, so that the places of what is still to come stay right
        if token.map:
            first, last = token.map
            made = block(token, "\n".join(lines[first:last]))
            if made is not None:
                lines[first:last] = made.split("\n")
    return "\n".join(lines).strip()
