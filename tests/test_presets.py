"""The presets are the published networks, name by name and shape by shape, from the key lists of the real files."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from tinyldm.nn import AutoencoderKL
from tinyldm.nn.names import names
from tinyldm.nn.presets import AUTOENCODERS, PRESETS, SCALES
from tinyldm.nn.weights import build

DATA = Path(__file__).parent / "data"
KEYS = json.loads(gzip.decompress((DATA / "autoencoder_keys.json.gz").read_bytes()))
CONFIGS = json.loads((DATA / "autoencoder_configs.json").read_text(encoding="utf-8"))
COUNTS = {"sd15-vae": 83_653_863, "sd21-vae": 83_653_863, "sdxl-vae": 83_653_863, "sd3-vae": 83_819_683, "flux-vae": 83_819_683}
FILES = {  # preset, layout -> the list of names
    **{(f"{name}-vae", "diffusers"): f"diffusers.vae_{name}" for name in ("sd15", "sd21", "sdxl", "sd3")},
    ("flux-vae", "diffusers"): "diffusers.vae_flux1",
    **{(f"ldm-f{f}", "diffusers"): f"diffusers.vae_ldm_kl_f{f}" for f in (4, 8, 16, 32)},
    **{(f"ldm-f{f}", "compvis"): f"compvis.kl_f{f}" for f in (4, 8, 16, 32)},
    ("sd15-vae", "compvis"): "compvis.kl_f8",
}


def on_meta(config):
    """A network without memory: names and shapes only."""
    with torch.device("meta"):
        return config.build()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    assert sum(p.numel() for p in on_meta(PRESETS[name]()).parameters()) == COUNTS[name]


@pytest.mark.parametrize(("preset", "layout"), FILES)
def test_every_tensor_has_its_name_and_shape_in_the_real_file(preset, layout):
    module, file = on_meta(PRESETS[preset]()), dict(KEYS[FILES[preset, layout]])
    table = names(module, layout)
    assert len(set(table.values())) == len(table) == len(module.state_dict())  # one to one
    own = {table[name]: list(t.shape) for name, t in module.state_dict().items()}
    assert own.keys() == file.keys()
    reshaped = {name for name in own if own[name] != file[name]}
    assert all(file[name] == [*own[name], 1, 1] for name in reshaped)  # 1x1 convolutions that are linear maps
    assert all(".attn" in name for name in reshaped)
    assert bool(reshaped) == (layout == "compvis")


def test_the_two_tables_agree_with_the_published_conversion():
    """From CompVis' name to diffusers', as diffusers' own conversion has it; ours goes through our name."""
    module = on_meta(PRESETS["ldm-f8"]())
    diffusers, compvis = names(module, "diffusers"), names(module, "compvis")
    assert {compvis[name]: diffusers[name] for name in diffusers} == KEYS["compvis.kl_f8 -> diffusers"]


@pytest.mark.parametrize("file", CONFIGS)
def test_real_configuration_files_build_the_real_network(file):
    with torch.device("meta"):
        module = build(CONFIGS[file])
    keys = KEYS[f"diffusers.{file.removesuffix('_refiner')}"]
    table = names(module, "diffusers")
    assert isinstance(module, AutoencoderKL)
    assert {table[name]: list(t.shape) for name, t in module.state_dict().items()} == keys


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl", "sd3", "flux1"])
def test_presets_and_scales_are_the_configuration_files(name):
    file, preset = CONFIGS[f"vae_{name}"], f"{name.removesuffix('1') if name == 'flux1' else name}-vae"
    with torch.device("meta"):
        assert build(file).config == PRESETS[preset]()
    published = file.get("scaling_factor", 0.18215), file.get("shift_factor") or 0.0
    assert SCALES[preset] == published


def test_every_preset_has_a_scale_and_builds():
    assert SCALES.keys() == AUTOENCODERS.keys()
    factors = {name: config().factor for name, config in AUTOENCODERS.items()}
    assert [factors[f"ldm-f{f}"] for f in (4, 8, 16, 32)] == [4, 8, 16, 32]
    assert factors["tiny"] == 4
    assert all(on_meta(PRESETS[name]()) for name in AUTOENCODERS)
