"""What the graders say is content: however the code around a sentence changes, the sentence stays.

``tests/data/sentences.json`` holds a short hash of every sentence, by the file in which it stood, in the order of that file.
``python tests/test_sentences.py COMMIT`` writes it from the sources of a commit.
"""

import ast
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXERCISES, KEPT = ROOT / "tinyldm" / "exercises", ROOT / "tests" / "data" / "sentences.json"


def sentences(source):
    """String literals of four words or more, f-strings' constant parts included and docstrings not, in source order."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs]
    texts = [node.value for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))]
    return [text for text in texts if len(text.split()) >= 4 and re.search(r"\w\w", text)]


def short(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_no_sentence_is_lost():
    record = json.loads(KEPT.read_text())
    today = {short(s) for file in EXERCISES.glob("ch*.py") for s in sentences(file.read_text(encoding="utf-8"))}
    lost = [
        f"sentence {i} of {file} at {record['commit']}"
        for file, hashes in record["files"].items()
        for i, known in enumerate(hashes.split())
        if known not in today
    ]
    assert not lost, f"{len(lost)} sentences lost; `python tests/test_sentences.py FILE INDEX` prints one: {lost}"


def at_commit(commit, path):
    return subprocess.run(["git", "show", f"{commit}:{path}"], cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


def write(commit):
    """The hashes of a commit's sentences."""
    folder = EXERCISES.relative_to(ROOT).as_posix()
    names = sorted(name for name in at_commit(commit, f"{folder}/").split() if re.fullmatch(r"ch.*\.py", name))
    files = {name: " ".join(map(short, sentences(at_commit(commit, f"{folder}/{name}")))) for name in names}
    KEPT.write_text(json.dumps({"commit": commit, "files": files}, indent=1) + "\n")


def show(file, index):
    """One sentence of the commit that was kept."""
    commit = json.loads(KEPT.read_text())["commit"]
    print(sentences(at_commit(commit, f"{EXERCISES.relative_to(ROOT).as_posix()}/{file}"))[int(index)])


if __name__ == "__main__":
    write(*sys.argv[1:]) if len(sys.argv) == 2 else show(*sys.argv[1:])
