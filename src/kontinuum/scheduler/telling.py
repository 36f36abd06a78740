"""What people are told of each pod, as events from the scheduler that it named."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.client.events import EventRecorder
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler.reading import scheduler_of


class Teller:
    """See the module. Its ``recorders``, by the name that they speak for, are to be run."""

    def __init__(self, client: Client, clock: Clock, names: Iterable[str]) -> None:
        host = socket.gethostname()
        self.recorders = {name: EventRecorder(client, name, clock=clock, instance=f"{name}-{host}") for name in names}

    def bound(self, pod: Object, node: str) -> None:
        message = f"Successfully assigned {key_of(pod)} to {node}"
        self._recorder(pod).event(pod, "Normal", "Scheduled", message, action="Binding")

    def refused(self, pod: Object, message: str) -> None:
        self._recorder(pod).event(pod, "Warning", "FailedScheduling", message, action="Scheduling")

    def preempted(self, victim: Object, node: str, *, by: Object) -> None:
        message = f"Preempted by pod {uid_of(by)} on node {node}"
        self._recorder(by).event(victim, "Normal", "Preempted", message, action="Preempting", related=by)

    def _recorder(self, pod: Object) -> EventRecorder:
        return self.recorders[scheduler_of(pod)]
