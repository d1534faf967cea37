"""The command line meets a damaged model: one line that says what is wrong, and no picture."""

import pytest

from tinyldm.__main__ import main


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


DAMAGES = [
    (lambda f: truncate(f / "model.safetensors"), "model.safetensors is truncated"),
    (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is truncated"),
    (lambda f: (f / "model.safetensors").unlink(), "no file at"),
    (lambda f: (f / "config.json").unlink(), "no file at"),
    (lambda f: truncate(f / "config.json"), "config.json is not valid JSON"),
    (lambda f: (f / "config.json").write_text('{"format": 1}'), "all the fields that save() writes"),
    (lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace('"VP"', '"VQ"')), "mean 'VP'"),
    (
        lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace('"classes": 3', '"classes": 4')),
        "do not fit this configuration",
    ),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_model_is_refused_in_one_line(damage, words, folder, tmp_path, capsys):
    damage(folder)
    code = main(["sample", "--model", str(folder), "--n", "1", "--out", str(tmp_path / "x.png")])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1), captured.err
    assert words in captured.err
    assert not (tmp_path / "x.png").exists()
