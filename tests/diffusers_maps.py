"""Which of our tensors is which of diffusers': the two networks are the same function when these names carry the same numbers."""

LEAVES = {  # by the class of our module: our name inside it -> theirs
    "ResBlock": {"emb": "time_emb_proj", "skip": "conv_shortcut"},
    "SelfAttention": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"},
}


def autoencoder_modules(config):
    """Our module names -> diffusers.AutoencoderKL's."""
    modules = {"quant": "quant_conv", "post_quant": "post_quant_conv"}
    for side, block, sampler, count in (("encoder", "down", "downsamplers", 0), ("decoder", "up", "upsamplers", 1)):
        for i in range(len(config.channels)):
            for j in range(config.blocks + count):
                modules[f"{side}.levels.{i}.{j}"] = f"{side}.{block}_blocks.{i}.resnets.{j}"
            modules[f"{side}.levels.{i}.{config.blocks + count}"] = f"{side}.{block}_blocks.{i}.{sampler}.0"
        modules[f"{side}.middle.block1"] = f"{side}.mid_block.resnets.0"
        modules[f"{side}.middle.attention"] = f"{side}.mid_block.attentions.0"
        modules[f"{side}.middle.block2"] = f"{side}.mid_block.resnets.1"
        modules |= {
            f"{side}.conv_in": f"{side}.conv_in",
            f"{side}.norm": f"{side}.conv_norm_out",
            f"{side}.conv_out": f"{side}.conv_out",
        }
    return modules


def unet_modules(config):
    """Our module names -> diffusers.UNet2DModel's."""
    modules = {
        "time.linear1": "time_embedding.linear_1",
        "time.linear2": "time_embedding.linear_2",
        "label": "class_embedding",
    }
    modules |= {"conv_in": "conv_in", "norm": "conv_norm_out", "conv_out": "conv_out"}
    for j in (0, 1):
        modules[f"middle.{j}.block"] = f"mid_block.resnets.{j}"
    modules["middle.0.attention"] = "mid_block.attentions.0"
    levels, at = len(config.channels), 0
    for i in range(levels):
        if i > 0:  # theirs ends a level with the downsampler, ours begins the next one with it
            modules[f"down.{at}"] = f"down_blocks.{i - 1}.downsamplers.0"
            at += 1
        for j in range(config.blocks):
            modules[f"down.{at}.block"] = f"down_blocks.{i}.resnets.{j}"
            modules[f"down.{at}.attention"] = f"down_blocks.{i}.attentions.{j}"
            at += 1
    at = 0
    for i in range(levels):  # both count from the deepest level
        for j in range(config.blocks + 1):
            modules[f"up.{at}.block"] = f"up_blocks.{i}.resnets.{j}"
            modules[f"up.{at}.attention"] = f"up_blocks.{i}.attentions.{j}"
            at += 1
        if i < levels - 1:
            modules[f"up.{at}"] = f"up_blocks.{i}.upsamplers.0"
            at += 1
    return modules


def names(module, modules):
    """Our parameter names -> theirs, for all parameters of ``module``. A parameter without a counterpart is a ``KeyError``."""
    table = {}
    for prefix, part in module.named_modules():
        if prefix not in modules:
            continue
        leaves = LEAVES.get(type(part).__name__, {})
        for name, _ in part.named_parameters():
            head, dot, rest = name.rpartition(".")
            table[f"{prefix}.{name}"] = f"{modules[prefix]}.{leaves.get(head, head)}{dot}{rest}"
    return {name: table[name] for name, _ in module.named_parameters()}


def tie(ours, theirs, table):
    """Copy our numbers into their module, after checking that the table pairs all tensors one to one and shape by shape."""
    mine, other = dict(ours.named_parameters()), theirs.state_dict()
    assert set(mine) == set(table)
    assert sorted(table.values()) == sorted(other), sorted(set(table.values()) ^ set(other))
    theirs.load_state_dict({table[name]: p.detach().clone() for name, p in mine.items()})
    return theirs
