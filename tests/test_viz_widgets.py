"""Sliders: a flipbook that shows the right frame of every choice, and pictures that follow a live slider."""

import base64
import io
import itertools
import json
import math
import re

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from tinyldm.viz import figure, flipbook, live


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


# ---- the flipbook


CONTROLS = {"digit": [3, 5], "guidance": [0.0, 1.5, 4.0], "steps": [1, 2, 3, 4]}


def frame(digit, guidance, steps):
    """A picture that is different for every choice, and not symmetric."""
    shade = np.array([[digit, 16 * guidance], [8 * steps, 0], [255, 8 * digit]])
    return shade.astype(np.uint8)


@pytest.fixture(params=[1, 3])
def book(request):
    return flipbook(frame, zoom=request.param, **CONTROLS), request.param


def shown(page, indices):
    """What the page shows for these positions of the sliders: its own formulas, computed here, on its own sheet."""
    sizes = [len(t) for t in json.loads(re.search(r"texts = (\[\[.*?\]\]);", page)[1])]
    start, step = re.findall(r"index = (.+);\n", page)
    step = step.replace("texts[i].length", "size").replace("Number(input.value)", "value")
    index = int(start)
    for value, size in zip(indices, sizes, strict=True):
        index = eval(step, {"index": index, "size": size, "value": value})
    places = re.search(r"backgroundPosition = share\((.+?), (\d+)\) \+ \" \" \+ share\((.+?), (\d+)\);", page)
    percent = re.search(r"n > 1 \? `\$\{(.+?)\}%` : \"0%\"", page)[1]
    cols, rows = int(places[2]), int(places[4])
    shares = []
    for formula, n in ((places[1], cols), (places[3], rows)):
        k = eval(formula.replace("Math.", "math."), {"index": index, "math": math})
        shares.append(eval(percent, {"k": k, "n": n}) / 100 if n > 1 else 0)
    sheet = decode(base64.b64decode(re.search(r"url\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", page)[1]))
    assert f"background-size:{100 * cols}% {100 * rows}%" in page
    height, width = sheet.shape[0] // rows, sheet.shape[1] // cols
    shown_width, most = (int(re.search(pattern, page)[1]) for pattern in (r"aspect-ratio:(\d+)/", r'style="max-width:(\d+)px'))
    assert shown_width == most
    # what CSS means by a percentage: that share of what the sheet is larger than the window
    top, left = round(shares[1] * (sheet.shape[0] - height)), round(shares[0] * (sheet.shape[1] - width))
    return most // width, sheet[top : top + height, left : left + width]


MIDDLE = {name: values[len(values) // 2] for name, values in CONTROLS.items()}


def test_the_flipbook_shows_the_frame_of_every_choice(book):
    made, zoom = book
    for indices in itertools.product(*(range(len(v)) for v in CONTROLS.values())):
        chosen = {name: values[i] for (name, values), i in zip(CONTROLS.items(), indices, strict=True)}
        page_zoom, picture = shown(made.page, indices)
        assert page_zoom == zoom
        assert (picture == (frame(**chosen) & 0xF8)).all(), chosen  # 32 levels of gray


def test_the_flipbook_has_a_slider_for_every_control(book):
    page = book[0].page
    sliders = re.findall(r'<input type="range" min="0" max="(\d+)" value="(\d+)" aria-label="(\w+)">', page)
    assert sliders == [(str(len(v) - 1), str(len(v) // 2), name) for name, v in CONTROLS.items()]
    texts = json.loads(re.search(r"texts = (\[\[.*?\]\]);", page)[1])
    assert texts == [[str(x) for x in values] for values in CONTROLS.values()]


def test_the_flipbook_needs_nothing_from_outside_and_has_a_printed_form(book):
    made, _ = book
    assert not re.search(r"https?:|src=|@import|\bfetch\(|import\(|href=|url\((?!data:)", made.page)
    bundle = made._repr_mimebundle_()
    assert bundle["text/html"] == made.page
    assert (decode(base64.b64decode(bundle["image/png"])) == frame(**MIDDLE)).all()  # what the sliders start at
    assert "<" not in bundle["text/plain"]


def test_a_flipbook_of_figures_has_colours():
    def draw(height):
        fig, axes = figure(height=1.0)
        axes[0, 0].bar([0], [height], color="red")
        return fig

    zoom, picture = shown(flipbook(draw, height=[1, 2]).page, [1])
    assert zoom == 1
    assert picture.ndim == 3
    assert ((picture[..., 0] > 200) & (picture[..., 1] < 50)).any()
    assert not plt.get_fignums()


def test_names_and_values_cannot_break_out_of_the_page():
    page = flipbook(lambda a: np.zeros((2, 2), np.uint8), a=["</script><b>", "x"]).page
    assert page.count("</script>") == 1
    assert "<b>" not in page


def test_a_flipbook_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match=r"draw.*one size"):
        flipbook(lambda n: np.zeros((n, 2), np.uint8), n=[1, 2])
    with pytest.raises(ValueError, match="at least one value"):
        flipbook(lambda n: np.zeros((2, 2), np.uint8), n=[])
    with pytest.raises(ValueError, match="uint8"):
        flipbook(lambda n: np.zeros((2, 2)), n=[1])
    assert shown(flipbook(lambda n: np.zeros((2, 2), np.uint8), n=[1]).page, [0])[1].shape == (2, 2)


# ---- live sliders


def test_moving_a_slider_changes_the_picture():
    panel = live(frame, zoom=2, **CONTROLS)
    *sliders, problem, image = panel.children
    assert [s.description for s in sliders] == list(CONTROLS)
    assert (decode(image.value) == frame(**MIDDLE)).all()
    assert (int(image.width), int(image.height)) == (4, 6)
    before = image.value
    sliders[1].value = 4.0
    assert image.value != before
    assert (decode(image.value) == frame(5, 4.0, 3)).all()
    sliders[2].value = 4
    assert (decode(image.value) == frame(5, 4.0, 4)).all()
    assert problem.value == ""


@pytest.mark.parametrize("error", [ValueError, FloatingPointError, RuntimeError, ZeroDivisionError])
def test_an_error_while_drawing_becomes_text(error):
    def draw(n):
        if n == 2:
            raise error("n is two")
        return np.full((2, 2), n, np.uint8)

    *_, problem, image = (panel := live(draw, n=[2, 1, 3])).children
    slider = panel.children[0]
    slider.value = 2
    assert "n is two" in problem.value
    slider.value = 3
    assert problem.value == ""
    assert decode(image.value).tolist() == [[3, 3], [3, 3]]
