"""Floor 5: a model that reads: its text part, what it is asked in words, and the folder that keeps all of it."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from tinyldm import VP, Condition, Denoiser, Guidance, LatentDiffusion, LatentSpace, RectifiedFlow, Text, seeded
from tinyldm.nn import CLIPConfig, MMDiTConfig, TextConfig, TextEncoder, Tokenizer, UNetConfig

CAPTIONS = ["a red circle left of a blue square", "a blue circle", "a red square right of a red circle"]
TOKENIZER = Tokenizer.learn(CAPTIONS, merges=40, length=20)
ENCODER = TextConfig(TOKENIZER.size, width=16, heads=2, layers=2, length=24, projection=6)
UNET = UNetConfig(in_channels=2, channels=(8, 8), attention=(False, True), heads=2, groups=4, classes=0, tokens=16)
MMDIT = MMDiTConfig(in_channels=2, width=16, heads=2, blocks=2, side=2, tokens=16, vector=6)


def lively(net):
    """The network with small random numbers in the places that start as zeros."""
    with torch.no_grad():
        for p in net.parameters():
            p += 0.05 * torch.randn(p.shape, generator=seeded(p.numel()))
    return net.eval()


@pytest.fixture
def text():
    return Text(TOKENIZER, lively(ENCODER.seeded(0)))


@pytest.fixture
def reader(build, autoencoder_config, text):
    """A model that reads, untrained."""
    return LatentDiffusion(LatentSpace(build(autoencoder_config)), Denoiser(lively(UNET.seeded(1)), VP(), "v"), (2, 4, 4), text)


def on(model, net):
    return replace(model, denoiser=replace(model.denoiser, net=net))


def draw(model, cond=None, n=2, **options):
    return model.sample(n, cond, **{"steps": 2, "generator": seeded(0), **options})


# ---- the part that reads


def test_a_condition_holds_what_the_encoder_says_of_each_text(text):
    texts = ["a red circle", "", "a red circle", "a blue square"]
    ids = TOKENIZER(texts)
    tokens, pooled = text.encoder(ids)
    cond = text(texts, ("tokens", "vector"))
    torch.testing.assert_close(cond.tokens, tokens)
    torch.testing.assert_close(cond.vector, pooled)
    assert torch.equal(cond.tokens_mask, TOKENIZER.mask(ids))
    assert not cond.tokens.requires_grad
    only = text("a red circle")
    assert (only.tokens.shape, only.tokens_mask.shape, only.vector) == ((1, 20, 16), (1, 20), None)
    only = text("a red circle", ("vector",))
    assert (only.tokens, only.tokens_mask, only.vector.shape) == (None, None, (1, 6))


def test_each_text_is_read_once(text):
    seen = []
    text.encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    text(["a red circle"] * 9 + ["a"])
    assert seen == [2]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("a red circel", r"texts: expected only the 8 words .*, got 'circel' \(did you mean 'circle'\?\)"),
        (["a circle", "A green  sqare"], r"'A' \(did you mean 'a'\?\), 'green' .*, 'sqare' \(did you mean 'square'\?\)"),
        ("a red circle " * 9, "texts: expected at most 18: up to 'a red circle .*, got [0-9]+ tokens"),
        ([], "texts: expected a text, or a list of texts"),
        (3, "texts: expected a text, or a list of texts, got 3"),
    ],
)
def test_what_cannot_be_read_is_refused(texts, said, text):
    with pytest.raises(ValueError, match=said):
        text(texts)


def test_a_tokenizer_without_a_list_of_words_takes_them_all(text):
    wordless = Text(replace(TOKENIZER, words=()), text.encoder)
    assert wordless("xyz").tokens.shape == (1, 20, 16)


@pytest.mark.parametrize(
    ("tokenizer", "config", "said"),
    [
        (Tokenizer.learn(CAPTIONS, merges=10), ENCODER, f"expected {TOKENIZER.size}, the vocabulary .*, got 268 tokens"),
        (replace(TOKENIZER, length=25), ENCODER, "expected at most the encoder's 24, got texts of 25 tokens"),
        (TOKENIZER, replace(ENCODER, end=5), f"expected 5, the end for the encoder, got the end token {TOKENIZER.end}"),
    ],
)
def test_a_tokenizer_of_another_encoder_is_refused(tokenizer, config, said):
    with pytest.raises(ValueError, match=f"tokenizer: {said}"):
        Text(tokenizer, config.build())
    Text(TOKENIZER, replace(ENCODER, end=TOKENIZER.end).build())


def test_a_slot_that_no_text_fills_is_refused(text):
    with pytest.raises(ValueError, match="slots='label' is unknown"):
        text("a", ("label",))


def test_a_network_gets_what_it_was_built_for(text):
    assert text.slots(UNET.build()) == ("tokens",)
    assert text.slots(MMDIT.build()) == ("tokens", "vector")
    assert text.slots(torch.nn.DataParallel(replace(UNET, tokens=0, vector=6).build())) == ("vector",)
    assert text.slots(nn.Linear(1, 1)) == ("tokens",)
    with pytest.raises(ValueError, match=r"text: expected None: .* tokens=0 and vector=0, got Text"):
        text.slots(replace(UNET, tokens=0).build())


# ---- asked in words


def test_words_are_the_condition_that_they_mean(reader, text):
    wanted = draw(reader, text(["a red circle"] * 2))
    assert torch.equal(draw(reader, "a red circle"), wanted)
    assert torch.equal(draw(reader, ["a red circle", "a red circle"]), wanted)
    each = draw(reader, ["a red circle", "a blue square"])
    assert not torch.equal(each[1], wanted[1])
    torch.testing.assert_close(each[0], wanted[0])


@pytest.mark.parametrize("guidance", [3.0, Guidance(3.0, (0.2, 0.8)), Guidance(2.0, form="rescaled")])
def test_guidance_leads_away_from_the_empty_text_or_from_another(guidance, reader, text):
    empty = text(["", ""])
    wanted = draw(reader, "a red circle", guidance=guidance, unconditional=empty)
    assert torch.equal(draw(reader, "a red circle", guidance=guidance), wanted)
    negative = draw(reader, "a red circle", guidance=guidance, unconditional="a blue square")
    assert not torch.equal(negative, wanted)
    assert not torch.equal(draw(reader, "a red circle"), wanted)


def test_nothing_asked_is_the_empty_text(reader, text):
    assert torch.equal(draw(reader), draw(reader, text(["", ""])))
    assert torch.equal(draw(reader, "a red circle", guidance=0.0), draw(reader))


def test_a_network_that_wants_a_vector_too_is_given_one(reader):
    model = on(reader, lively(MMDIT.seeded(2)))
    one, other = (draw(model, words, guidance=2.0) for words in ("a red circle", "a blue square"))
    assert not torch.equal(one, other)
    assert torch.equal(draw(model, model.text(["a red circle"] * 2, ("tokens", "vector")), guidance=2.0), one)


@pytest.mark.parametrize(
    ("cond", "options", "said"),
    [
        (["a", "a", "a"], {}, "cond: expected one of 2, or of 1 for all, got a batch of 3"),
        ("a", {"unconditional": ["a"] * 3, "guidance": 2.0}, "unconditional: expected one of 2, or of 1 for all"),
        ("a dinosaur", {}, "texts: expected only the 8 words .* got 'dinosaur'"),
        ("a", {"unconditional": "dinosaurs", "guidance": 2.0}, "texts: .* got 'dinosaurs'"),
    ],
)
def test_words_that_do_not_fit_are_refused(cond, options, said, reader):
    with pytest.raises(ValueError, match=said):
        draw(reader, cond, **options)


def test_a_model_without_a_part_that_reads_says_so(reader, text):
    deaf = replace(reader, text=None)
    for argument in ("cond", "unconditional"):
        asked = {"cond": text(["a"] * 2), argument: "a red circle"}
        with pytest.raises(ValueError, match=f"{argument}: expected a Condition or labels: this model cannot read, got 'a red"):
            draw(deaf, **asked)


@pytest.mark.parametrize("guidance", [0.0, 3.0, Guidance(3.0, (0.2, 0.8))])
def test_nothing_to_lead_away_from_is_told_by_its_own_name(guidance, reader, text):
    cond = text(["a"] * 2, ("tokens", "vector"))
    deaf = replace(reader, text=None)
    with pytest.raises(ValueError, match=r"unconditional.tokens: expected a value: guidance .* got None"):
        draw(deaf, replace(cond, vector=None), guidance=guidance)
    with pytest.raises(ValueError, match=r"unconditional.vector: expected a value"):
        draw(on(deaf, MMDIT.build()), cond, guidance=guidance, unconditional=replace(cond, vector=None))
    draw(deaf, replace(cond, vector=None))  # without guidance nothing is needed
    wide = on(deaf, replace(UNET, in_channels=3, out_channels=2, tokens=0, middle=0, attention=(0, 0)).build())
    with pytest.raises(ValueError, match=r"unconditional.image: expected a value"):
        draw(wide, Condition(image=torch.zeros(2, 1, 4, 4)), guidance=guidance)


def test_a_part_that_no_one_listens_to_is_refused(reader):
    with pytest.raises(ValueError, match="text: expected None: this network has been built with tokens=0 and vector=0"):
        on(reader, replace(UNET, tokens=0).build())


# ---- in a folder


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_brings_back_the_part_that_reads(reader, tmp_path):
    reader.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    back = LatentDiffusion.load(tmp_path)
    assert back.text.tokenizer == TOKENIZER
    assert type(back.text.encoder) is TextEncoder
    assert back.text.encoder.config == ENCODER
    assert not back.text.encoder.training
    asked = {"cond": ["a red circle", "a blue square"], "guidance": 2.0}
    assert torch.equal(draw(back, **asked), draw(reader, **asked))
    back.save(tmp_path / "half", torch.float16)
    for name, tensor in LatentDiffusion.load(tmp_path / "half").text.encoder.state_dict().items():
        assert torch.equal(tensor, reader.text.encoder.state_dict()[name].half().float())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["text"]["tokenizer"].update(words=[]), r"text.tokenizer: expected the one .* \w{16}, got \w{16} in"),
        (lambda c: c["text"]["tokenizer"].update(length=9), "text.tokenizer: expected the one"),
        (lambda c: c["text"]["tokenizer"]["merges"].pop(), "tokenizer: expected .*, the vocabulary of the encoder"),
        (lambda c: c["text"]["tokenizer"].pop("words"), "tokenizer: expected merges, length and words"),
        (lambda c: c["text"]["encoder"].update(layers=3), r"state: .*blocks\.2\..*absent"),
        (lambda c: c["text"].pop("encoder"), "text: expected an encoder and a tokenizer"),
        (lambda c: c.pop("text"), "text.tokenizer: expected the one .*, got None"),
    ],
)
def test_another_tokenizer_or_encoder_than_was_saved_is_refused(change, said, reader, tmp_path):
    reader.save(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(ValueError, match=said):
        LatentDiffusion.load(tmp_path)


def test_a_tokenizer_of_the_same_size_from_another_model_is_refused(reader, tmp_path):
    other = Tokenizer.learn([text.replace("red", "green") for text in CAPTIONS], len(TOKENIZER.merges), 20)
    assert other.size == TOKENIZER.size
    reader.save(tmp_path)
    edit(tmp_path, lambda c: c["text"].update(tokenizer=other.as_dict()))
    with pytest.raises(ValueError, match=r"text.tokenizer: expected the one"):
        LatentDiffusion.load(tmp_path)


class Counts(nn.Module):
    """An own encoder: how often each token occurs."""

    def __init__(self, size=TOKENIZER.size):
        super().__init__()
        self.table = nn.Embedding(size, 16)

    def forward(self, ids):
        tokens = self.table(ids)
        return tokens, tokens.mean(1)


def test_an_own_encoder_travels_as_own_networks_do(reader, tmp_path):
    mine = replace(reader, text=Text(TOKENIZER, Counts()))
    mine.save(tmp_path)
    back = LatentDiffusion.load(tmp_path, encoder=Counts())
    assert torch.equal(draw(back, "a red circle"), draw(mine, "a red circle"))
    for given, said in (
        (None, r"encoder: expected encoder=Counts\(\), an object of your own class.*got None"),
        (ENCODER.build(), r"encoder: expected encoder=Counts\(\), got _class_name=TextEncoder"),
        (Counts(9), "state: .*table.weight"),
    ):
        with pytest.raises(ValueError, match=said):
            LatentDiffusion.load(tmp_path, encoder=given)
    reader.save(tmp_path)
    with pytest.raises(ValueError, match=r"encoder: expected None: .* the library's own TextEncoder"):
        LatentDiffusion.load(tmp_path, encoder=Counts())
    replace(reader, text=None).save(tmp_path)
    assert LatentDiffusion.load(tmp_path).text is None
    with pytest.raises(ValueError, match="encoder: expected None: this model was saved without a part that reads"):
        LatentDiffusion.load(tmp_path, encoder=Counts())


def test_an_own_tokenizer_is_refused_before_anything_is_written(reader, tmp_path):
    class Loud(Tokenizer):
        """An own one."""

    loud = Loud(TOKENIZER.merges, TOKENIZER.length, TOKENIZER.words)
    with pytest.raises(ValueError, match=r"text.tokenizer: expected the library's own Tokenizer: .* got Loud"):
        replace(reader, text=Text(loud, reader.text.encoder)).save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_clip_s_text_encoder_is_a_text_encoder_like_others(reader, tmp_path):
    clip = CLIPConfig(TOKENIZER.size, width=16, heads=2, layers=1, length=20, projection=6, channels=(8,)).seeded(0).eval()
    model = replace(reader, text=Text(TOKENIZER, clip.text), denoiser=replace(reader.denoiser, path=RectifiedFlow()))
    model.save(tmp_path)
    assert torch.equal(draw(LatentDiffusion.load(tmp_path), "a red circle"), draw(model, "a red circle"))


def test_a_model_that_reads_says_so_in_a_line(reader):
    *_, line = repr(reader).splitlines()
    assert line.startswith("  Text(TextEncoder of ")
    assert line.endswith(f" parameters, 8 words, 20 of {TOKENIZER.size} tokens)")
