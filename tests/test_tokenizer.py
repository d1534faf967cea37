"""Floor 3: every text has a spelling, and comes back from it letter by letter."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyldm.nn import Tokenizer

TEXTS = ["rocket launch outline", "rocket off", "rocket outline", "account off", "account lock outline", "a red circle"]
LEARNED = Tokenizer.learn(TEXTS, merges=60, length=12)


@given(st.text())
def test_every_text_comes_back_exactly(text):
    assert LEARNED.decode(LEARNED.encode(text)) == text


def test_the_first_merges_are_the_commonest_pairs_counted_by_hand():
    """In "ab ab abc" the pair (a, b) occurs three times, then (space, ab) twice; no other pair occurs twice."""
    assert Tokenizer.learn(["ab ab abc"]).merges == ((ord("a"), ord("b")), (ord(" "), 256))
    assert Tokenizer.learn(["aaaa"], merges=9).merges == ((ord("a"), ord("a")),)  # aa aa: the new pair occurs once


def test_merges_are_made_in_the_order_in_which_they_were_learned():
    tokenizer = Tokenizer(((ord("b"), ord("c")), (ord("a"), ord("b"))))
    assert tokenizer.encode("abc") == [ord("a"), 256]
    assert tokenizer.encode("abab") == [257, 257]


def test_learning_shortens_what_it_has_seen():
    assert len(LEARNED.encode("rocket outline")) < len("rocket outline") / 3
    assert LEARNED.size == 256 + len(LEARNED.merges) + 2


def test_a_batch_begins_with_start_and_is_filled_up_with_end():
    ids = LEARNED(["rocket", "account off"])
    assert (ids.shape, ids.dtype) == ((2, 12), torch.int64)
    for row, text in zip(ids.tolist(), ["rocket", "account off"]):
        inside = LEARNED.encode(text)
        assert row == [LEARNED.start, *inside, *[LEARNED.end] * (11 - len(inside))]
    said = LEARNED.mask(ids)
    assert said.sum(1).tolist() == [len(LEARNED.encode(text)) + 2 for text in ("rocket", "account off")]  # start and one end
    torch.testing.assert_close(said, said.cummin(1).values)  # nothing after the first that says nothing


def test_the_empty_text_is_a_start_and_an_end():
    assert LEARNED("").tolist() == [[LEARNED.start, *[LEARNED.end] * 11]]
    assert LEARNED.mask(LEARNED("")).sum() == 2


def test_a_text_too_long_is_refused_and_the_message_shows_what_fits():
    with pytest.raises(ValueError, match=r"texts: expected at most 10: up to 'account account .*', got 26 tokens"):
        LEARNED("account account " * 5 + "zzzzzz")


def test_words_never_seen_are_named():
    assert LEARNED.unknown("a red dinosaur  off") == ["dinosaur"]
    assert LEARNED.unknown("a red circle") == []


def test_it_travels_as_json():
    assert Tokenizer.from_dict(json.loads(json.dumps(LEARNED.as_dict()))) == LEARNED


@pytest.mark.parametrize("texts", [[], [3], 7, [b"rocket"], None])
def test_what_is_no_text_is_refused(texts):
    with pytest.raises((ValueError, TypeError), match="texts"):
        LEARNED(texts)


@pytest.mark.parametrize("tokens", [[-1], [LEARNED.size]])
def test_numbers_that_are_no_tokens_are_refused(tokens):
    with pytest.raises(ValueError, match="tokens: expected numbers from 0"):
        LEARNED.decode(tokens)


def test_merges_of_tokens_not_yet_made_are_refused():
    with pytest.raises(ValueError, match="merges: expected tokens below 256"):
        Tokenizer(((300, 5),))
