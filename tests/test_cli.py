"""The command line: pictures of the right size, models that can be had again, and mistakes told in one line."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm import VP, zoo
from tinyldm.__main__ import main
from tinyldm.experiments import digits as recipes
from tinyldm.nn import AutoencoderConfig, UNetConfig
from tinyldm.train import Budget

FAST = ["--steps", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    # the options --scale and --device are handed on as variables: they must not reach the next test
    monkeypatch.setenv("TINYLDM_SCALE", "ci")
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "tinyldm", *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


# ---- as a reader types it


def test_help_names_every_command():
    done = python("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for command in ("demo", "train", "sample", "list"):
        assert command in done.stdout


def test_a_picture_is_written_where_it_is_asked_for(tmp_path):
    done = python("sample", "--n", 3, *FAST, "--out", "deep/three.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {os.path.join('deep', 'three.png')}\n"
    picture = Image.open(tmp_path / "deep" / "three.png")
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (360, 36))  # ten columns of 32 + 2 * 2 pixels
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["three.png"]


def test_a_mistake_ends_with_code_2_and_one_line(tmp_path):
    done = python("sample", "--model", "digit", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    known = ", ".join(zoo.names())
    assert done.stderr == f"tinyldm: name='digit' is unknown; did you mean 'digits'? (known: {known})\n"


# ---- the same without starting a program each time


def drawn(tmp_path, *arguments):
    out = tmp_path / "drawn.png"
    assert main(["sample", *FAST, "--out", str(out), *map(str, arguments)]) == 0
    return np.asarray(Image.open(out))


def test_list_shows_every_model_and_its_measures(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in zoo.names():
        assert f"{name}: {zoo.card(name)['summary']}" in out
        for key, value in zoo.card(name)["measures"].items():
            assert f"{key}  {value:.4g}" in out


def test_a_picture_belongs_to_its_seed_and_options(tmp_path):
    first = drawn(tmp_path, "--n", 12)
    assert first.shape == (72, 360)
    assert (first[36:, 72:] == 255).all()  # twelve digits: the second row holds two
    assert (first == drawn(tmp_path, "--n", 12)).all()
    for option in (["--seed", 1], ["--label", 3], ["--solver", "euler"], ["--guidance", 4.0], ["--steps", 4]):
        assert (first != drawn(tmp_path, "--n", 12, *option)).any(), option


def test_each_solver_draws(tmp_path):
    for solver in ("euler", "heun", "ddim", "ddpm", "dpmpp_2m"):
        picture = drawn(tmp_path, "--n", 1, "--solver", solver)
        assert picture.min() < 128 < picture.max()


MISTAKES = [
    (["--model", "dgits"], "did you mean 'digits'"),
    (["--model", "no/such/folder"], "no/such/folder"),
    (["--solver", "eulr"], "solver='eulr' is unknown; did you mean 'euler'"),
    (["--label", "10"], "[0, 9]"),
    (["--label", "-1"], "[0, 9]"),
    (["--model", "photos-c4"], "photos-c4"),  # a network that draws nothing by itself
    (["--n", "0"], "n: expected a whole number >= 1, got 0"),
    (["--n", "-3"], "n: expected a whole number >= 1, got -3"),
    (["--steps", "0"], "steps"),
    (["--guidance", "-1"], "got -1"),
    (["--guidance", "nan"], "got nan"),
    (["--device", "abacus"], "abacus"),
    (["--out", "{tmp_path}"], "{tmp_path}"),  # a folder that is there
    (["--out", "{file}/x.png"], "{file}"),  # below a file
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_in_an_argument_is_one_line(arguments, words, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    places = {"tmp_path": tmp_path, "file": tmp_path / "file"}
    given = ["sample", "--n", "2", "--steps", "1", "--out", str(tmp_path / "x.png"), *arguments]
    code = main([a.format(**places) for a in given])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("tinyldm: ")
    assert captured.err.count("\n") == 1
    assert words.format(**places) in captured.err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]  # nothing half-written stays behind


@pytest.mark.parametrize(
    "arguments", [[], ["smaple"], ["sample", "--n", "two"], ["train", "--scale", "big"], ["--n", "1"]]
)
def test_what_cannot_be_parsed_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "python -m tinyldm" in capsys.readouterr().err


# ---- training


@pytest.fixture
def tiny(monkeypatch):
    """The recipe of the ``ci`` scale, so small that it trains in a second."""
    recipe = recipes.Recipe(
        AutoencoderConfig(in_channels=1, latent_channels=2, channels=(4, 4, 8), blocks=1, groups=4),
        Budget(12, 16, 3e-3),
        UNetConfig(in_channels=2, channels=(8, 8), attention=(False, True), blocks=1, heads=2, groups=4, classes=10),
        Budget(8, 16, 2e-3),
        path=VP(0.2, 18.0),
    )
    monkeypatch.setitem(recipes.DIGITS, "ci", recipe)
    monkeypatch.setattr(recipes, "measure", partial(recipes.measure, n=30))
    return recipe


def read(folder):
    measures = json.loads((folder / "measures.json").read_text())
    return {k: v for k, v in measures.items() if not k.endswith("seconds")}, {
        p.name: p.read_bytes() for p in (folder / "model").iterdir()
    }


def test_a_demo_leaves_model_measures_and_picture(tiny, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--scale", "ci", "--seed", "3", "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} >= {"model", "measures.json", "samples.png"}
    measures, files = read(out)
    assert files.keys() == {"config.json", "model.safetensors"}
    assert {"psnr", "accuracy", "accuracy_real", "frechet", "frechet_gaussian", "nearest"} <= measures.keys()
    assert f"{'accuracy':>20}  {measures['accuracy']:.4g}" in capsys.readouterr().out
    assert Image.open(out / "samples.png").size == (360, 360)

    # what was saved is what was measured: loaded again, it draws the same picture
    again = tmp_path / "again.png"
    asked = ["--n", "100", "--seed", "3", "--model", str(out / "model"), "--out", str(again)]
    assert main(["sample", *asked]) == 0
    assert again.read_bytes() == (out / "samples.png").read_bytes()


def test_training_is_reproducible_and_its_seed_counts(tiny, tmp_path):
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(runs))  # what happened before must not matter
        assert main(["train", "--seed", str(seed), "--out", str(tmp_path / name)]) == 0
        assert not (tmp_path / name / "samples.png").exists()
        runs[name] = read(tmp_path / name)
    assert runs["a"] == runs["b"]
    assert runs["a"][1]["model.safetensors"] != runs["c"][1]["model.safetensors"]


def test_a_second_run_goes_on_where_the_first_was(tiny, tmp_path, monkeypatch, capsys):
    assert main(["train", "--out", str(tmp_path)]) == 0
    first = read(tmp_path)
    updates = []
    update = recipes.fit.__globals__["Run"].update
    monkeypatch.setattr(
        recipes.fit.__globals__["Run"], "update", lambda run, loss: (updates.append(run), update(run, loss))
    )
    assert main(["train", "--out", str(tmp_path)]) == 0
    assert not updates  # all of it was done
    assert read(tmp_path) == first

    longer = recipes.Recipe(tiny.autoencoder, Budget(13, 16, 3e-3), tiny.denoiser, tiny.denoiser_budget)
    monkeypatch.setitem(recipes.DIGITS, "ci", longer)
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "steps was 12, is 13" in error
    assert read(tmp_path) == first


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
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace('"classes": 3', '"classes": 4')
        ),
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
