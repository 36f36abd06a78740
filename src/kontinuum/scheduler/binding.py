"""From a decision to a bound pod: written, or refused, or asked about until it is known which.

    assumed ──bind──▶ accepted: until the API shows it
                ├───▶ refused: its room is given back, and it is decided again
                └───▶ nobody knows: its room stays taken until the API says where the pod is

A pod group's plan is written down (as promises) before the first of it is bound: whoever takes over in the middle of it
finds the same places. Its bindings are repeated for as long as the group's time lasts, because half a group is no use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.scheduler import groups
from kontinuum.scheduler.acts import Acts
from kontinuum.scheduler.assumptions import Assumptions
from kontinuum.scheduler.companion import BindingRefused, Companion
from kontinuum.scheduler.deciding import Decision
from kontinuum.scheduler.groups import Group
from kontinuum.scheduler.knowledge import Knowledge
from kontinuum.scheduler.telling import Teller

log = structlog.get_logger(__name__)

UNKNOWN = Backoff(initial=1.0, maximum=8.0)
"""Between two questions about a binding whose outcome is unknown, and between a group's attempts to be bound."""


class Binder:
    """See the module."""

    def __init__(
        self,
        clock: Clock,
        knowledge: Knowledge,
        assumptions: Assumptions,
        companions: Sequence[Companion],
        acts: Acts,
        teller: Teller,
    ) -> None:
        self._clock = clock
        self._knowledge = knowledge
        self._assumptions = assumptions
        self._companions = companions
        self._acts = acts
        self._teller = teller

    async def bind(self, pod: Object, node: str) -> None:
        """Bind one assumed pod; if that fails it is decided again."""
        try:
            await self._try_to_bind(pod, node)
        except (BindingRefused, ApiError, Retryable) as error:
            if not may_have_happened(error):
                self._give_up(pod, node, error)
                return
            # Its room stays taken until the API says where the pod is.
            log.info("the outcome of a binding is unknown", pod=key_of(pod), node=node, error=str(error))
            await self._clock.sleep(UNKNOWN.delay(0))
            if await self.ask_until_settled(pod):
                self._teller.bound(pod, node)

    async def bind_together(self, placed: Sequence[Decision], group: Group) -> None:
        """Write the plan of a group down, then bind it; what fails is repeated while the group's time lasts."""
        until = self._clock.monotonic() + group.timeout
        await asyncio.gather(*(self._insist(one, self._acts.promise, until) for one in placed))
        if self.placed(group) < group.minimum:
            # Some of the group went away meanwhile, and nothing is bound yet: the rest must be decided anew.
            for one in placed:
                self._decide_again(one.pod)
            return
        await asyncio.gather(*(self._insist(one, self._try_to_bind, until) for one in placed))

    async def ask_until_settled(self, pod: Object) -> bool:
        """Ask the API where an assumed pod is, until it says so. True if it has a node; else it is decided again."""
        attempt = 0
        while uid_of(pod) in self._assumptions:
            try:
                found = await self._acts.whereabouts(pod)
            except (ApiError, Retryable) as error:
                log.info("it is still unknown whether a pod is bound", pod=key_of(pod), error=str(error))
                await self._clock.sleep(UNKNOWN.delay(attempt))
                attempt += 1
                continue
            if found:
                self._assumptions.move(pod, found)
                self._assumptions.await_sight(pod)
                return True
            self._decide_again(pod)
        return False

    def placed(self, group: Group) -> int:
        """How many of a group have a node, or are assumed to have one."""
        members = self._knowledge.members(group.key)
        return sum(groups.counts_as_placed(one) or uid_of(one) in self._assumptions for one in members)

    async def _try_to_bind(self, pod: Object, node: str) -> None:
        """Raises BindingRefused, ApiError and Retryable."""
        for one in self._companions:
            await one.before_binding(pod, node)
        try:
            await self._acts.bind(pod, node)
        except ApiError as error:
            # A conflict can mean that the pod has a node: from an earlier attempt, or somebody else's.
            if not error.is_conflict or not (found := await self._acts.whereabouts(pod)):
                raise
            self._assumptions.move(pod, found)
            self._assumptions.await_sight(pod)
        else:
            self._teller.bound(pod, node)
            self._assumptions.await_sight(pod)

    async def _insist(
        self, decision: Decision, act: Callable[[Object, str], Awaitable[None]], until: float
    ) -> None:  # fmt: skip
        """Repeat ``act`` until it succeeds, the pod is gone, it is refused for good, or the time is over."""
        pod, node, attempt = decision.pod, decision.node, 0
        while uid_of(pod) in self._assumptions:
            try:
                await act(pod, node)
                return
            except (BindingRefused, ApiError, Retryable) as error:
                passes = may_have_happened(error) or (isinstance(error, ApiError) and error.is_too_many_requests)
                if not passes or self._clock.monotonic() >= until:
                    self._give_up(pod, node, error)
                    return
            await self._clock.sleep(UNKNOWN.delay(attempt))
            attempt += 1

    def _give_up(self, pod: Object, node: str, error: Exception) -> None:
        log.info("a binding was refused", pod=key_of(pod), node=node, error=str(error))
        if isinstance(error, BindingRefused):
            self._teller.refused(pod, str(error))
        self._decide_again(pod)

    def _decide_again(self, pod: Object) -> None:
        self._assumptions.release(uid_of(pod))
        self._knowledge.queue.fail(key_of(pod))


def may_have_happened(error: Exception) -> bool:
    """The write was answered by nobody, or by a server that does not know itself what became of it."""
    return isinstance(error, Retryable) or (isinstance(error, ApiError) and error.code >= 500)
