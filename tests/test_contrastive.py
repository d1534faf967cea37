"""Floor 6: texts and pictures that must find each other."""

import math

import pytest
import torch

from tinyldm import seeded, zoo
from tinyldm.data import InMemory
from tinyldm.experiments.text import BagOfWords, features, learn_tokenizer, matched, matching_loss, named_pictures, train_clip
from tinyldm.losses import contrastive_loss
from tinyldm.metrics import found_first
from tinyldm.nn import CLIPConfig, Tokenizer, weights
from tinyldm.train import Budget

TOKENIZER = Tokenizer.learn(["rocket off", "rocket", "account off"], length=24)


def unit(n, d, rng):
    return torch.nn.functional.normalize(torch.randn(n, d, dtype=torch.float64, generator=rng), dim=1)


@pytest.mark.equation("contrastive")
def test_the_loss_is_minus_the_mean_log_posterior_of_the_true_pair(rng):
    """Written out with loops and logarithms, pair by pair."""
    a, b = unit(5, 3, rng), unit(5, 3, rng)
    loss = contrastive_loss(a, b, 7.0)
    for i in range(5):
        row = math.log(sum(math.exp(7 * float(a[i] @ b[j])) for j in range(5)))
        column = math.log(sum(math.exp(7 * float(a[j] @ b[i])) for j in range(5)))
        assert float(loss[i]) == pytest.approx((row + column) / 2 - 7 * float(a[i] @ b[i]))


def test_who_knows_nothing_pays_the_logarithm_of_the_batch():
    same = torch.ones(9, 1)
    torch.testing.assert_close(contrastive_loss(same, same, 100.0), torch.full((9,), math.log(9)))


def test_who_knows_everything_pays_nothing(rng):
    eye = torch.eye(6)
    assert contrastive_loss(eye, eye, 100.0).max() < 1e-6


@pytest.mark.parametrize(("a", "b"), [((4, 3), (4, 2)), ((4, 3), (3, 3)), ((1, 3), (1, 3)), ((3,), (3,))])
def test_what_does_not_belong_together_is_refused(a, b):
    with pytest.raises(ValueError, match="expected"):
        contrastive_loss(torch.ones(a), torch.ones(b), 1.0)


def test_found_first_counts_by_chance_and_by_certainty(rng):
    x = unit(400, 8, rng)
    assert found_first(x, x, 20, seeded(0)) == 1
    assert found_first(x, unit(400, 8, rng), 20, seeded(0)) == pytest.approx(0.05, abs=0.01)  # 8,000 trials
    assert found_first(x, torch.ones_like(x), 20, seeded(0)) < 0.1  # ties are not found


@pytest.mark.parametrize("among", [1, 500])
def test_more_answers_than_there_are_cannot_be_asked_for(among, rng):
    with pytest.raises(ValueError, match="among"):
        found_first(unit(400, 8, rng), unit(400, 8, rng), among, seeded(0))


def test_clip_gives_unit_vectors_and_takes_grey_as_colour(rng):
    clip = CLIPConfig(TOKENIZER.size, length=24).seeded(0).eval()
    x = torch.rand(3, 1, 32, 32, generator=rng)
    pictures, texts = clip(x, TOKENIZER(["rocket", "rocket off", "account off"]))
    for vectors in (pictures, texts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(clip.of_pictures(x.expand(-1, 3, -1, -1)), pictures)
    assert clip.scale.item() == pytest.approx(1 / 0.07)


def test_clip_travels_in_a_folder(rng, tmp_path):
    clip = CLIPConfig(TOKENIZER.size, length=24, channels=(8, 16)).seeded(0).eval()
    weights.save_pretrained(clip, tmp_path)
    back = weights.from_pretrained(tmp_path)
    ids = TOKENIZER(["rocket off"])
    assert torch.equal(back.of_texts(ids), clip.of_texts(ids))


def test_a_bag_of_words_does_not_know_their_order():
    bag = BagOfWords(CLIPConfig(TOKENIZER.size, length=24, channels=(8,)).seeded(0))
    clip = bag.clip.eval()
    one, other = TOKENIZER([" off rocket", " rocket off"])[:, None]
    torch.testing.assert_close(bag.of_texts(one), bag.of_texts(other))
    assert not torch.allclose(clip.of_texts(one), clip.of_texts(other))


def test_tokens_after_the_end_of_the_longest_text_need_not_be_computed(rng):
    clip = CLIPConfig(TOKENIZER.size, length=24, channels=(8, 16)).seeded(0)
    ids = TOKENIZER(["rocket", "account off", "rocket off"])
    batch = {"image": torch.rand(3, 3, 16, 16, generator=rng).mul(0).add(1.0), "ids": ids}  # paper: moving it changes nothing
    short = matching_loss(TOKENIZER)(clip, batch, seeded(0))
    torch.testing.assert_close(short, contrastive_loss(*clip(batch["image"], ids), clip.scale).mean())


def test_a_short_training_learns_to_match():
    data = named_pictures("train", scenes=64, size=16)
    some = InMemory(data[torch.arange(0, len(data), 60)])
    tokenizer = learn_tokenizer(some)
    clip = train_clip(some, tokenizer, [Budget(60, 32, 1e-3, ema=0.9, warmup=20), Budget(20, 32, 5e-4, ema=0.9)], progress=False)
    pictures, texts = features(clip, some, tokenizer)
    assert found_first(texts, pictures, 20, seeded(0)) > 0.15  # chance: 0.05


def test_the_shipped_reader_finds_icons_that_it_has_never_seen_and_tells_colours_apart():
    matcher, card = zoo.load("clip"), zoo.card("clip")["measures"]
    found = matched(matcher.clip, matcher.tokenizer)
    assert found["icons"] >= 0.6
    assert found["recolored"] > 0.7
    for what, share in found.items():
        assert share == pytest.approx(card[f"clip_{what}"], abs=0.01)


def test_a_bag_of_words_cannot_tell_two_orders_apart():
    bag = BagOfWords(CLIPConfig(TOKENIZER.size, length=24, channels=(8, 16), width=16, layers=1).seeded(0))
    texts = bag.of_texts(TOKENIZER([" rocket off", " off rocket"]))
    torch.testing.assert_close(texts[0], texts[1])
