"""Random small transformers of the three families, ours and diffusers' with the same numbers, and how to call the latter."""

import random
from contextlib import suppress

import torch
from conftest import seeded_build
from diffusers_maps import perturb

from tinyldm import Condition
from tinyldm.nn import pack, unpack
from tinyldm.nn.foreign.mmdit import mmdit_shapes
from tinyldm.nn.foreign.mmdit_options import write_mmdit
from tinyldm.nn.mmdit import MMDiTConfig
from tinyldm.nn.names import names

FAMILIES = ["sd3", "flux", "dit"]


def random_config(family, seed):
    """Sizes at random, everything that the family has."""
    pick = random.Random(seed)
    heads, head = pick.choice([1, 2, 3]), pick.choice([8, 12, 16])
    common = {
        "in_channels": pick.choice([1, 2, 4]),
        "out_channels": pick.choice([None, 3, 8]),
        "width": heads * head,
        "heads": heads,
        "blocks": pick.choice([1, 2, 3]),
    }
    if family == "flux":
        a, b = pick.choice([(0, 2), (2, 2), (2, 4)])
        return MMDiTConfig(
            **common,
            singles=pick.choice([1, 2]),
            qk_norm=True,
            tokens=pick.choice([5, 8]),
            vector=pick.choice([3, 6]),
            guidance=pick.random() < 0.5,
            side=0,
            rope=(a, b, head - a - b),
            time_factor=1000,
            channels_first=True,
        )
    patch, side = pick.choice([1, 2, 3]), pick.choice([3, 4, 5])
    if family == "sd3":
        return MMDiTConfig(
            **common,
            patch=patch,
            qk_norm=pick.random() < 0.5,
            tokens=pick.choice([5, 8]),
            vector=pick.choice([3, 6]),
            side=side,
            table=pick.choice([5, 6, 9]),
        )
    return MMDiTConfig(
        **common,
        patch=patch,
        classes=pick.choice([1, 4]),
        side=side,
        freq_shift=1,
        shared_clock=False,
        ff_eps=pick.choice([1e-5, 1e-3]),
        shift_first=True,
    )


def random_condition(config, batch, rng, length=4):
    """Everything that the network has a use for; leaves of their own."""
    draw = {"generator": rng, "requires_grad": True}
    return Condition(
        label=torch.randint(config.classes + 1, (batch,), generator=rng) if config.classes else None,
        vector=torch.randn(batch, config.vector, **draw) if config.vector else None,
        tokens=torch.randn(batch, length, config.tokens, **draw) if config.tokens else None,
        guidance=(5 * torch.rand(batch, generator=rng)).requires_grad_() if config.guidance else None,
    )


def table(ours):
    """Our tensor names -> diffusers'."""
    return names(ours, "diffusers")


def their_network(config):
    import diffusers

    written = write_mmdit(config)
    return getattr(diffusers, written["_class_name"]).from_config(written).eval()


def both(config, rng):
    """Ours, everything in it at random, and theirs with the same numbers; every tensor of one is one of the other."""
    ours, theirs = perturb(seeded_build(config), rng), their_network(config)
    theirs_of, shapes, other = table(ours), mmdit_shapes(config), theirs.state_dict()
    assert sorted(theirs_of.values()) == sorted(other)
    state = {theirs_of[name]: t.detach().clone().reshape(shapes.get(name, t.shape)) for name, t in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return ours, theirs


def call(theirs, config, x, t, cond):
    """What diffusers' network makes of it, as a picture."""
    height, width = x.shape[2:]
    if config.rope:  # packing, and the tokens' places, are the pipeline's affair
        rows, columns = height // config.patch, width // config.patch
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(rows).float(), torch.arange(columns).float())
        tokens = theirs(
            pack(x, config.patch),
            encoder_hidden_states=cond.tokens,
            pooled_projections=cond.vector,
            timestep=t,
            img_ids=places,
            txt_ids=torch.zeros(cond.tokens.shape[1], 3),
            guidance=cond.guidance,
        ).sample
        return unpack(tokens, height, width, config.patch)
    if config.tokens:
        return theirs(x, encoder_hidden_states=cond.tokens, pooled_projections=cond.vector, timestep=t).sample
    if height == width:
        return theirs(x, timestep=t, class_labels=cond.label).sample
    # their DiT reassembles every picture as if it were a square: take its tokens, which are right, and reassemble them here
    made = []
    hook = theirs.proj_out_2.register_forward_hook(lambda module, given, out: made.append(out))
    with suppress(RuntimeError):
        theirs(x, timestep=t, class_labels=cond.label)
    hook.remove()
    p = config.patch
    squares = made[0].reshape(len(x), height // p, width // p, p, p, config.out)
    return torch.einsum("bhwpqc->bchpwq", squares).reshape(len(x), config.out, height, width)
