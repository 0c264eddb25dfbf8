"""Which calls are made again, and after which pause."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

# Overloaded or away: what was asked may be asked again.
AGAIN: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retry:
    """Pauses in seconds, doubled each time and drawn between half of it and all of it."""

    attempts: int = 3
    first_pause: float = 0.1
    longest_pause: float = 2.0
    uniform: Callable[[float, float], float] = random.uniform

    def pause(self, attempt: int, answer: httpx.Response | None) -> float | None:
        """After which pause to try again, counted from attempt 1; None: not again.

        `answer` is None where there was none. A Retry-After of whole seconds is kept to, if it is not too long.
        """
        if attempt >= self.attempts or (answer is not None and answer.status_code not in AGAIN):
            return None
        longest = min(self.longest_pause, self.first_pause * 2 ** (attempt - 1))
        asked = "" if answer is None else answer.headers.get("retry-after", "")
        if asked.isdigit():
            return min(float(asked), self.longest_pause)
        return self.uniform(longest / 2, longest)


def is_away(answer: httpx.Response) -> bool:
    """Whether it says that the platform cannot answer now, which is no fault of what was asked."""
    return answer.is_server_error or answer.status_code in AGAIN
