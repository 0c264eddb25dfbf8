import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import Action
from shared.networks.preprocessing import (
    NOT_FINITE,
    WRONG_DIMENSION,
    RefusedValueError,
    action_features,
    embedding_features,
    table_features,
    text_features,
)


@given(st.text())
def test_any_text_has_features_of_bounded_length(text: str) -> None:
    bag = text_features(text)
    assert bag.buckets.shape == bag.weights.shape
    assert float(np.square(bag.weights).sum()) == pytest.approx(1.0 if len(bag.buckets) else 0.0, abs=1e-4)


def test_text_ignores_case_and_tells_words_apart() -> None:
    assert text_features("Red SHOE").buckets.tolist() == text_features("red shoe").buckets.tolist()
    assert set(text_features("red").buckets) != set(text_features("blue").buckets)
    # A misspelt word shares trigrams with the right one.
    assert set(text_features("greater").buckets) & set(text_features("graeter").buckets)


def test_buckets_do_not_depend_on_the_process() -> None:
    code = "from shared.networks.preprocessing import text_features; print(text_features('a word').buckets.tolist())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(text_features("a word").buckets.tolist())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_has_bounded_weights(value: float) -> None:
    weights = table_features({"price": value}).weights
    assert np.abs(weights).max() <= 4.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_numbers_that_are_not_finite(value: float) -> None:
    with pytest.raises(RefusedValueError) as refused:
        table_features({"price": value})
    assert refused.value.reason == NOT_FINITE


def test_tables_tell_fields_categories_flags_and_numbers_apart() -> None:
    tables = [{"a": "x"}, {"b": "x"}, {"a": "y"}, {"a": True}, {"a": False}, {"a": 3}, {"a": 4}, {"a": 0.5}]
    bags = {tuple(zip(bag.buckets.tolist(), bag.weights.tolist(), strict=True)) for bag in map(table_features, tables)}
    assert len(bags) == len(tables)


def test_fields_are_read_in_one_order() -> None:
    one, other = table_features({"a": 1, "b": "x"}), table_features({"b": "x", "a": 1})
    assert one.buckets.tolist() == other.buckets.tolist()


def test_a_thousand_action_ids_are_all_different() -> None:
    identities = {tuple(action_features(Action(f"action-{number}")).buckets.tolist()) for number in range(1000)}
    assert len(identities) == 1000


def test_an_action_has_its_features_behind_its_identity() -> None:
    plain, priced = action_features(Action("a")), action_features(Action("a", {"price": 10}))
    assert priced.buckets[: len(plain.buckets)].tolist() == plain.buckets.tolist()
    assert len(priced.buckets) > len(plain.buckets)


def test_an_embedding_keeps_its_direction_and_its_magnitude() -> None:
    embedding = np.array([3.0, -4.0], np.float32)
    features, larger = embedding_features(embedding, 2), embedding_features(1000 * embedding, 2)
    np.testing.assert_allclose(features[:2], larger[:2], rtol=1e-6)
    assert np.sqrt(np.square(features[:2]).mean()) == pytest.approx(1.0)
    assert features[2] == pytest.approx(math.log1p(math.sqrt(12.5)))
    assert larger[2] > features[2]


@pytest.mark.parametrize("value", [0.0, 3e38, 1e-45])
def test_an_embedding_of_any_scale_has_finite_features(value: float) -> None:
    assert np.isfinite(embedding_features(np.full(4, value, np.float32), 4)).all()


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        ([1.0], WRONG_DIMENSION),
        ([[1.0, 2.0]], WRONG_DIMENSION),
        ([1.0, math.nan], NOT_FINITE),
        ([math.inf, 1.0], NOT_FINITE),
    ],
)
def test_refuses_embeddings(embedding: list[float], reason: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        embedding_features(np.array(embedding, np.float32), 2)
    assert refused.value.reason == reason
