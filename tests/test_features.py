"""Feature networks: shapes, locality, and VGG-16 against a plain torch.nn.Sequential with the same random weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import uniform_filter
from torch import nn

from tinyldm import seeded
from tinyldm.losses import DAMAGES, damaged, perceptual_distance, pretext_loss, recoloured, turned
from tinyldm.nn import FeatureNetConfig, VGG16Features, weights

WIDTHS = [2, 2, "M", 3, 3, "M", 4, 4, 4, "M", 5, 5, 5, "M", 5, 5, 5, "M"]  # VGG's configuration D, narrow
TAPS = [3, 8, 15, 22, 29]  # torchvision's numbers of relu1_2, relu2_2, relu3_3, relu4_3, relu5_3


def vgg(widths):
    """torchvision's ``vgg16().features``, written out."""
    layers, cin = [], 3
    for width in widths:
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(cin, width, 3, padding=1), nn.ReLU()]
            cin = width
    return nn.Sequential(*layers)


@pytest.fixture
def files(tmp_path, rng):
    """A narrow VGG, its file with a classifier, and a file of LPIPS weights."""
    net = vgg(WIDTHS)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=rng) / 3
    state = {f"features.{name}": p.data for name, p in net.named_parameters()}
    save_file({**state, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.safetensors")
    lines = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=rng) for i, c in enumerate((2, 3, 4, 5, 5))}
    save_file(lines, tmp_path / "lpips.safetensors")
    return net, state, lines, tmp_path


def test_vgg_features_are_those_of_a_plain_sequential(files, rng):
    net, _, _, folder = files
    x = torch.rand(2, 3, 32, 48, generator=rng) * 2 - 1
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    h, expected = ((x + 1) / 2 - mean) / std, []
    for i, layer in enumerate(net):
        h = layer(h)
        if i in TAPS:
            expected.append(h)
    found = VGG16Features.from_file(folder / "vgg.safetensors")(x)
    assert len(found) == 5
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_vgg_is_frozen_but_pictures_take_gradients(files, rng):
    module = VGG16Features.from_file(files[3] / "vgg.safetensors")
    x, y = (torch.rand(1, 3, 32, 32, generator=rng) for _ in range(2))
    y.requires_grad_()
    perceptual_distance(module, x, y).sum().backward()
    assert y.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in module.parameters())
    assert module.weights is None


def test_lpips_weights_multiply_the_squared_differences(files, rng):
    _, _, lines, folder = files
    module = VGG16Features.from_file(folder / "vgg.safetensors", folder / "lpips.safetensors")
    x, y = (torch.rand(2, 3, 32, 32, generator=rng) for _ in range(2))
    total = torch.zeros(2)
    for f, g, line in zip(module(x), module(y), lines.values()):
        d = (nn.functional.normalize(f, dim=1) - nn.functional.normalize(g, dim=1)) ** 2
        total += nn.functional.conv2d(d, line).mean((1, 2, 3))
    torch.testing.assert_close(perceptual_distance(module, x, y, module.weights), total, rtol=1e-4, atol=1e-6)


def test_the_real_sizes_have_the_names_and_the_number_of_weights_of_vgg16():
    """138,357,544 parameters, of which the classifier has 123,642,856."""
    with torch.device("meta"):
        net = vgg([64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"])
    state = {f"features.{name}": p.data for name, p in net.named_parameters()}
    module = VGG16Features(state)
    assert sum(p.numel() for p in module.parameters()) == 138_357_544 - 123_642_856
    assert [len(block) for block in module.blocks] == [2, 2, 3, 3, 3]


def test_files_that_are_not_vgg_are_refused(files, tmp_path):
    _, state, lines, folder = files
    with pytest.raises(FileNotFoundError, match="path: no file at"):
        VGG16Features.from_file(tmp_path / "nowhere.safetensors")
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="not a safetensors file"):
        VGG16Features.from_file(tmp_path / "vgg.pth")
    partial = {name: t for name, t in state.items() if not name.startswith("features.28")}
    save_file(partial, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match=r"a file without features\.28\.weight, features\.28\.bias"):
        VGG16Features.from_file(tmp_path / "partial.safetensors")
    save_file({**state, "features.5.weight": torch.zeros(3, 2, 1, 1)}, tmp_path / "misshapen.safetensors")
    with pytest.raises(ValueError, match=r"features\.5\.weight: expected \(cout, cin, 3, 3\)"):
        VGG16Features.from_file(tmp_path / "misshapen.safetensors")
    save_file(dict(list(lines.items())[:4]), tmp_path / "lpips4.safetensors")
    with pytest.raises(ValueError, match=r"without lin4\.model\.1\.weight"):
        VGG16Features.from_file(folder / "vgg.safetensors", tmp_path / "lpips4.safetensors")
    with pytest.raises(ValueError, match="x: expected 3 channels, got 1 channels"):
        VGG16Features.from_file(folder / "vgg.safetensors")(torch.zeros(1, 1, 32, 32))


SMALL = FeatureNetConfig(widths=(4, 6, 8), heads=(2, 4, 5))


def test_the_stages_halve_the_side_and_see_nearby_pixels_only(build, rng):
    net = build(SMALL).double()
    x = torch.rand(1, 3, 32, 48, generator=rng).double().requires_grad_()
    maps = net.features(x)
    assert [tuple(f.shape) for f in maps] == [(1, 4, 32, 48), (1, 6, 16, 24), (1, 8, 8, 12)]
    for f, reach in zip(maps, (5, 14, 32)):  # two 3x3 convolutions a stage: 1 + 4, 2 * (1 + 4) + 4, ...
        x.grad = None
        f[0, :, f.shape[2] // 2, f.shape[3] // 2].sum().backward(retain_graph=True)
        rows = (x.grad.abs().sum((0, 1)) > 0).any(1).sum().item()
        assert rows <= reach
    assert [tuple(a.shape) for a in net(x)] == [(1, 2), (1, 4), (1, 5)]


def test_brightness_is_not_seen_and_flat_pictures_look_alike(build, rng):
    net, x = build(SMALL).double(), torch.rand(2, 3, 16, 16, generator=rng).double() - 0.5
    for f, g in zip(net.features(x), net.features(x + 0.3)):
        torch.testing.assert_close(f, g)
    flat = [net.features(torch.full((1, 3, 16, 16), v).double()) for v in (-0.7, 0.1)]
    for f, g in zip(*flat):
        torch.testing.assert_close(f, g)
        torch.testing.assert_close(f, f[:, :, :1, :1].expand_as(f))  # the border is no edge


def test_the_shipped_size():
    with torch.device("meta"):
        net = FeatureNetConfig().build()
    assert 300_000 < sum(p.numel() for p in net.parameters()) < 800_000


def test_feature_networks_are_saved_and_refused_like_all_others(build, tmp_path, rng):
    net, x = build(SMALL), torch.rand(1, 3, 16, 16, generator=rng)
    weights.save_pretrained(net, tmp_path / "features")
    for a, b in zip(weights.from_pretrained(tmp_path / "features").features(x), net.features(x)):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="x: expected height and width divisible by 4, got 16x18"):
        net.features(torch.zeros(1, 3, 16, 18))
    with pytest.raises(ValueError, match="widths: expected at least one stage"):
        FeatureNetConfig(widths=())
    with pytest.raises(ValueError, match="heads: expected at least one question"):
        FeatureNetConfig(heads=(3, 0))


def test_each_picture_gets_its_own_damage_and_turn(rng):
    x = torch.rand(5, 3, 8, 8, generator=rng) * 1.6 - 0.8
    kinds = torch.tensor([0, 1, 2, 3, 4])
    y = damaged(x, kinds, rng)
    assert torch.equal(y[0], x[0])
    assert all(not torch.equal(y[k], x[k]) for k in range(1, len(DAMAGES)))
    edges = [(v[:, :, 1:] - v[:, :, :-1]).square().mean() for v in (x[1], y[1], x[2], y[2], x[3], y[3])]
    assert edges[1] < edges[0]  # blurred
    assert edges[3] > edges[2]  # noisy
    assert edges[5] < edges[4]  # coarse
    assert y[4].unique().numel() <= 25
    z = turned(x, torch.tensor([0, 1, 2, 3, 0]))
    assert torch.equal(z[0], x[0])
    assert torch.equal(z[1, :, 0], x[1, :, :, -1])  # a quarter against the clock: the right edge is on top
    assert torch.equal(z[2], x[2].flip(1, 2))
    assert torch.equal(torch.rot90(z[3], 1, (1, 2)), x[3])
    assert recoloured(x, rng).abs().max() <= 1


def test_damages_are_those_of_numpy_and_scipy_at_their_strengths():
    """Of each kind several pictures, with the strengths and the noise that the generator hands out, in this order."""
    kinds = torch.arange(5).repeat(4)
    x = torch.rand(20, 3, 6, 8, dtype=torch.float64, generator=seeded(1)) * 2.2 - 1.1
    chance = seeded(2)
    strengths = torch.rand(20, 1, 1, 1, generator=chance).double().flatten().tolist()
    noise = torch.randn(x.shape, dtype=torch.float64, generator=chance).numpy()
    for y, kind, v, s, n in zip(damaged(x, kinds, seeded(2)).numpy(), kinds.tolist(), x.numpy(), strengths, noise, strict=True):
        mean_of_nine = uniform_filter(v, (1, 3, 3), mode="nearest")
        mean_of_four = v.reshape(3, 3, 2, 4, 2).mean((2, 4)).repeat(2, 1).repeat(2, 2)
        tones = np.round(12 - 10 * s)
        truth = {
            "none": v,
            "blurred": v + (0.4 + 0.6 * s) * (mean_of_nine - v),
            "noisy": v + (0.03 + 0.17 * s) * n,
            "coarse": v + (0.4 + 0.6 * s) * (mean_of_four - v),
            "few tones": np.round(v * tones) / tones,
        }[list(DAMAGES)[kind]]
        np.testing.assert_allclose(y, truth.clip(-1, 1), rtol=1e-6, atol=1e-6)


def test_each_colour_plane_gets_its_own_contrast_and_brightness():
    x = torch.rand(4, 3, 2, 2, dtype=torch.float64, generator=seeded(1)) * 2 - 1
    gain, offset = torch.rand(2, 4, 3, 1, 1, generator=seeded(2)).numpy()
    truth = x.numpy() * (0.7 + 0.6 * gain) + (0.4 * offset - 0.2)
    np.testing.assert_allclose(recoloured(x, seeded(2)), truth.clip(-1, 1), rtol=1e-6)


def test_guessing_costs_the_logs_of_the_numbers_of_answers(build, rng):
    net = build(SMALL)
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    x = torch.rand(6, 3, 8, 8, generator=rng) * 2 - 1
    loss = pretext_loss(net, x, torch.tensor([0, 1] * 3), rng)
    torch.testing.assert_close(loss, torch.full((6,), 2 * 4 * 5.0).log())
    with pytest.raises(ValueError, match="x: expected square pictures"):
        pretext_loss(net, x[..., :4], torch.zeros(6).long(), rng)


def test_the_questions_can_be_learned(build, rng):
    """Two textures, stripes and dots: after 60 steps the answers are better than guesses."""
    net = build(SMALL).train()
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    stripes = torch.sin(torch.arange(16.0))[:, None].expand(16, 16)
    dots = stripes * stripes.T
    photograph = torch.tensor([0, 1] * 16)
    x = torch.stack([stripes, dots])[photograph][:, None].repeat(1, 3, 1, 1)
    losses = []
    for _ in range(60):
        loss = pretext_loss(net, x, photograph, rng).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.8 * torch.tensor(40.0).log()
