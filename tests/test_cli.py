"""The command line: pictures of the right size, models that can be had again, and mistakes told in one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm import VP, Denoiser, DiscreteVP, zoo
from tinyldm.__main__ import main
from tinyldm.experiments import digits as experiment
from tinyldm.experiments import pictures
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


def test_a_reader_who_stops_reading_ends_it_quietly():
    with subprocess.Popen([sys.executable, "-m", "tinyldm", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        done.stdout.close()  # as head does after its lines, before the first word comes
        assert done.stderr.read() == b""
    assert done.returncode == 1


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
    (["--label", "ten"], "label='ten' is unknown"),
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


@pytest.mark.parametrize("arguments", [[], ["smaple"], ["sample", "--n", "two"], ["train", "--scale", "big"], ["--n", "1"]])
def test_what_cannot_be_parsed_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: tinyldm" in capsys.readouterr().err


# ---- training


@pytest.fixture
def tiny(monkeypatch):
    """The recipe of the ``ci`` scale, so small that it trains in a second."""
    recipe = experiment.Recipe(
        AutoencoderConfig(in_channels=1, latent_channels=2, channels=(4, 4, 8), blocks=1, groups=4),
        Budget(12, 16, 3e-3),
        UNetConfig(in_channels=2, channels=(8, 8), attention=(False, True), blocks=1, heads=2, groups=4, classes=10),
        Budget(8, 16, 2e-3),
        path=VP(0.2, 18.0),
    )
    monkeypatch.setitem(experiment.DIGITS, "ci", recipe)
    monkeypatch.setattr(experiment, "measure", partial(experiment.measure, n=30))
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
    update = experiment.fit.__globals__["Run"].update
    monkeypatch.setattr(experiment.fit.__globals__["Run"], "update", lambda run, loss: (updates.append(run), update(run, loss)))
    assert main(["train", "--out", str(tmp_path)]) == 0
    assert not updates  # all of it was done
    assert read(tmp_path) == first

    longer = experiment.Recipe(tiny.autoencoder, Budget(13, 16, 3e-3), tiny.denoiser, tiny.denoiser_budget)
    monkeypatch.setitem(experiment.DIGITS, "ci", longer)
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "steps was 12, is 13" in error
    assert read(tmp_path) == first


def test_another_seed_in_a_folder_that_is_taken_is_refused(tiny, tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "clim")]) == 0
    before = (tmp_path / "clim" / "measures.json").read_bytes()
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path / "clim"), "--seed", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "autoencoder.safetensors is of another run (generator.seed was 0, is 1" in error
    assert (tmp_path / "clim" / "measures.json").read_bytes() == before


def test_a_run_s_folder_is_a_model_and_train_says_how_to_draw_from_it(tiny, tmp_path, capsys):
    run = tmp_path / "my clim"
    assert main(["train", "--out", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"saved {run / 'model'}; draw from it: python -m tinyldm sample --model '{run}'"
    assert (drawn(tmp_path, "--n", 3, "--model", run) == drawn(tmp_path, "--n", 3, "--model", run / "model")).all()


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A folder with two classes of pictures, red ones and blue ones, and a recipe that trains in a second."""
    recipe = pictures.Recipe(
        AutoencoderConfig(latent_channels=2, channels=(4, 4), blocks=1, groups=4),
        Budget(4, 4, 3e-3),
        UNetConfig(channels=(8, 8), attention=(False, True), blocks=1, heads=2, groups=4),
        Budget(4, 4, 2e-3),
    )
    monkeypatch.setitem(pictures.RECIPES, "ci", recipe)
    for name, color in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "album" / name).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (20, 18), color).save(tmp_path / "album" / name / f"{k}.png")
    return tmp_path / "album"


def test_a_folder_of_pictures_is_trained_and_drawn_in_colour(album, tmp_path, capsys):
    run = tmp_path / "run"
    asked = ["train", "--data", str(album), "--size", "16", "--out", str(run)]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "2 classes: blue, red" in out
    assert json.loads((run / "measures.json").read_text()).keys() == {"training_seconds", "psnr_train"}
    assert json.loads((run / "model" / "classes.json").read_text()) == ["blue", "red"]
    each = drawn(tmp_path, "--n", 4, "--model", run)  # four of two classes
    assert each.shape == (20, 200, 3)
    named, numbered = (drawn(tmp_path, "--n", 4, "--model", run, "--label", label) for label in ("red", "1"))
    assert (named == numbered).all()
    assert main(["sample", "--model", str(run), "--label", "rde"]) == 2
    assert "label='rde' is unknown; did you mean 'red'" in capsys.readouterr().err
    Image.new("RGB", (20, 20)).save(album / "red" / "new.png")
    assert main(asked) == 2
    assert "is of another run (data.image was float32 (6, 3, 16, 16), is float32 (7" in capsys.readouterr().err
    assert main([*asked[:3], "--size", "18", "--out", str(tmp_path / "other")]) == 2
    assert "images: expected sides divisible by 4, got 18x18" in capsys.readouterr().err


def test_pictures_without_classes_are_trained_and_drawn(album, tmp_path, capsys):
    assert main(["train", "--data", str(album / "red"), "--size", "16", "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / "model" / "classes.json").exists()
    assert drawn(tmp_path, "--n", 4, "--model", tmp_path / "run").shape == (20, 200, 3)
    assert main(["sample", "--model", str(tmp_path / "run"), "--label", "0"]) == 2
    assert "cond.label" in capsys.readouterr().err


@pytest.mark.parametrize("classes", [0, 2])
def test_a_path_without_any_data_at_its_end_is_drawn(classes, model, tmp_path, unet_config, build):
    """Zero terminal signal-to-noise ratio: lam has no end, so the times are uniform in t."""
    net = build(replace(unet_config, classes=classes))
    path = DiscreteVP.from_betas(zero_terminal_snr=True)
    replace(model, denoiser=Denoiser(net, path, "v")).save(tmp_path / "model")
    assert drawn(tmp_path, "--n", 3, "--model", tmp_path / "model").shape == (12, 120)
