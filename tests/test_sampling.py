"""From a latent diffusion model to pictures: where chance comes from, and what sampling adds to decoding."""

from functools import partial

import torch

from tinyldm import Condition, ddpm, seeded


def test_a_step_keeps_the_generator_that_it_brings(model):
    """A bare stochastic step gets the caller's generator; one that was given its own keeps it."""
    mine = [model.sample_latents(2, steps=3, solver=partial(ddpm, generator=seeded(k)), generator=seeded(0)) for k in (1, 1, 2)]
    assert torch.equal(mine[0], mine[1])
    assert not torch.equal(mine[0], mine[2])
    bare = [model.sample_latents(2, steps=3, solver=ddpm, generator=seeded(k)) for k in (1, 1)]
    assert torch.equal(*bare)


def test_images_are_the_decoded_latents(model):
    cond, options = Condition(torch.tensor([0, 1])), {"steps": 3, "solver": "ddim", "guidance": 2.0, "kind": "karras"}
    z = model.sample_latents(2, cond, generator=seeded(3), **options)
    assert z.shape == (2, *model.latent)
    assert torch.equal(model.sample(2, cond, generator=seeded(3), **options), model.space.decode(z))
