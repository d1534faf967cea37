"""Floor 5: the reader's own pictures, of every kind that cameras and programs write, whole or broken."""

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from tinyldm import data
from tinyldm.data.pictures import FORMATS, read, resize


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def as_pixels(picture):
    return ((picture.permute(1, 2, 0) + 1) * 127.5).numpy()


def save(folder, name, array, **options):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name, **options)
    return folder / name


def plain(folder, *names, side=20):
    """Pictures of one colour each, told apart by it."""
    for k, name in enumerate(names):
        save(folder, name, np.full((side, side, 3), 10 * k % 256, dtype=np.uint8))


def test_colour_and_grey_are_read_to_the_bit(tmp_path, pixels):
    np.testing.assert_allclose(as_pixels(read(save(tmp_path, "a.png", pixels))), pixels, atol=1e-4)
    grey = read(save(tmp_path, "b.png", pixels[..., 0]))
    np.testing.assert_allclose(as_pixels(grey), np.stack([pixels[..., 0]] * 3, 2), atol=1e-4)
    assert (grey.shape, grey.dtype) == ((3, 6, 8), torch.float32)


def test_sixteen_bits_span_the_same_range(tmp_path):
    deep = np.array([[0, 65535], [32768, 257]], dtype=np.uint16)
    picture = read(save(tmp_path, "a.png", deep))
    np.testing.assert_allclose(picture[1], deep / 32767.5 - 1, atol=1e-6)
    assert picture.shape == (3, 2, 2)


def test_one_bit_and_print_colours_are_read(tmp_path, pixels):
    picture = read(save(tmp_path, "a.png", pixels[..., 0] > 127))
    np.testing.assert_array_equal(picture[2], np.where(pixels[..., 0] > 127, 1, -1))
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "b.jpg")  # magenta and yellow make red
    np.testing.assert_allclose(as_pixels(read(tmp_path / "b.jpg"))[0, 0], [255, 0, 0], atol=3)


def test_a_palette_is_looked_up(tmp_path):
    indexed = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8))
    indexed.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    indexed.save(tmp_path / "a.png")
    np.testing.assert_allclose(as_pixels(read(tmp_path / "a.png"))[0], [[255, 0, 0], [0, 200, 0]], atol=1e-4)
    indexed.save(tmp_path / "b.gif", transparency=0)
    np.testing.assert_allclose(as_pixels(read(tmp_path / "b.gif"))[0], [[255, 255, 255], [0, 200, 0]], atol=1e-4)


def test_transparent_parts_are_laid_on_white(tmp_path, pixels):
    alpha = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8, 1)
    expected = pixels * (alpha / 255) + 255 * (1 - alpha / 255)
    rgba = save(tmp_path, "a.png", np.concatenate([pixels, alpha], 2))
    np.testing.assert_allclose(as_pixels(read(rgba)), expected, atol=1)
    la = save(tmp_path, "b.png", np.concatenate([pixels[..., :1], alpha], 2))
    np.testing.assert_allclose(as_pixels(read(la)), expected[..., [0, 0, 0]], atol=1)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (8, lambda x: np.rot90(x, 1)),
    ],
)
def test_the_camera_s_orientation_is_applied(orientation, upright, tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_allclose(as_pixels(read(save(tmp_path, "a.png", pixels, exif=exif))), upright(pixels), atol=1e-4)


def test_resizing_is_pillow_s():
    smooth = torch.linspace(-1, 1, 60).reshape(1, 1, 60) * torch.linspace(-0.9, 1, 40).reshape(1, 40, 1)
    picture = Image.fromarray(smooth[0].numpy())
    for size in ((20, 30), (64, 64), (7, 90)):
        expected = np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))
        np.testing.assert_allclose(resize(smooth, size)[0], expected.clip(-1, 1), atol=0.02)
    assert resize(smooth, (40, 60)) is smooth
    assert resize(smooth.expand(5, 2, 40, 60), (8, 8)).shape == (5, 2, 8, 8)


def test_a_folder_gives_middle_squares_with_names_and_labels(tmp_path):
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = [255, 0, 128]
    save(tmp_path, "cats/wide.png", wide)
    save(tmp_path, "cats/deep/tall.PNG", wide.transpose(1, 0, 2))
    save(tmp_path, "apes/flat.jpg", np.full((9, 9), 255, dtype=np.uint8))
    (tmp_path / "apes" / "notes.txt").write_text("no picture")
    (tmp_path / "apes" / "._flat.jpg").write_bytes(b"no picture either")
    columns = data.load("folder", path=tmp_path, size=10, test_share=0).tensors
    assert columns["file"] == ["apes/flat.jpg", "cats/deep/tall.PNG", "cats/wide.png"]
    assert columns["label"].tolist() == [0, 1, 1]
    assert (columns["image"].shape, columns["image"].dtype) == ((3, 3, 10, 10), torch.float32)
    for square in columns["image"][1:]:
        torch.testing.assert_close(square, (torch.tensor([255.0, 0, 128]) / 127.5 - 1)[:, None, None].expand(3, 10, 10))
    assert columns["image"][0].min() > 0.999
    assert data.load("folder", path=str(tmp_path), test_share=0).tensors["image"].shape == (3, 3, 64, 64)


def test_pictures_side_by_side_have_no_label(tmp_path):
    plain(tmp_path, "a.png", "b.png")
    found = data.load("folder", path=tmp_path, test_share=0)
    assert set(found.tensors) == {"image", "file"}
    assert found.classes == []


def test_the_folders_names_are_kept_and_hidden_ones_are_no_classes(tmp_path):
    plain(tmp_path, "dogs/a.png", "cats/b.png", "top.png", ".ipynb_checkpoints/a-checkpoint.png", "cats/.old/c.png")
    found = data.load("folder", path=tmp_path, test_share=0)
    assert found.tensors["file"] == ["cats/b.png", "dogs/a.png", "top.png"]
    assert found.classes == [".", "cats", "dogs"]
    assert [found.classes[k] for k in found.tensors["label"]] == ["cats", "dogs", "."]
    (tmp_path / ".hidden").mkdir()
    plain(tmp_path / ".hidden", "inside/a.png")  # the folder asked for may itself be below a hidden one
    assert len(data.load("folder", path=tmp_path / ".hidden", test_share=0)) == 1


def test_a_program_that_is_called_a_picture_is_not_run(tmp_path, monkeypatch):
    """An EPS file is a program in PostScript: Pillow would start Ghostscript to draw it."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "holiday.eps")
    (tmp_path / "holiday.eps").rename(tmp_path / "holiday.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_a, **_k: pytest.fail("Ghostscript was started"))
    with pytest.raises(ValueError, match=r"holiday\.png' is no picture that can be read"):
        data.load("folder", path=tmp_path, test_share=0)


def test_every_format_is_read_whatever_it_is_called(tmp_path, pixels):
    for kind, suffixes in FORMATS.items():
        for suffix in suffixes:
            Image.fromarray(pixels).save(tmp_path / f"{kind}{suffix}", kind)
    Image.fromarray(pixels).save(tmp_path / "a jpeg.png", "JPEG")
    Image.fromarray(pixels).save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[Image.fromarray(pixels)])
    found = data.load("folder", path=tmp_path, size=6, test_share=0)
    assert len(found) == sum(map(len, FORMATS.values())) + 2


def unpacked(*_arguments, **_options):
    """What Pillow may do with a tag that is shorter than it says."""
    raise struct.error("unpack requires a buffer of 8 bytes")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_malformed_note_of_the_camera_leaves_the_picture_unturned(tmp_path, pixels, monkeypatch):
    good = Image.Exif()
    good[0x0112] = 6
    save(tmp_path, "good.jpg", pixels, exif=good, quality=95)
    note = good.tobytes()
    for name, bad in (("cut", note[:-9]), ("wild", note[:10] + b"\xff" * (len(note) - 10)), ("none", b"Exif\0\0?")):
        picture = read(save(tmp_path, f"{name}.jpg", pixels, exif=bad, quality=95))
        assert picture.shape in ((3, 6, 8), (3, 8, 6)), name  # unturned, unless the orientation was still there
    assert read(tmp_path / "good.jpg").shape == (3, 8, 6)
    monkeypatch.setattr(Image.Image, "getexif", unpacked)
    assert read(tmp_path / "good.jpg").shape == (3, 6, 8)


def test_whatever_pillow_raises_names_the_file(tmp_path, monkeypatch):
    plain(tmp_path, "a.png", "b.png")
    opened = Image.open

    def failing(path, **options):
        return (unpacked if path.name == "a.png" else opened)(path, **options)

    monkeypatch.setattr(Image, "open", failing)
    with pytest.warns(UserWarning, match=r"1 of 2 pictures cannot be read: a\.png"):
        assert len(data.load("folder", path=tmp_path, broken="skip", test_share=0)) == 1


LIMITED = """
import resource, sys
from tinyldm.data import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = load("folder", path=sys.argv[1], size=32, test_share=0).tensors["image"]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, *image.shape, float(image.mean()))
"""


def test_a_small_file_of_many_pixels_takes_little_memory(tmp_path):
    """A file of 5 kB with 36 million pixels: as floats of three channels it would take 432 MB, and copies of that."""
    Image.new("1", (6000, 6000), 1).save(tmp_path / "vast.png")
    assert (tmp_path / "vast.png").stat().st_size < 20_000
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    grown, *shape, mean = map(float, done.stdout.split())
    assert shape == [1, 3, 32, 32]
    assert mean == 1
    assert grown < 300


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_a_large_picture_is_the_one_that_was_shrunk_from_all_its_pixels(mode, tmp_path):
    across = np.linspace(0, 255, 700)[None] * np.ones((600, 1))
    if mode == "I;16":
        picture = Image.fromarray((across * 257).astype(np.uint16))
    else:
        picture = Image.fromarray(across.astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "a.png")
    small = data.load("folder", path=tmp_path, size=16, test_share=0).tensors["image"][0]
    whole = resize(read(tmp_path / "a.png")[:, :, 50:650], (16, 16))
    assert read(tmp_path / "a.png", square=16).shape[1] in range(64, 128)
    assert (small - whole).abs().max() < (0.2 if mode == "1" else 0.02)  # one bit: dots, whose share is the grey


def test_the_split_goes_by_name_alone(tmp_path):
    names = [f"{k:03}.png" for k in range(300)]
    plain(tmp_path, *names, side=2)

    def files(split, **options):
        return data.load("folder", split, size=2, path=tmp_path, **options).tensors["file"]

    train, test = files("train"), files("test")
    assert sorted(train + test) == names
    assert 15 <= len(test) <= 45
    assert set(test) <= set(files("test", test_share=0.4))
    (tmp_path / "000.png").unlink()
    plain(tmp_path, *(f"new{k}.png" for k in range(50)), side=2)
    assert set(files("test")) >= set(test) - {"000.png"}
    assert not set(files("test")) & set(train)


@pytest.fixture
def with_broken(tmp_path):
    plain(tmp_path, "good.png", "sub/fine.png")
    (tmp_path / "sub" / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:50])
    (tmp_path / "fake.jpg").write_bytes(b"this is a text")
    (tmp_path / "empty.gif").write_bytes(b"")
    return tmp_path


def test_a_broken_picture_is_refused_by_name(with_broken):
    with pytest.raises(ValueError, match=r"path: '.*empty\.gif' is no picture that can be read .*; broken='skip' leaves"):
        data.load("folder", path=with_broken, test_share=0)


def test_broken_pictures_are_left_out_with_a_warning_that_names_them(with_broken):
    with pytest.warns(UserWarning, match=r"path: 3 of 5 pictures cannot be read: empty\.gif, fake\.jpg, sub/cut\.png"):
        columns = data.load("folder", path=with_broken, broken="skip", test_share=0).tensors
    assert columns["file"] == ["good.png", "sub/fine.png"]
    assert columns["label"].tolist() == [0, 1]
    assert len(columns["image"]) == 2
    (with_broken / "good.png").unlink()
    (with_broken / "sub" / "fine.png").unlink()
    with pytest.warns(UserWarning, match="3 of 3"), pytest.raises(ValueError, match="train pictures that can be read"):
        data.load("folder", path=with_broken, broken="skip", test_share=0)


def test_whole_folders_are_read_without_a_warning(tmp_path):
    plain(tmp_path, "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("folder", path=tmp_path, broken="skip", test_share=0)


def test_numbers_without_a_range_are_no_picture(tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif' is no picture that can be read \(its pixels are floating-point"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "path: expected a folder, got None, which is none"),
        ({"path": "nowhere"}, "path: expected a folder, got 'nowhere', which is none"),
        ({"path": "bare"}, r"path: expected a folder with pictures \(\.png, .*\), got 'bare' with none"),
        ({"path": "one", "test_share": 1.0}, "pictures that are train at test_share=1, got 'one', none of whose 1 is"),
        ({"path": "one", "test_share": 2}, "test_share: expected a share from 0 to 1, got 2"),
        ({"path": "one", "broken": "ignore"}, "broken='ignore' is unknown"),
    ],
)
def test_folders_that_hold_nothing_are_refused(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain(tmp_path, "one/a.png")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "readme.txt").write_text("no pictures here")
    with pytest.raises(ValueError, match=said):
        data.load("folder", **options)
