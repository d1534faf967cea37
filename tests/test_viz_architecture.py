"""The drawing of a U-Net: what it shows is what ran."""

import matplotlib as mpl

mpl.use("Agg")

import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from tinyldm import Condition
from tinyldm.nn import UNetConfig
from tinyldm.nn.presets import PRESETS
from tinyldm.viz import architecture, parts

DEEP = UNetConfig(in_channels=2, channels=(8, 12, 16), attention=(0, 1, 0), blocks=2, heads=2, groups=4, classes=3)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def meta(name):
    with torch.device("meta"):
        return PRESETS[name]().build()


def hooks(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_what_is_handed_over_is_what_the_named_part_returned(build, rng):
    """The last channels of a joint are, to the bit, the output of the part that the drawing connects with it."""
    net = build(DEEP)
    found = parts(net, 8)
    outputs, joints = {}, {}
    for part in found:
        module = net.get_submodule(part.name)
        module.register_forward_hook(lambda m, i, out, name=part.name: outputs.update({name: out}))
        module.register_forward_pre_hook(lambda m, i, name=part.name: joints.update({name: i[0]}))
    with torch.no_grad():
        net(torch.randn(1, 2, 8, 8, generator=rng), torch.tensor(5.0))
    pairs = [(part.name, part.skip) for part in found if part.skip]
    assert len(pairs) == 9
    for name, skip in pairs:
        torch.testing.assert_close(joints[name][:, -outputs[skip].shape[1] :], outputs[skip], rtol=0, atol=0)
    assert {part.name: part.shape for part in found} == {n: tuple(o.shape[1:]) for n, o in outputs.items()}
    assert [part.name for part in found] == list(outputs), "not in the order of the work"


@pytest.mark.parametrize(
    ("name", "side", "skips", "blocks", "middle"),
    [("sd15-unet", 64, 12, 16, (1280, 8, 8)), ("sdxl-unet", 128, 9, 70, (1280, 32, 32))],
)
def test_published_networks_are_read_without_memory(name, side, skips, blocks, middle):
    net = meta(name)
    found = parts(net, side)
    assert sum(part.skip is not None for part in found) == skips
    assert sum(part.attention for part in found) == blocks
    assert {part.shape for part in found if part.name.startswith("middle")} == {middle}
    assert found[-1].shape == (4, side, side)
    assert hooks(net) == 0


def test_a_network_with_labels_is_read_on_the_meta_device_too():
    with torch.device("meta"):
        net = DEEP.build()
    assert parts(net, 8)[0].shape == (8, 8, 8)


def test_the_picture_has_a_box_for_every_part_and_a_line_for_every_skip(build):
    net = build(DEEP)
    found = parts(net, 16)
    ax = architecture(net, 16).axes[0]
    boxes = [p for p in ax.patches if isinstance(p, Rectangle)]
    assert len(boxes) == len(found)
    heights = [b.get_height() for b in boxes]
    assert heights[0] == pytest.approx(2 * min(heights)), "a quarter of the side is half as high"
    wide = {part.name: box.get_width() for part, box in zip(found, boxes, strict=True)}
    assert wide["down.6"] == pytest.approx(2**0.5 * wide["conv_in"]), "twice the channels, the root of two as wide"
    attends = {to_hex(box.get_facecolor()) for part, box in zip(found, boxes, strict=True) if part.attention}
    assert len(attends) == 1
    brackets = [line for line in ax.lines if len(line.get_xdata()) == 4]
    names = [part.name for part in found]
    drawn = {(names[round(line.get_xdata()[0])], names[round(line.get_xdata()[-1])]) for line in brackets}
    assert drawn == {(part.skip, part.name) for part in found if part.skip}
    said = [text.get_text() for text in ax.texts]
    assert {"16 × 16", "8 × 8", "4 × 4", "middle"} <= set(said)
    assert [int(text) for text in said if text.isdigit()] == [part.shape[0] for part in found]


def test_transformer_blocks_are_counted_in_the_boxes():
    ax = architecture(meta("sdxl-unet"), 128).axes[0]
    said = [text.get_text() for text in ax.texts]
    assert said.count("10") == 6  # two on the way down, one in the middle, three on the way up
    assert said.count("2") == 5


@pytest.mark.parametrize("draw", [parts, architecture])
@pytest.mark.parametrize(("side", "said"), [(6, "divisible by 4"), (0, "side"), (2.5, "side"), (True, "side")])
def test_a_side_that_does_not_fit_is_refused_and_no_hook_stays(draw, side, said, build):
    net = build(DEEP)
    with pytest.raises(ValueError, match=said):
        draw(net, side)
    assert hooks(net) == 0


def test_reading_a_network_changes_nothing(build, rng):
    net = build(DEEP)
    x, t, cond = torch.randn(1, 2, 8, 8, generator=rng), torch.tensor(3.0), Condition(torch.tensor([1]))
    before = net(x, t, cond)
    parts(net, 8)
    torch.testing.assert_close(net(x, t, cond), before, rtol=0, atol=0)
