"""Tiles without seams: equal to the image done in one piece, whatever the tile, and in less memory."""

import subprocess
import sys

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import perturb
from hypothesis import given, settings
from hypothesis import strategies as st
from test_autoencoder import configs

from tinyldm.nn import AutoencoderConfig, decode_tiled, encode_tiled


@settings(max_examples=30, deadline=None)
@given(configs(), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(1, 24))
def test_tiled_is_untiled(config, latent, tile):
    """In double precision, where a seam could not hide in rounding."""
    rng = torch.Generator().manual_seed(tile)
    module = perturb(seeded_build(config), rng).double()
    shape = (2, config.in_channels, *(config.factor * side for side in latent))
    x = torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1
    kept = x.clone()
    with torch.no_grad():
        q = module.encode(x)
        image = module.decode(q.mean)
    tiled = encode_tiled(module, x, tile)
    torch.testing.assert_close(tiled.mean, q.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(tiled.logvar, q.logvar, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(decode_tiled(module, q.mean, tile), image, rtol=1e-10, atol=1e-10)
    assert torch.equal(x, kept)  # blocks that overwrite their input overwrite none of the reader's


def test_tiled_is_untiled_in_single_precision(rng):
    module = perturb(seeded_build(AutoencoderConfig(3, 4, (16, 32, 32), groups=8)), rng)
    x = torch.rand(1, 3, 96, 64, generator=rng) * 2 - 1
    with torch.no_grad():
        q = module.encode(x)
        image = module.decode(q.mean)
    torch.testing.assert_close(encode_tiled(module, x, 20).mean, q.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decode_tiled(module, q.mean, 20), image, rtol=1e-4, atol=1e-4)


def test_no_gradient_is_kept(rng):
    module = seeded_build(AutoencoderConfig(1, 2, (4, 8), groups=2))
    assert not decode_tiled(module, torch.randn(1, 2, 3, 3, generator=rng)).requires_grad


@pytest.mark.parametrize(
    ("shape", "tile", "said"),
    [
        ((1, 1, 8, 8), 0, "tile: expected a whole number >= 1"),
        ((1, 1, 8, 7), 4, "x: expected height and width divisible by 2"),
        ((1, 2, 8, 8), 4, "x: expected 1 channels"),
    ],
)
def test_what_cannot_be_tiled_is_refused(shape, tile, said):
    with pytest.raises(ValueError, match=said):
        encode_tiled(AutoencoderConfig(1, 2, (4, 8), groups=2).build(), torch.zeros(shape), tile)


MEMORY = r"""
import re, sys, torch
from tinyldm.nn import AutoencoderConfig, decode_tiled, encode_tiled
torch.set_num_threads(1)
module, way = AutoencoderConfig(3, 4, (32, 64, 64), 1, 8).build(), sys.argv[1]
x, z = torch.zeros(1, 3, 512, 512), torch.zeros(1, 4, 128, 128)
def peak(): return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
def run(x, z, tiled):
    with torch.no_grad():
        if "encode" in way:
            return encode_tiled(module, x, 64) if tiled else module.encode(x)
        return decode_tiled(module, z, 64) if tiled else module.decode(z)
run(x[:, :, :64, :64], z[:, :, :16, :16], False)
before = peak()
run(x, z, "tiled" in way)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_tiles_need_less_memory(way):
    """At most six tenths, for a 512x512 image: each measured in a process of its own."""
    used = []
    for kind in (way, f"{way} tiled"):
        run = subprocess.run([sys.executable, "-c", MEMORY, kind], capture_output=True, text=True, check=True)
        used.append(float(run.stdout))
    assert 0 < used[1] < 0.6 * used[0], used
