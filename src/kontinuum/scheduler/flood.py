"""When to let pods come before they are placed: pure, and told what time it is.

    calm ──MANY pods within RISING_SECONDS──▶ rising: nobody is placed ──none for CALM_SECONDS──▶ calm
                                                 │ for longer than ``seconds``
                                                 ▼
                                              placed while more come ──none for CALM_SECONDS──▶ calm

Who creates hundreds of pods and who binds them ask the same API server. A binding, and the report of a node that
follows it, cost it twice as much as a creation: if each pod is bound as soon as it is there, its siblings come to be at
half the speed, and all of them run hardly sooner. What comes slowly is placed at once, and so are the first of many.
"""

from __future__ import annotations

from collections import deque

MANY = 16
RISING_SECONDS = 0.1
CALM_SECONDS = 0.05
LOOK_SECONDS = 0.01
"""How soon it is noticed that no more come."""


class Flood:
    """See the module. Times are monotonic seconds."""

    def __init__(self, seconds: float) -> None:
        """``seconds``: for how long pods are let come at most, before as many are placed as there are."""
        self._seconds = seconds
        self._last: deque[float] = deque(maxlen=MANY)
        self._began: float | None = None
        """When this one was first met."""

    def came(self, now: float) -> None:
        """One more pod."""
        if self._last and now - self._last[-1] >= CALM_SECONDS:
            self._began = None
        self._last.append(now)

    def wait(self, now: float) -> float:
        """After how many seconds to ask again; 0: place them."""
        if len(self._last) < MANY or now - self._last[0] >= RISING_SECONDS or now - self._last[-1] >= CALM_SECONDS:
            return 0.0
        if self._began is None:
            self._began = now
        return LOOK_SECONDS if now - self._began < self._seconds else 0.0
