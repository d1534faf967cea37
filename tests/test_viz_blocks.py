"""A transformer's drawing is the transformer: every parameter is in one box, every size is a module's."""

import re

import matplotlib as mpl

mpl.use("Agg")

import pytest
import torch
from matplotlib import pyplot as plt

from tinyldm.nn import MMDiTConfig
from tinyldm.nn.presets import PRESETS
from tinyldm.viz import blocks, pieces

DIT = MMDiTConfig(classes=10, patch=2, width=32, blocks=3)
TEXT = MMDiTConfig(width=32, blocks=2, tokens=5, vector=7)
LAST = MMDiTConfig(width=32, blocks=1, tokens=5, vector=7)  # a text that ends in its first block
FLUX = MMDiTConfig(width=32, blocks=2, singles=3, tokens=5, vector=7, guidance=True, side=0, rope=(0, 4, 4), qk_norm=True)
ALL = {"dit": DIT, "text": TEXT, "last": LAST, "flux": FLUX, **{n: PRESETS[n]() for n in ("sd3-mmdit", "flux-mmdit")}}
each = pytest.mark.parametrize("config", ALL.values(), ids=ALL)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def on_meta(config):
    with torch.device("meta"):
        return config.build()


def said(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts]


@each
def test_every_parameter_is_in_one_piece(config):
    net = on_meta(config)
    assert sum(p.parameters for p in pieces(net)) == sum(p.numel() for p in net.parameters())


@each
def test_pieces_have_names_of_their_own(config):
    keys = [(p.group, p.stream, p.name) for p in pieces(on_meta(config))]
    assert len(keys) == len(set(keys))


def test_a_stream_weighs_what_its_formula_says():
    """18 w^2 + 15 w a stream and block; an ending text lacks 13 w^2 + 10 w."""
    w, found = 32, pieces(on_meta(TEXT))
    weight = {s: sum(p.parameters for p in found if (p.group, p.stream) == ("double", s)) for s in ("text", "image")}
    assert weight["image"] == 2 * (18 * w**2 + 15 * w)
    assert weight["image"] - weight["text"] == 13 * w**2 + 10 * w


def test_sd3_is_a_third_modulation():
    found = pieces(on_meta(PRESETS["sd3-mmdit"]()))
    w, share = 1536, sum(p.parameters for p in found if p.kind == "modulation")
    assert share == (24 + 23) * 6 * (w**2 + w) + 2 * 2 * (w**2 + w)  # with the ending text's two and the last norm's two


@each
def test_the_drawing_names_the_blocks_the_heads_and_the_sizes(config):
    net = on_meta(config)
    texts = said(blocks(net))
    whole = "\n".join(texts)
    streams = 2 if config.tokens else 1
    assert f"{config.blocks} blocks with {streams} stream" in whole
    assert (f"{config.singles} blocks with 1 stream, text" in whole) == bool(config.singles)
    assert f"{config.heads} heads of {config.width // config.heads}" in whole
    assert whole.count(f"3 × ({config.width:,} → {config.width:,})") == streams + bool(config.singles)
    assert f"{config.in_channels * config.patch**2:,} → {config.width:,}" in whole
    assert ("turns q and k" in whole) == bool(config.rope)
    assert ("the text ends" in whole) == (bool(config.tokens) and not config.singles)
    assert ("guidance 256" in whole) == config.guidance
    assert ("10 labels" in whole) == bool(config.classes)


def test_the_shares_are_of_all_parameters():
    bar = blocks(on_meta(PRESETS["flux-mmdit"]())).axes[1]
    widths = [patch.get_width() for patch in bar.patches]
    assert sum(widths) == pytest.approx(100)
    assert "11.90 B" in bar.get_xlabel()
    assert [int(re.search(r"(\d+) %", t.get_text())[1]) for t in bar.texts] == [round(w) for w in widths if w > 6]


@each
def test_no_text_leaves_its_box(config):
    figure = blocks(on_meta(config))
    figure.canvas.draw()
    ax = figure.axes[0]
    frames = [p.get_window_extent() for p in ax.patches]
    boxes = [t for t in ax.texts if "→" in t.get_text()]
    for text in boxes:
        inner = text.get_window_extent()
        x, y = (inner.x0 + inner.x1) / 2, (inner.y0 + inner.y1) / 2
        own = min((f for f in frames if f.contains(x, y)), key=lambda f: f.width * f.height)
        assert own.x0 <= inner.x0 < inner.x1 <= own.x1, text.get_text()
