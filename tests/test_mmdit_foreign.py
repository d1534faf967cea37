"""diffusers' configurations and names of its transformers: read, written, refused, and those of the real files."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import perturb
from mmdit_maps import FAMILIES, random_config, table, their_network

from tinyldm.nn import weights
from tinyldm.nn.foreign.mmdit import mmdit_shapes
from tinyldm.nn.foreign.mmdit_options import READERS, class_of, read_dit, read_flux, read_sd3, write_mmdit
from tinyldm.nn.mmdit import MMDiTConfig
from tinyldm.nn.presets import PRESETS

diffusers = pytest.importorskip("diffusers")

DATA = Path(__file__).parent / "data"
KEYS = json.loads(gzip.decompress((DATA / "transformer_keys.json.gz").read_bytes()))
CONFIGS = json.loads((DATA / "transformer_configs.json").read_text(encoding="utf-8"))
SD3, FLUX = PRESETS["sd3-mmdit"](), PRESETS["flux-mmdit"]()
REAL = {"sd3_medium": (SD3, 2_028_328_000), "flux1_dev": (FLUX, 11_901_408_320)}
real = pytest.mark.parametrize("name", REAL)


def on_meta(config):
    with torch.device("meta"):
        return config.build()


@real
def test_the_published_networks_have_their_numbers_of_parameters(name):
    config, count = REAL[name]
    assert sum(p.numel() for p in on_meta(config).parameters()) == count


@real
def test_every_tensor_has_its_name_and_shape_in_the_real_file(name):
    module, keys = on_meta(REAL[name][0]), KEYS[f"diffusers.transformer_{name}"]
    names, shapes = table(module), mmdit_shapes(module.config)
    assert len(set(names.values())) == len(names) == len(module.state_dict())  # one to one
    assert {names[own]: [*shapes.get(own, t.shape)] for own, t in module.state_dict().items()} == keys


@real
def test_real_configuration_files_are_the_presets(name):
    file = CONFIGS[f"transformer_{name}"]
    assert READERS[file["_class_name"]](file) == REAL[name][0]
    written = write_mmdit(REAL[name][0])
    assert {option: written[option] for option in file if option not in ("_diffusers_version", "_name_or_path")} == {
        option: value for option, value in file.items() if option not in ("_diffusers_version", "_name_or_path")
    }


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("family", FAMILIES)
def test_configurations_survive_diffusers(family, seed):
    """Written, built by diffusers, and read from what it then says of itself."""
    config = random_config(family, seed)
    theirs = their_network(config)
    assert type(theirs).__name__ == class_of(config)
    assert READERS[class_of(config)](dict(theirs.config)) == config
    names, shapes, module = table(on_meta(config)), mmdit_shapes(config), on_meta(config)
    own = {names[name]: shapes.get(name, tuple(t.shape)) for name, t in module.state_dict().items()}
    assert own == {name: tuple(t.shape) for name, t in theirs.state_dict().items()}


@pytest.mark.parametrize(
    ("read", "kind"), [(read_sd3, "SD3"), (read_flux, "Flux"), (read_dit, "DiT")], ids=["sd3", "flux", "dit"]
)
def test_absent_options_are_what_diffusers_takes_them_to_be(read, kind):
    """Nothing given, everything given: the same network."""
    with torch.device("meta"):
        theirs = getattr(diffusers, f"{kind}Transformer2DModel")()
    assert read({}) == read(dict(theirs.config))
    module = on_meta(read({}))
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("read", "change", "said"),
    [
        (read_sd3, {"dual_attention_layers": [0, 1]}, r"dual_attention_layers: expected none, got \[0, 1\]"),
        (read_sd3, {"qk_norm": "layer_norm"}, "qk_norm='layer_norm' is unknown; did you mean 'rms_norm'"),
        (read_sd3, {"caption_projection_dim": 64}, "caption_projection_dim: expected 1152"),
        (read_sd3, {"pooled_projection_dim": 0}, "pooled_projection_dim: expected a whole number >= 1"),
        (read_sd3, {"joint_attention_dim": 0}, "joint_attention_dim"),
        (read_sd3, {"pos_embed_max_size": None}, "pos_embed_max_size"),
        (read_sd3, {"patch_size": 0}, "patch_size"),
        (read_sd3, {"pos_embed_max_sise": 96}, "config option='pos_embed_max_sise' is unknown; did you mean"),
        (read_flux, {"patch_size": 2}, "patch_size: expected 1"),
        (read_flux, {"in_channels": 6}, "in_channels: expected a multiple of 4, packed latents, got 6"),
        (read_flux, {"out_channels": 6}, "out_channels: expected a multiple of 4"),
        (read_flux, {"num_single_layers": 0}, "num_single_layers: expected a whole number >= 1"),
        (read_flux, {"axes_dims_rope": [16, 56]}, "rope: expected three even numbers"),
        (read_flux, {"axes_dims_rope": [16, 56, 64]}, "rope: expected three even numbers"),
        (read_flux, {"guidance_embed": True}, "did you mean 'guidance_embeds'"),
        (read_dit, {"norm_type": "ada_norm_single"}, "norm_type: expected 'ada_norm_zero'"),
        (read_dit, {"norm_elementwise_affine": True}, "norm_elementwise_affine: expected False"),
        (read_dit, {"activation_fn": "geglu"}, "activation_fn: expected 'gelu-approximate'"),
        (read_dit, {"attention_bias": False}, "attention_bias: expected True"),
        (read_dit, {"upcast_attention": True}, "upcast_attention: expected False"),
        (read_dit, {"dropout": 0.1}, r"dropout: expected 0\.0"),
        (read_dit, {"num_embeds_ada_norm": None}, "num_embeds_ada_norm: expected a whole number >= 1"),
        (read_dit, {"num_layers": 0}, "blocks: expected a whole number >= 1"),
        (read_dit, {"sample_size": 1}, "side"),
    ],
)
def test_options_that_we_do_not_have_are_refused_by_name(read, change, said):
    assert read({})
    with pytest.raises(ValueError, match=said):
        read(change)


DIT = MMDiTConfig(classes=3, freq_shift=1, shared_clock=False, ff_eps=1e-5, shift_first=True)
SMALL = MMDiTConfig(tokens=6, vector=5, table=8)
ROTARY = MMDiTConfig(singles=1, qk_norm=True, tokens=6, vector=5, side=0, rope=(0, 16, 16), time_factor=1000, channels_first=True)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (DIT, {"shared_clock": True}),
        (DIT, {"freq_shift": 0}),
        (DIT, {"shift_first": False}),
        (DIT, {"channels_first": True}),
        (DIT, {"qk_norm": True}),
        (DIT, {"vector": 4}),
        (DIT, {"guidance": True}),
        (DIT, {"table": 8}),
        (DIT, {"time_factor": 1000}),
        (DIT, {"classes": 0}),
        (SMALL, {"classes": 3}),
        (SMALL, {"vector": 0}),
        (SMALL, {"table": 0}),
        (SMALL, {"ff_eps": 1e-5}),
        (SMALL, {"singles": 1}),
        (ROTARY, {"patch": 1}),
        (ROTARY, {"qk_norm": False}),
        (ROTARY, {"singles": 0}),
        (ROTARY, {"tokens": 0}),
        (ROTARY, {"time_factor": 1}),
    ],
)
def test_networks_that_diffusers_does_not_have_are_not_written(config, change):
    assert write_mmdit(config)["_class_name"] == class_of(config)
    assert write_mmdit(replace(config, **change)) is None


def test_as_many_channels_out_as_in_may_be_said_twice():
    for config in (DIT, SMALL, ROTARY):
        assert write_mmdit(replace(config, out_channels=config.in_channels)) == write_mmdit(config)


@pytest.mark.parametrize("config", [DIT, SMALL, ROTARY], ids=["dit", "sd3", "flux"])
def test_diffusers_reads_what_we_save_and_we_what_it_saves(config, tmp_path, rng):
    module = perturb(seeded_build(config), rng)
    weights.save_pretrained(module, tmp_path / "ours")
    theirs = getattr(diffusers, class_of(config)).from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="20kB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    for folder in ("ours", "sharded"):
        back = weights.from_pretrained(tmp_path / folder)
        assert replace(back.config, out_channels=back.config.out) == replace(config, out_channels=config.out)
        assert all(torch.equal(t, back.state_dict()[name]) for name, t in module.state_dict().items())


def test_a_network_of_our_own_kind_is_saved_in_our_words(tmp_path):
    module = seeded_build(MMDiTConfig(classes=3))
    weights.save_pretrained(module, tmp_path / "m")
    back = weights.from_pretrained(tmp_path / "m")
    assert back.config == module.config
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in module.state_dict().items())


def test_dits_old_class_name_is_known():
    """The published DiT says so of itself; options that its class had for other networks may only be off."""
    old = {"cross_attention_dim": None, "num_vector_embeds": None, "only_cross_attention": False}
    config = {**write_mmdit(DIT), **old, "_class_name": "Transformer2DModel"}
    assert weights.build(config).config == DIT
    with pytest.raises(ValueError, match="cross_attention_dim"):
        weights.build(config | {"cross_attention_dim": 8})
