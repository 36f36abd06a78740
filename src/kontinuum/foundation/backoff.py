"""Exponential back-off: how long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """``initial * factor ** attempt`` seconds, at most ``maximum``, spread by ``jitter`` (a share, 0 to 1)."""

    initial: float
    maximum: float
    factor: float = 2.0
    jitter: float = 0.0

    def delay(self, attempt: int, chance: random.Random | None = None) -> float:
        """Seconds to wait before try number ``attempt + 1``; ``attempt`` counts failures so far, from 0."""
        # The exponent is capped so that a part that failed for a week does not overflow a float.
        seconds = min(self.maximum, self.initial * self.factor ** min(attempt, 64))
        if self.jitter:
            seconds *= 1 + self.jitter * ((chance or random).random() * 2 - 1)
        return seconds
