"""The command line asked in words."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_text_model import ENCODER, TOKENIZER, UNET, lively

from tinyldm import Text
from tinyldm.__main__ import main


@pytest.fixture
def folder(model, tmp_path):
    """A model that reads, untrained, in a folder."""
    denoiser = replace(model.denoiser, net=lively(UNET.seeded(1)))
    replace(model, denoiser=denoiser, text=Text(TOKENIZER, lively(ENCODER.seeded(0)))).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def draw(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    out = tmp_path / "drawn.png"

    def drawn(*arguments):
        code = main(["sample", "--model", str(folder), "--n", "2", "--steps", "2", "--out", str(out), *arguments])
        return np.asarray(Image.open(out)) if code == 0 else code

    return drawn


def test_a_text_is_what_is_drawn(draw):
    red = draw("--text", "a red circle")
    assert (red == draw("--text", "a red circle")).all()
    assert (red != draw("--text", "a blue square")).any()
    assert (draw() == draw("--text", "")).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "a red circel"], "got 'circel' (did you mean 'circle'?)"),
        (["--text", "a circle", "--label", "1"], "text: expected only one of the two, got 'a circle' and label='1'"),
        (["--text", "a circle", "--model", "digits"], "cond: expected a Condition or labels: this model cannot read"),
    ],
)
def test_a_mistake_in_words_is_one_line(arguments, said, draw, capsys):
    assert draw(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
