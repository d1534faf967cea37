"""The U-Nets and ControlNets of the presets are the published ones, name by name and shape by shape."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinyldm.nn import ControlNet, ControlNetConfig, UNet
from tinyldm.nn.names import names
from tinyldm.nn.presets import PRESETS
from tinyldm.nn.weights import build

DATA = Path(__file__).parent / "data"
KEYS = json.loads(gzip.decompress((DATA / "unet_keys.json.gz").read_bytes()))
CONFIGS = json.loads((DATA / "unet_configs.json").read_text(encoding="utf-8"))
COUNTS = {
    "sd15-unet": 859_520_964,
    "sd15-inpainting-unet": 859_535_364,
    "sd21-unet": 865_910_724,
    "sdxl-unet": 2_567_463_684,
    "sdxl-refiner-unet": 2_259_526_660,
    "sd15-controlnet": 361_279_120,
    "sdxl-controlnet": 1_251_014_160,
}
LDM = {  # Rombach et al. (2022), from the configuration files of its code
    "ldm-txt2img": replace(PRESETS["sd15-unet"](), tokens=1280),
    "ldm-cin256": replace(
        PRESETS["sd15-unet"](), in_channels=3, channels=(192, 384, 576, 960), attention=(0, 1, 1, 1), heads=1, tokens=512
    ),
}
FILES = {  # preset, layout -> the list of names
    ("sd15-unet", "diffusers"): "diffusers.unet_sd15",
    ("sd15-inpainting-unet", "diffusers"): "diffusers.unet_sd15_inpainting",
    ("sd21-unet", "diffusers"): "diffusers.unet_sd21",
    ("sdxl-unet", "diffusers"): "diffusers.unet_sdxl_base",
    ("sdxl-refiner-unet", "diffusers"): "diffusers.unet_sdxl_refiner",
    ("sd15-controlnet", "diffusers"): "diffusers.controlnet_sd15",
    ("sdxl-controlnet", "diffusers"): "diffusers.controlnet_sdxl_base",
    ("sd15-unet", "compvis"): "compvis.unet_sd_v1",
    ("sdxl-unet", "compvis"): "sgm.unet_sdxl_base",
    ("sdxl-refiner-unet", "compvis"): "sgm.unet_sdxl_refiner",
    ("ldm-txt2img", "compvis"): "compvis.unet_ldm_txt2img_1p4B",
    ("ldm-cin256", "compvis"): "compvis.unet_ldm_cin256_v2",
}
CONFIG_OF = {"sd15-unet": "sd15", "sd15-inpainting-unet": "sd15_inpainting", "sd21-unet": "sd21"}
CONFIG_OF |= {"sdxl-unet": "sdxl_base", "sdxl-refiner-unet": "sdxl_refiner"}


def on_meta(config):
    """A network without memory: names and shapes only."""
    with torch.device("meta"):
        return config.build()


def assert_named(module, layout, file):
    """Every tensor has its name and shape in a published file; only 1x1 convolutions may be linear maps."""
    table, published = names(module, layout), dict(KEYS[file])
    assert len(set(table.values())) == len(table) == len(module.state_dict())  # one to one
    own = {table[name]: list(t.shape) for name, t in module.state_dict().items()}
    assert own.keys() == published.keys()
    reshaped = {name for name in own if own[name] != published[name]}
    assert all(published[name] == [*own[name], 1, 1] and "proj_" in name for name in reshaped)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    assert sum(p.numel() for p in on_meta(PRESETS[name]()).parameters()) == COUNTS[name]


@pytest.mark.parametrize(("preset", "layout"), FILES)
def test_every_tensor_has_its_name_and_shape_in_the_real_file(preset, layout):
    config = LDM[preset] if preset in LDM else PRESETS[preset]()
    assert_named(on_meta(config), layout, FILES[preset, layout])


@pytest.mark.parametrize("file", CONFIGS)
def test_real_configuration_files_build_the_real_network(file):
    with torch.device("meta"):
        module = build(CONFIGS[file])
    assert isinstance(module, UNet)
    assert_named(module, "diffusers", f"diffusers.unet_{file}")


@pytest.mark.parametrize("preset", CONFIG_OF)
def test_presets_are_the_configuration_files(preset):
    with torch.device("meta"):
        assert build(CONFIGS[CONFIG_OF[preset]]).config == PRESETS[preset]()


@pytest.mark.parametrize(("unet", "file"), [("sd15", "sd15"), ("sd21", "sd21"), ("sdxl", "sdxl_base")])
def test_a_controlnet_is_the_copy_of_its_unet(unet, file):
    with torch.device("meta"):
        control = ControlNet.copy_of(PRESETS[f"{unet}-unet"]().build())
    assert_named(control, "diffusers", f"diffusers.controlnet_{file}")
    if unet != "sd21":
        assert control.config == PRESETS[f"{unet}-controlnet"]()


@pytest.mark.parametrize("file", ["sd15", "sdxl_base", "sdxl_refiner"])
def test_the_two_tables_agree_with_the_published_conversion(file):
    """From CompVis' name to diffusers', as diffusers' own conversion has it; ours goes through our name."""
    with torch.device("meta"):
        module = build(CONFIGS[file])
    diffusers, compvis = names(module, "diffusers"), names(module, "compvis")
    assert {compvis[name]: diffusers[name] for name in diffusers} == KEYS[f"unet_{file} -> diffusers"]


def test_compvis_names_of_a_controlnet_are_those_that_diffusers_converts():
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    diffusers = pytest.importorskip("diffusers")
    config = ControlNetConfig(4, (8, 8, 16), (1, 1, 0), blocks=2, heads=2, groups=4, classes=0, tokens=6)
    module = config.build()
    table = names(module, "compvis")
    file = {f"control_model.{table[name]}": t for name, t in module.state_dict().items()}
    theirs = diffusers.ControlNetModel(
        block_out_channels=config.channels,
        down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        norm_num_groups=config.groups,
        attention_head_dim=config.heads,
        cross_attention_dim=config.tokens,
        use_linear_projection=True,
    )
    converted = utils.convert_controlnet_checkpoint(dict(file), dict(theirs.config))
    own = names(module, "diffusers")
    assert converted.keys() == set(own.values())
    for name, t in module.state_dict().items():
        assert torch.equal(converted[own[name]], t), name
