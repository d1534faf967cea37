"""Weights come in from diffusers' folders, CompVis' files and our own, and go out so that diffusers reads them."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import seeded_build
from safetensors.torch import load_file, save_file

from tinyldm.nn import AutoencoderConfig, FeatureNetConfig, MLPConfig, PointCoderConfig, UNetConfig, weights
from tinyldm.nn.names import OLD, names

CONFIG = AutoencoderConfig(3, 4, (8, 16), 1, 4, (False, True))


@pytest.fixture
def module():
    return seeded_build(CONFIG)


def renamed(module, layout):
    """The weights as a file of another layout holds them."""
    table = names(module, layout)
    return {table[name]: t.clone() for name, t in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


@pytest.mark.parametrize("layout", ["own", "diffusers", "compvis"])
def test_every_layout_fills_the_module(layout, module):
    fresh = seeded_build(CONFIG, 1)
    weights.load_state(fresh, renamed(module, layout), layout)
    assert same(fresh, module)


def test_diffusers_reads_what_we_save_and_we_what_it_saves(module, tmp_path, rng):
    diffusers = pytest.importorskip("diffusers")
    weights.save_pretrained(module, tmp_path / "ours", scaling_factor=0.3, shift_factor=0.1)
    theirs = diffusers.AutoencoderKL.from_pretrained(tmp_path / "ours")
    assert (theirs.config.scaling_factor, theirs.config.shift_factor) == (0.3, 0.1)
    x = torch.rand(1, 3, 8, 12, generator=rng) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode(x).latent_dist.mean, module.encode(x).mean, rtol=0, atol=1e-5)
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="20kB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    for folder in ("whole", "sharded"):
        back = weights.from_pretrained(tmp_path / folder)
        assert same(back, module)
        assert not back.training


def test_a_file_of_a_whole_compvis_model_is_searched_for_the_autoencoder(module, tmp_path):
    inside = {f"first_stage_model.{name}": t for name, t in renamed(module, "compvis").items()}
    others = {"model.diffusion_model.out.2.bias": torch.zeros(4), "cond_stage_model.x": torch.zeros(1)}
    save_file({**inside, **others}, tmp_path / "sd.safetensors")
    fresh = seeded_build(CONFIG, 1)
    weights.load_state(fresh, weights.open_state(tmp_path / "sd.safetensors"), "compvis")
    assert same(fresh, module)


def test_a_file_of_a_compvis_autoencoder_may_hold_its_losses(module):
    extra = {
        "loss.logvar": torch.zeros(()),
        "loss.discriminator.main.0.weight": torch.zeros(1),
        "model_ema.decay": torch.zeros(()),
    }
    state = renamed(module, "compvis") | extra
    q = next(name for name in state if name.endswith("attn_1.q.weight"))
    state[q] = state[q][:, :, None, None]  # CompVis' linear maps are 1x1 convolutions
    fresh = seeded_build(CONFIG, 1)
    weights.load_state(fresh, state, "compvis")
    assert same(fresh, module)


def test_old_names_of_attention_are_understood(module):
    old = {new: name for name, new in OLD.items()}
    state = renamed(module, "diffusers")
    aged = {}
    for name, t in state.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        aged[name] = t
    assert any(".proj_attn." in name for name in aged)
    assert not any("to_out" in name or "to_q" in name for name in aged)
    fresh = seeded_build(CONFIG, 1)
    weights.load_state(fresh, aged)
    assert same(fresh, module)


def test_all_that_does_not_fit_is_listed_by_name_and_nothing_is_filled(module):
    state = renamed(module, "diffusers")
    state.pop("encoder.conv_in.bias")
    state["decoder.conv_in.weight"] = torch.zeros(2, 3)
    state["decoder.conv_inn.weight"] = torch.zeros(2)
    fresh, before = seeded_build(CONFIG, 1), seeded_build(CONFIG, 1)
    with pytest.raises(ValueError, match="state: 3 tensors do not fit") as error:
        weights.load_state(fresh, state)
    for said in (
        "encoder.conv_in.bias: absent, expected (8,)",
        "decoder.conv_in.weight: (2, 3), expected (16, 4, 3, 3)",
        "decoder.conv_inn.weight: (2,), expected no such tensor",
    ):
        assert said in str(error.value)
    assert same(fresh, before)


def test_another_layout_is_recognised(module):
    with pytest.raises(ValueError, match="look like the names of layout='compvis'"):
        weights.load_state(module, renamed(module, "compvis"))
    with pytest.raises(ValueError, match="layout='diffuser' is unknown; did you mean 'diffusers'"):
        weights.load_state(module, {}, "diffuser")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"act_fn": "gelu"}, "act_fn: expected 'silu'"),
        ({"mid_block_add_attention": False}, "mid_block_add_attention: expected True"),
        ({"use_quant_conv": False}, "use_post_quant_conv: expected False"),
        ({"out_channels": 1}, "out_channels: expected 3"),
        ({"down_block_types": ["DownEncoderBlock2D", "CrossAttnDownBlock2D"]}, "down_block_types='CrossAttnDownBlock2D'"),
        ({"up_block_types": ["UpDecoderBlock2D"] * 2}, "up_block_types: expected the mirror"),
        ({"down_block_types": ["DownEncoderBlock2D"]}, "down_block_types: expected 2, one a level"),
        ({"latent_chanels": 4}, "config option='latent_chanels' is unknown; did you mean 'latent_channels'"),
        ({"_class_name": "AutoencoderKl"}, "_class_name='AutoencoderKl' is unknown; did you mean 'AutoencoderKL'"),
        ({"norm_num_groups": 3}, "multiples of groups=3"),
    ],
)
def test_options_that_we_do_not_have_are_refused_by_name(change, said, module, tmp_path):
    weights.save_pretrained(module, tmp_path / "v")
    config = json.loads((tmp_path / "v" / "config.json").read_text())
    assert weights.build(config).config == CONFIG
    with pytest.raises(ValueError, match=said):
        weights.build(config | change)


@pytest.mark.parametrize("config", [PointCoderConfig(), UNetConfig(), FeatureNetConfig()], ids=lambda c: type(c).__name__)
def test_our_own_networks_travel_too(config, tmp_path):
    module = seeded_build(config)
    weights.save_pretrained(module, tmp_path / "m")
    back = weights.from_pretrained(tmp_path / "m")
    assert type(back) is type(module)
    assert back.config == config
    assert same(back, module)


@pytest.mark.parametrize("stored", [None, torch.float16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.float16, torch.bfloat16])
def test_the_type_asked_for_is_the_type_given(stored, wanted, module, tmp_path):
    weights.save_pretrained(module, tmp_path / "v", stored)
    back = weights.from_pretrained(tmp_path / "v", wanted)
    for name, t in module.state_dict().items():
        assert torch.equal(back.state_dict()[name], t.to(stored or t.dtype).to(wanted))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "weights.pt"])
def test_a_pickle_is_refused_with_the_reason(name, module, tmp_path):
    weights.save_pretrained(module, tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / name)
    for ask in (
        lambda: weights.from_pretrained(tmp_path),
        lambda: weights.from_pretrained(tmp_path / name),
        lambda: weights.open_state(tmp_path / name),
    ):
        with pytest.raises(ValueError, match="a pickle can run any program when it is opened"):
            ask()


def test_what_is_absent_or_damaged_is_named(module, tmp_path):
    folder = tmp_path / "v"
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        weights.from_pretrained(folder)
    weights.save_pretrained(module, folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    for size in (0, 100, len(content) - 3):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="truncated or not a safetensors file"):
            weights.from_pretrained(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="no diffusion_pytorch_model"):
        weights.from_pretrained(folder)


@pytest.mark.parametrize(
    ("shard", "error", "said"),
    [
        ("gone.safetensors", FileNotFoundError, "gone"),
        ("../v.safetensors", ValueError, "weight_map: expected the name of a file"),
    ],
)
def test_shards_are_all_there_and_in_the_folder(shard, error, said, module, tmp_path):
    weights.save_pretrained(module, tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    index = {"weight_map": dict.fromkeys(load_file(file), shard)}
    file.unlink()
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(error, match=said):
        weights.from_pretrained(tmp_path)


def test_a_folder_never_holds_two_sets_of_weights(module, tmp_path):
    (tmp_path / "card.json").write_text("{}")
    weights.save_pretrained(module, tmp_path)
    weights.save_pretrained(module, tmp_path)  # the same again is an update
    assert (tmp_path / "card.json").is_file()
    with pytest.raises(ValueError, match="folder: expected no other weights there"):
        weights.save_pretrained(seeded_build(PointCoderConfig()), tmp_path)
    with pytest.raises(ValueError, match="fact='scaling_facto' is unknown; did you mean 'scaling_factor'"):
        weights.save_pretrained(module, tmp_path, scaling_facto=1.0)


def test_finding_a_tensor_takes_no_longer_the_more_there_are(tmp_path, monkeypatch):
    save_file({f"t{i}": torch.full((2,), float(i)) for i in range(500)}, tmp_path / "x.safetensors")
    opened = []
    monkeypatch.setattr(weights, "open_safetensors", lambda p, o=weights.open_safetensors: (opened.append(p), o(p))[1])
    state = weights.open_state(tmp_path / "x.safetensors")
    assert [state[f"t{i}"][0].item() for i in range(500)] == list(range(500))
    assert len(opened) == 2
    monkeypatch.setattr(weights, "ONE_OPENING", 79)  # what was read is given back after every ten tensors of 8 bytes
    state = weights.open_state(tmp_path / "x.safetensors")
    assert [state[f"t{i}"][0].item() for i in range(500)] == list(range(500))
    assert len(opened) == 2 + 1 + 50


def test_older_names_of_classes_are_understood(tmp_path):
    weights.save_pretrained(seeded_build(MLPConfig()), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": "PointNet"}))
    assert weights.from_pretrained(tmp_path).config == MLPConfig()


def test_what_is_wrapped_around_a_network_is_not_saved(module, tmp_path):
    wrapped = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(torch.compile(module)))
    assert type(weights.bare(wrapped)) is type(module)  # the average is a copy
    weights.save_pretrained(wrapped, tmp_path)
    assert same(weights.from_pretrained(tmp_path), module)


MEMORY = r"""
import re, sys, torch
from tinyldm.nn import weights
def peak(): return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
before = peak()
module = weights.from_pretrained(sys.argv[1], getattr(torch, sys.argv[2]))
print(peak() - before, sum(p.numel() * p.element_size() for p in module.parameters()) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_loading_holds_one_copy_of_the_weights(dtype, tmp_path):
    """In a process of its own, whose peak nothing else has raised: the copy, and the largest tensor beside it."""
    config = AutoencoderConfig(3, 4, (256, 512, 512), 2, 32)  # 76 million weights
    with torch.device("meta"):
        module = config.build()
    weights.save_pretrained(module.to_empty(device="cpu"), tmp_path)
    run = [sys.executable, "-c", MEMORY, str(tmp_path), dtype]
    used, size = map(float, subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert size > 100
    assert 0.9 * size < used < 1.5 * size  # a second copy, in float32, would make it two or three times
