"""Long steps that a more urgent wish may cut short: a pull of a deleted pod, a grace period that is shortened."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from kontinuum.foundation.errors import Retryable

T = TypeVar("T")


class Interrupted(Retryable):
    """The step was cut short; plan again."""


class Interruption:
    """``fire`` ends every coroutine that is inside ``during``."""

    def __init__(self) -> None:
        self._steps: set[asyncio.Task[Any]] = set()

    def fire(self) -> None:
        for step in self._steps:
            step.cancel()

    async def during(self, step: Coroutine[Any, Any, T]) -> T:
        """The result of ``step``. Raises Interrupted if ``fire`` is called before it ends."""
        task = asyncio.create_task(step)
        self._steps.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            us = asyncio.current_task()
            if us is not None and us.cancelling():
                raise
            raise Interrupted("a newer wish for the pod came first") from None
        finally:
            self._steps.discard(task)
