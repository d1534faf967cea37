"""Pictures and sliders: exact gray levels, figures that say what they show, and a flipbook that shows the right frame."""

import io
import math

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

import tinyldm as tl
from tinyldm.viz import board, color, contact_sheet, curves, figure, gray, noising, pipeline, save_png
from tinyldm.viz.widgets import pixels, png


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


# ---- pixels


def test_ink_is_black_and_paper_white():
    values = torch.tensor([-1.0, 1.0, 0.0, -3.0, 3.0, 0.5]).reshape(1, 1, 2, 3)
    levels = gray(values)
    assert levels.dtype == np.uint8
    assert levels.shape == (1, 2, 3)
    # 127.5 and 63.75 are the exact levels of 0 and 0.5; what is beyond the range is drawn as its end
    assert levels.tolist() == [[[255, 0, 128], [255, 0, 64]]]
    assert gray(values.half()).tolist() == gray(values.double()).tolist()
    assert gray(values.clone().requires_grad_()).tolist() == levels.tolist()


def test_a_contact_sheet_goes_row_by_row_in_white_frames():
    images = torch.tensor([1.0, 0.0, -1.0])[:, None, None, None].expand(3, 1, 1, 2)
    sheet = contact_sheet(images, cols=2, gap=1)
    w, b, g = 255, 0, 128
    assert sheet.dtype == np.uint8
    assert sheet.tolist() == [
        [w, w, w, w, w, w, w, w],
        [w, b, b, w, w, g, g, w],
        [w, w, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w],  # the third image is white, the fourth place empty
        [w, w, w, w, w, w, w, w],
    ]


@pytest.mark.parametrize(("n", "cols", "gap"), [(1, 1, 0), (6, 3, 2), (7, 3, 1), (2, 5, 2)])
def test_every_image_is_where_it_belongs_on_a_contact_sheet(n, cols, gap, rng):
    images = torch.rand(n, 1, 4, 3, generator=rng) * 2 - 1
    sheet = contact_sheet(images, cols, gap)
    high, wide = 4 + 2 * gap, 3 + 2 * gap
    assert sheet.shape == (math.ceil(n / cols) * high, cols * wide)
    for i, image in enumerate(gray(images)):
        top, left = (i // cols) * high + gap, (i % cols) * wide + gap
        assert (sheet[top : top + 4, left : left + 3] == image).all()


def test_a_contact_sheet_of_colours_is_in_colour(rng):
    images = torch.rand(3, 3, 2, 4, generator=rng) * 2 - 1
    sheet = contact_sheet(images, cols=2, gap=1)
    assert sheet.shape == (8, 12, 3)
    for picture, (top, left) in zip(color(images), ((1, 1), (1, 7), (5, 1))):
        assert (sheet[top : top + 2, left : left + 4] == picture).all()
    assert (sheet[4:, 6:] == 255).all()
    for shape in ((2, 2, 4, 4), (2, 4, 4)):
        with pytest.raises(ValueError, match="images: expected"):
            contact_sheet(torch.zeros(shape), 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_file_holds_the_contact_sheet(channels, tmp_path, rng):
    images = torch.rand(3, channels, 4, 4, generator=rng) * 2 - 1
    save_png(images, tmp_path / "deep" / "a.png", cols=2)
    assert (decode((tmp_path / "deep" / "a.png").read_bytes()) == contact_sheet(images, 2)).all()
    save_png(images[:1], tmp_path / "one.png", cols=1, gap=0)
    one = decode((tmp_path / "one.png").read_bytes())
    assert (one == (gray(images[:1]) if channels == 1 else color(images[:1]))[0]).all()
    with pytest.raises(ValueError, match="images: expected"):
        save_png(torch.zeros(1, 2, 4, 4), tmp_path / "two.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "one.png"]


def test_a_png_gives_back_its_pixels(rng):
    array = torch.randint(256, (5, 7), generator=rng).to(torch.uint8).numpy()
    assert (decode(png(array)) == array).all()
    assert (pixels(array) == array).all()
    with pytest.raises(ValueError, match=r"draw: expected uint8 .* float64"):
        pixels(array / 255)
    fig, axes = figure(height=1.0)
    axes[0, 0].plot([0, 1])
    drawn = pixels(fig)
    assert drawn.shape[2] == 3
    assert drawn.min() < 50 < 200 < drawn.max()
    assert not plt.get_fignums()  # a slider that leaves its figures open fills the memory


# ---- figures


def test_a_board_shows_every_image_once_with_its_labels(images):
    fig = board(images, 2, row_labels=["first", "second", "third"], col_labels=["left", "right"])
    axes = np.reshape(fig.axes, (3, 2))
    for i, want in enumerate(gray(images)):
        (shown,) = axes.flat[i].images
        assert (shown.get_array() == want).all()
        assert shown.get_clim() == (0, 255)  # no stretching: a pale image stays pale
    assert not axes[2, 1].images
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["first", "second", "third"]
    assert [ax.get_title() for ax in axes[0]] == ["left", "right"]


def test_a_board_shows_colours_as_they_are():
    fig = board(torch.tensor([[-1.0, 0.0, 1.0], [2.0, -1.0, -9.0]])[:, :, None, None], 2)
    shown = [ax.images[0].get_array().tolist() for ax in fig.axes]
    assert shown == [[[[0, 128, 255]]], [[[255, 0, 0]]]]  # and what lies outside [-1, 1] is the nearest of the two


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (4, 8, 8)])
def test_a_board_takes_gray_and_coloured_images_only(shape):
    with pytest.raises(ValueError, match=r"images: expected \(N, 1, H, W\) or \(N, 3, H, W\)"):
        board(torch.zeros(shape), 2)


@pytest.mark.parametrize("smooth", [1, 2, 5, 10])
def test_a_smoothed_curve_is_the_mean_over_its_neighbours(smooth):
    _, axes = figure(1, 1)
    curves(axes[0, 0], {"a": torch.arange(20.0), "b": torch.arange(20.0) ** 2}, smooth=smooth)
    for line, values in zip(axes[0, 0].lines, (np.arange(20.0), np.arange(20.0) ** 2), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(values, smooth)
        assert np.allclose(line.get_ydata(), windows.mean(1))
        assert (line.get_xdata() >= 0).all()
        assert (line.get_xdata() <= 19).all()
        # a straight line stays where it was: the window is centred, to half a step
        if values[2] == 2:
            assert np.abs(line.get_xdata() - line.get_ydata()).max() <= 0.5
    assert [line.get_label() for line in axes[0, 0].lines] == ["a", "b"]


def test_the_first_picture_of_a_noising_is_the_clean_one(model, rng):
    x0, eps = torch.randn(2, 2, 2, 4, 4, generator=rng)
    fig = noising(model, x0, eps, times=[0.0, 0.4, 1.0])
    axes = np.reshape(fig.axes, (2, 3))
    path = model.denoiser.path
    for column, t in enumerate((0.0, 0.4, 1.0)):
        want = gray(model.space.decode(path.marginal(x0, eps, torch.tensor(t, dtype=torch.float64))))
        for row in range(2):
            assert (axes[row, column].images[0].get_array() == want[row]).all()
    titles = [ax.get_title() for ax in axes[0]]
    assert titles[0].split() == ["t", "=", "0", "α", "=", "1.00", "σ", "=", "0.00"]
    assert titles[2].split() == ["t", "=", "1", "α", "=", "0.01", "σ", "=", "1.00"]


def test_the_pipeline_is_read_from_the_model(model):
    fig = pipeline(model, image=(1, 8, 8))
    text = " ".join(t.get_text() for t in fig.axes[0].texts)
    assert "1 × 8 × 8" in text
    assert "2 × 4 × 4" in text
    for module in (model.space.autoencoder.encoder, model.space.autoencoder.decoder, model.denoiser.net):
        assert f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M" in text
    fig.canvas.draw()  # the arrows and the mathematics are laid out only now


def test_the_colours_differ_in_lightness():
    # what a colour-blind reader, or a black-and-white printer, has left
    def lightness(name):
        r, g, b = mpl.colors.to_rgb(tl.viz.COLORS[name])
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert abs(lightness("blue") - lightness("orange")) > 0.2
    assert len(set(tl.viz.COLORS.values())) == len(tl.viz.COLORS)
