"""Rewards computed from feedback (the book, sections 4.2.3 and 5.4.1). For numpy arrays and tensors; imports no torch.

Shapes: B batch, M modalities.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

__all__ = ["bleu", "captioning_reward", "detail", "length", "multimodal_reward", "words"]

_WORD = re.compile(r"\w+(?:'\w+)?")


class _Array(Protocol):
    def __matmul__(self, other: Self, /) -> Self: ...


_ArrayT = TypeVar("_ArrayT", bound=_Array)


def multimodal_reward(rewards_BM: _ArrayT, weights_M: _ArrayT) -> _ArrayT:
    """Multimodal reward: Σ_m w_m R_m(s^m, a^m).

    Equation 10, section 4.2.3.

    Args:
        rewards_BM: R_m of each modality (in a loop, of each metric); 0 where none came.
        weights_M: w_m, of the same dtype.

    Returns:
        [B].
    """
    return rewards_BM @ weights_M


def captioning_reward(caption: str, references: Sequence[str], alpha: float, beta: float, gamma: float) -> float:
    """Captioning reward: α · BLEU + β · Detail - γ · Length, each term in [0, 1].

    Equation 16, section 5.4.1.

    Args:
        caption: the caption that was chosen.
        references: what people wrote, at least one.
        alpha: α, weight of being right.
        beta: β, weight of saying much.
        gamma: γ, weight of not saying too much.

    Returns:
        The reward, in [-γ, α + β] for weights of 0 or more.

    Raises:
        ValueError: there is no reference.
    """
    return alpha * bleu(caption, references) + beta * detail(caption, references) - gamma * length(caption, references)


def bleu(caption: str, references: Sequence[str]) -> float:
    """Sentence BLEU of up to 4 words in a row, in [0, 1] (Papineni et al. 2002), by sacrebleu.

    Two words and longer are smoothed by adding one to matches and totals (Lin and Och 2004), so that a short caption
    without four words in common is not simply 0; a caption of under four words is judged on as many as it has.
    """
    # Only loops with captions need it.
    from sacrebleu.metrics.bleu import BLEU, MAX_NGRAM_ORDER

    candidate, tokens = words(caption), _reference_words(references)
    order = min(MAX_NGRAM_ORDER, max(1, len(candidate)))
    metric = BLEU(tokenize="none", smooth_method="add-k", smooth_value=1, max_ngram_order=order, effective_order=True)
    score = metric.sentence_score(" ".join(candidate), [" ".join(reference) for reference in tokens]).score
    return min(1.0, float(score) / 100)


def detail(caption: str, references: Sequence[str]) -> float:
    """How much of what people mention the caption mentions, in [0, 1].

    ROUGE-1 (Lin 2004, equation 1): Σ_r Σ_w min(n_caption(w), n_r(w)) / Σ_r |r| over words w of references r, so that a
    word that several people mention counts more.
    """
    said, mentioned = Counter(words(caption)), [Counter(tokens) for tokens in _reference_words(references)]
    return sum((said & reference).total() for reference in mentioned) / max(sum(r.total() for r in mentioned), 1)


def length(caption: str, references: Sequence[str]) -> float:
    """How far the caption runs past the longest reference, in [0, 1]: max(0, |c| - |r|) / |c| in words.

    The brevity penalty's ratio (Papineni et al. 2002, section 2.2.2) turned round: BLEU punishes too few words already.
    """
    used, longest = len(words(caption)), max(map(len, _reference_words(references)))
    return max(0, used - longest) / max(used, 1)


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; an apostrophe inside a word stays."""
    return _WORD.findall(text.lower())


def _reference_words(references: Sequence[str]) -> list[list[str]]:
    if not references:
        raise ValueError("a caption needs at least one reference")
    return [words(reference) for reference in references]
