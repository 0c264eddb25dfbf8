"""What comes again and again is worked out once, within a budget of memory."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key. Of what was not asked for while half of the budget came new, nothing is kept."""

    def __init__(self, budget: int) -> None:
        """`budget` in the unit that `put` counts by."""
        self._half = budget // 2
        self._size = 0
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self._keep(key, found)
        return None if found is None else found[0]

    def put(self, key: K, value: V, size: int) -> None:
        self._keep(key, (value, size))

    def _keep(self, key: K, entry: tuple[V, int]) -> None:
        if self._size + entry[1] > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = entry
        self._size += entry[1]
