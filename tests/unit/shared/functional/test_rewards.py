import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu

from shared.functional.rewards import bleu, captioning_reward, detail, length, multimodal_reward, words

CAPTIONS = st.lists(st.sampled_from(["a", "dog", "red", "shoe", "runs", "on", "grass", "!", "Dog's"]), max_size=12).map(
    " ".join
)
REFERENCES = st.lists(CAPTIONS, min_size=1, max_size=4)


def test_multimodal_reward_by_hand() -> None:
    rewards, weights = [[1.0, 0.0, 4.0], [0.0, 2.0, -1.0]], [0.5, 0.25, 0.125]
    assert multimodal_reward(np.array(rewards), np.array(weights)).tolist() == [1.0, 0.375]
    assert multimodal_reward(torch.tensor(rewards), torch.tensor(weights)).tolist() == [1.0, 0.375]


@given(st.permutations(range(4)), st.integers(0, 1000))
def test_multimodal_reward_is_numpys_weighted_average_whatever_the_order(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards, weights = rng.normal(size=(5, 4)), rng.uniform(0.1, 1.0, size=4)
    found = multimodal_reward(rewards[:, order], weights[order])
    np.testing.assert_allclose(found, np.average(rewards, axis=1, weights=weights) * weights.sum(), atol=1e-12)


def test_corpus_bleu_over_our_words_is_the_published_one(shared_data: Path) -> None:
    corpus = json.loads((shared_data / "coco_captions" / "fakecap1000.json").read_text())
    candidates = [words(caption) for caption in corpus["candidates"].values()]
    references = [[words(text) for text in corpus["references"][image]] for image in corpus["candidates"]]
    orders = [(1.0,), (0.5,) * 2, (1 / 3,) * 3, (0.25,) * 4]
    assert corpus_bleu(references, candidates, orders) == pytest.approx([0.5797, 0.4046, 0.2787, 0.1909], abs=5e-5)


@given(CAPTIONS, REFERENCES)
def test_bleu_is_nltks_smoothed_sentence_bleu(caption: str, references: list[str]) -> None:
    tokens, smoothing = [words(one) for one in references], SmoothingFunction().method2
    expected = sentence_bleu(tokens, words(caption), smoothing_function=smoothing, auto_reweigh=True)
    assert bleu(caption, references) == pytest.approx(expected)


def test_bleu_by_hand() -> None:
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, 0 of 2 quadruples, with one added to all but the words; 5 words, not 6
    expected = math.exp(1 - 6 / 5) * (4 / 5 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu("The cat is on rugs.", ["the cat is sitting on mats"]) == pytest.approx(expected)
    assert bleu("nothing in common", ["the cat"]) == 0.0


@pytest.mark.parametrize("caption", ["Dog", "a dog", "A red shoe.", "a dog runs on the grass"])
def test_the_reference_itself_is_perfect(caption: str) -> None:
    assert bleu(caption, ["something else", caption]) == pytest.approx(1.0)
    assert detail(caption, [caption]) == 1.0
    assert length(caption, [caption]) == 0.0


def test_detail_by_hand() -> None:
    references = ["a red dog runs", "a dog and a shoe"]
    # of 4 words: a, dog, runs; of 5 words: a, dog (the caption has one a, the reference two)
    assert detail("A dog runs.", references) == pytest.approx(5 / 9)
    assert detail("dog dog dog", references) == pytest.approx(2 / 9)


def test_length_by_hand() -> None:
    references = ["one two", "one two three"]
    assert length("one two three", references) == 0.0
    assert length("one two three four five six", references) == 0.5
    assert length("", references) == 0.0


def test_captioning_reward_by_hand() -> None:
    caption, references = "a dog runs and runs and runs and runs", ["a dog runs"]
    # 3 of 9 words, 2 of 8 pairs, 1 of 7 triples, 0 of 6 quadruples
    quality = (3 / 9 * 3 / 9 * 2 / 8 * 1 / 7) ** 0.25
    reward = captioning_reward(caption, references, alpha=1.0, beta=0.5, gamma=0.3)
    assert reward == pytest.approx(quality + 0.5 * 1.0 - 0.3 * (1 - 3 / 9))


@given(CAPTIONS, REFERENCES)
def test_terms_are_bounded_and_the_order_of_references_does_not_matter(caption: str, references: list[str]) -> None:
    for term in (bleu, detail, length):
        assert 0.0 <= term(caption, references) <= 1.0
        assert term(caption, references) == pytest.approx(term(caption, references[::-1]))


@given(CAPTIONS, REFERENCES)
def test_one_more_word_never_takes_detail_away_nor_length(caption: str, references: list[str]) -> None:
    longer = f"{caption} shoe"
    assert detail(longer, references) >= detail(caption, references)
    assert length(longer, references) >= length(caption, references)


def test_a_caption_without_words_earns_nothing() -> None:
    assert captioning_reward("?!", ["a dog"], 1.0, 1.0, 1.0) == 0.0
    assert captioning_reward("?!", ["..."], 1.0, 1.0, 1.0) == 0.0


def test_no_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="reference"):
        captioning_reward("a dog", [], 1.0, 1.0, 1.0)


def test_words_are_lower_case_without_punctuation() -> None:
    assert words("A dog's 2nd bone -- it's 'good'!") == ["a", "dog's", "2nd", "bone", "it's", "good"]
    assert words("Über café") == ["über", "café"]


def test_rewards_need_no_torch_and_warn_of_nothing() -> None:
    program = (
        "import sys; from shared.functional import rewards; assert 'sacrebleu' not in sys.modules; "
        "rewards.captioning_reward('a dog runs', ['a cat'], 1.0, 1.0, 1.0); assert 'torch' not in sys.modules"
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
