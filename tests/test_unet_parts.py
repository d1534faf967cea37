"""What a U-Net is made of: the residual block and attention against independent truths."""

import math

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D

from tinyldm.nn.attention import attend, split
from tinyldm.nn.layers import ResBlock

NAMES = {"emb": "time_emb_proj", "skip": "conv_shortcut"}


@pytest.mark.equation("residual-block")
@pytest.mark.parametrize(("cin", "cout"), [(8, 8), (12, 8), (4, 12)])
@pytest.mark.parametrize("scale_shift", [False, True])
def test_the_residual_block_is_that_of_diffusers(cin, cout, scale_shift, rng):
    ours = ResBlock(cin, cout, groups=4, emb_dim=6, scale_shift=scale_shift).double()
    for p in ours.parameters():
        torch.nn.init.normal_(p, generator=rng)
    theirs = ResnetBlock2D(
        in_channels=cin,
        out_channels=cout,
        temb_channels=6,
        groups=4,
        eps=1e-5,
        time_embedding_norm="scale_shift" if scale_shift else "default",
    ).double()
    renamed = {".".join([NAMES.get(k.split(".")[0], k.split(".")[0]), k.split(".")[1]]): v for k, v in ours.state_dict().items()}
    theirs.load_state_dict(renamed)
    x = torch.randn(2, cin, 5, 3, generator=rng, dtype=torch.float64)
    emb = torch.randn(2, 6, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(ours(x, emb), theirs(x, emb), rtol=1e-12, atol=1e-12)


def test_the_time_is_one_number_a_channel(rng):
    """Between two embeddings, what enters the second convolution's normalisation differs by a constant in each channel."""
    block, seen = ResBlock(8, 8, groups=4, emb_dim=6), []
    block.norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 8, 4, 4, generator=rng)
    for _ in range(2):
        block(x, torch.randn(1, 6, generator=rng))
    gap = (seen[0] - seen[1])[0].flatten(1)
    torch.testing.assert_close(gap, gap.mean(1, keepdim=True).expand_as(gap), rtol=0, atol=1e-6)
    assert gap.std(0).min() > 0.01


@pytest.mark.equation("film")
def test_scale_and_shift_act_between_norm_and_activation(rng):
    """The second norm's output, written out channel by channel, is what enters the second convolution after SiLU."""
    block, seen = ResBlock(8, 8, groups=4, emb_dim=6, scale_shift=True).double(), []
    block.conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, emb = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((2, 8, 4, 4), (2, 6)))
    block(x, emb)
    said = torch.nn.functional.silu(emb) @ block.emb.weight.T + block.emb.bias
    h = block.conv1(torch.nn.functional.silu(block.norm1(x))).unflatten(1, (4, 2))
    h = (h - h.mean((2, 3, 4), keepdim=True)) / (h.var((2, 3, 4), keepdim=True, correction=0) + 1e-5).sqrt()
    h = h.flatten(1, 2)
    for c in range(8):
        wanted = (1 + said[:, c, None, None]) * h[:, c] + said[:, 8 + c, None, None]
        torch.testing.assert_close(seen[0][:, c], wanted * torch.sigmoid(wanted), rtol=0, atol=1e-10)


@pytest.mark.equation("attention")
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_an_average_weighted_by_exponentials(heads, rng):
    """One number after the other, with nothing but exp and sums."""
    q, k, v = (torch.randn(2, n, 6, generator=rng, dtype=torch.float64) for n in (3, 5, 5))
    out = attend(*(split(t, heads) for t in (q, k, v)))
    wide = 6 // heads
    for b in range(2):
        for n in range(3):
            for c in range(6):
                own = range(c // wide * wide, (c // wide + 1) * wide)
                scores = [sum(float(q[b, n, i] * k[b, m, i]) for i in own) / math.sqrt(wide) for m in range(5)]
                weights = [math.exp(s) for s in scores]
                expected = sum(w * float(v[b, m, c]) for m, w in enumerate(weights)) / sum(weights)
                torch.testing.assert_close(out[b, n, c].item(), expected, rtol=1e-12, atol=1e-12)
