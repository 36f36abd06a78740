"""The audit log as the handler uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kontinuum.apiserver.audit.log import Log
from kontinuum.apiserver.audit.policy import Level, Policy, read_policy
from kontinuum.apiserver.audit.record import Record
from kontinuum.apiserver.audit.settings import AuditSettings
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.request import Request
from kontinuum.foundation.clock import Clock

if TYPE_CHECKING:
    from prometheus_client import Metric


class Audit:
    """See the package."""

    def __init__(self, policy: Policy, log: Log, clock: Clock) -> None:
        self._policy, self._log, self._clock = policy, log, clock

    def begin(self, request: Request, asked: Attributes) -> Record | None:
        """The record of a request, None if nothing is to be noted of it. ``asked`` is its author's question."""
        wanted = self._policy.wanted(asked)
        if wanted.level is Level.NONE:
            return None
        request.record = record = Record(self._log, self._clock, request, asked, wanted)
        return record

    async def close(self) -> None:
        """Write what waits."""
        await self._log.close()

    def families(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        events = CounterMetricFamily("apiserver_audit_event_total", "Audit events written.")
        events.add_metric((), self._log.written)
        yield events
        lost = CounterMetricFamily("apiserver_audit_error_total", "Audit events lost.", labels=("reason",))
        lost.add_metric(("dropped",), self._log.dropped)
        lost.add_metric(("failed",), self._log.failed)
        yield lost


def audit_of(settings: AuditSettings, clock: Clock) -> Audit | None:
    """None if nothing is to be noted. Raises BadPolicy, LogRefused."""
    if settings.policy is None or settings.log is None:
        return None
    return Audit(read_policy(settings.policy), Log(settings, settings.log), clock)
