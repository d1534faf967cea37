"""What is written of a model can be loaded, or nothing is written; what is loaded is one model, or it is refused."""

import json
import os
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from oracles import Trigonometric
from torch import nn

import tinyldm as tl
from tinyldm import VP, Denoiser, LatentDiffusion, LatentSpace, seeded


def on(model, **change):
    """The model with another path, network or parametrisation."""
    return replace(model, denoiser=replace(model.denoiser, **change))


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def drawn(model):
    return model.sample(2, [0, 2], steps=3, generator=seeded(0))


@dataclass(frozen=True)
class Bent(VP):
    """A library path with one number more."""

    bend: float = 1.5

    def alpha(self, t):
        return super().alpha(t**self.bend)

    def sigma(self, t):
        return super().sigma(t**self.bend)


class Table(Trigonometric):
    def __init__(self, numbers):
        self.numbers, self._names = numbers, ("a", None)


@pytest.mark.parametrize(
    ("path", "other"),
    [
        (Bent(bend=2.5), Bent()),
        (Bent(), Bent(beta_max=19.0)),
        (Table(torch.tensor([0.1, 0.2])), Table([0.1, 0.3])),
        (Table(np.float64(0.1)), Table(0.2)),
        (Trigonometric(), Bent()),
        (type("VP", (Bent,), {})(), VP()),  # a name of the library's, and another path
    ],
    ids=str,
)
def test_an_own_path_comes_back_with_every_number(path, other, model, tmp_path):
    mine = on(model, path=path)
    mine.save(tmp_path)
    assert torch.equal(drawn(LatentDiffusion.load(tmp_path, path=path)), drawn(mine))
    for given in (None, other):
        with pytest.raises(ValueError, match=f"path: expected path={type(path).__name__}"):
            LatentDiffusion.load(tmp_path, path=given)


class Odd(nn.Module):
    """An own network with the library's name and configuration: its code would be lost."""

    def __init__(self, net):
        super().__init__()
        self.net, self.config = net, net.config

    def forward(self, x, t, cond):
        return -self.net(x, t, cond)


def test_an_own_network_that_is_called_like_one_of_the_library_s_is_not_taken_for_it(model, tmp_path):
    net = model.denoiser.net
    mine = on(model, net=type("UNet", (Odd,), {})(net))
    mine.save(tmp_path)
    with pytest.raises(ValueError, match=r"net: expected net=UNet\(in_channels=2, .*of your own class"):
        LatentDiffusion.load(tmp_path)
    fresh = type("UNet", (Odd,), {})(net.config.build())
    assert torch.equal(drawn(LatentDiffusion.load(tmp_path, net=fresh)), drawn(mine))
    other = type("UNet", (Odd,), {})(replace(net.config, heads=4).build())
    with pytest.raises(ValueError, match=r"net: expected net=UNet.*got heads=4"):
        LatentDiffusion.load(tmp_path, net=other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parametrisation": lambda path, t: (0 * t, 1 + 0 * t)}, "parametrisation: expected one of x0, eps, v, .*cannot"),
        ({"path": Table(torch.nn.Linear(1, 1))}, "path.numbers: expected numbers, texts or tensors: nothing else"),
        ({"path": Table([1.0, lambda t: t])}, "path.numbers: expected numbers, texts or tensors"),
    ],
)
def test_what_could_not_be_loaded_is_refused_before_anything_is_written(change, said, model, tmp_path):
    model.save(tmp_path / "m")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "m").iterdir()}
    mine = on(model, **change)
    for folder in ("m", "new"):
        with pytest.raises(ValueError, match=said):
            mine.save(tmp_path / folder)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "m").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_what_is_wrapped_around_the_networks_is_not_saved(model, tmp_path):
    net = torch.optim.swa_utils.AveragedModel(model.denoiser.net)
    wrapped = LatentDiffusion(
        replace(model.space, autoencoder=torch.compile(model.space.autoencoder)),
        Denoiser(torch.compile(net), VP(), "v"),
        model.latent,
    )
    wrapped.save(tmp_path)
    assert torch.equal(drawn(LatentDiffusion.load(tmp_path)), drawn(model))


def test_whole_numbers_stay_whole_in_half_precision(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.tensor(70001))

        def forward(self, x, t, cond):
            return x

    model = LatentDiffusion(LatentSpace(tl.nn.PointCoderConfig().build()), Denoiser(Counting(), VP(), "v"), (2, 1, 1))
    model.save(tmp_path, torch.float16)
    back = LatentDiffusion.load(tmp_path, net=Counting())
    assert back.denoiser.net.seen == 70001
    assert type(back.space.autoencoder) is tl.nn.PointCoder


def test_folders_of_former_times_are_read(model, tmp_path):
    model.save(tmp_path)
    config = config_of(tmp_path)
    config["row"] = config.pop("parametrisation")
    del config["denoiser"]["_class_name"], config["pack"]
    from safetensors.torch import load_file, save_file

    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")  # without a note
    del config["weights"]
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, **config}))
    back = LatentDiffusion.load(tmp_path)
    assert back.denoiser.parametrisation == "v"
    assert torch.equal(drawn(back), drawn(model))
    (tmp_path / "config.json").write_text(json.dumps({**config, "row": "epsilon"}))
    with pytest.raises(ValueError, match="parametrisation='epsilon' is unknown"):
        LatentDiffusion.load(tmp_path)


def test_an_old_point_network_is_read(tmp_path):
    net = tl.nn.MLPConfig(classes=3).build()
    model = LatentDiffusion(LatentSpace(tl.nn.PointCoderConfig().build()), Denoiser(net, VP(), "v"), (2, 1, 1))
    model.save(tmp_path)
    config = config_of(tmp_path)
    config["denoiser"]["_class_name"] = "PointNet"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(LatentDiffusion.load(tmp_path).denoiser.net) is tl.nn.MLP


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_of_two_models_are_not_one(name, model, tmp_path):
    other = on(model, net=model.denoiser.net.config.seeded(7))
    model.save(tmp_path / "a")
    other.save(tmp_path / "b")
    shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    with pytest.raises(ValueError, match=r"folder: expected files that were saved together, got .* of one model"):
        LatentDiffusion.load(tmp_path / "a")


def test_the_same_weights_are_the_same_bytes(model, tmp_path):
    for name in "ab":
        model.save(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_save_that_is_killed_when_all_is_written_is_a_save(moved, model, tmp_path, monkeypatch):
    """Killed after the new model is in force and ``moved`` of its files are in their places."""
    old, folder = on(model, path=tl.RectifiedFlow()), tmp_path / "m"
    old.save(folder)
    left, real = [moved], os.replace

    def replace_some(a, b):
        if b.parent == folder and b.name != ".saved":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_some)
        if moved < 2:
            with pytest.raises(KeyboardInterrupt):
                model.save(folder)
        else:
            model.save(folder)
    assert torch.equal(drawn(LatentDiffusion.load(folder)), drawn(model))
    old.save(folder)
    assert torch.equal(drawn(LatentDiffusion.load(folder)), drawn(old))
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_in_a_few_lines(model):
    lines = repr(on(model, path=tl.DiscreteVP.from_betas())).splitlines()
    assert len(lines) == 3
    assert lines[0] == "LatentDiffusion(latents (2, 4, 4), 3 classes)"
    assert "AutoencoderKL of " in lines[1]
    assert "scale=1.7, shift=0.3" in lines[1]
    assert "UNet of " in lines[2]
    assert "DiscreteVP(1000 steps" in lines[2]
    assert "predicts 'v'" in lines[2]
    assert max(map(len, lines)) < 120
