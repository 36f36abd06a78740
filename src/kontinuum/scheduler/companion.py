"""A companion: what some plugins need beside nodes and pods, and what they do before a pod may be bound.

    informers of its kinds ──▶ its own knowledge, which its filters read ──tell──▶ events that may help waiting pods

    decided ──reserve──▶ assumed ──before_binding──▶ bound
                             └──────── refused ──release──▶ back to the queue, told why

To add one: write it, and put its class into the list that the scheduler is started with (``COMPANIONS`` in ``loop``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.scheduler.events import Event
from kontinuum.scheduler.snapshot import Snapshot

Tell = Callable[[Event], None]


class BindingRefused(Refused):
    """The pod must not be bound to this node now; the message is for people. The pod will be tried again."""


class Companion(Protocol):
    """See the module. Made anew whenever the scheduler begins to lead."""

    informers: Sequence[Informer]
    """Run by the scheduler; it decides nothing before all of them have listed. A companion hangs its own handlers into
    them, changes what the filters read, and then tells of it."""

    def reserve(self, pod: Object, node: str) -> None:
        """The pod is assumed on ``node`` from now on: count what it takes. Called with no await since the decision."""

    def release(self, pod: Object, node: str) -> None:
        """The pod will not be on ``node`` after all, or it is unknown whether it is: let go of what was reserved.

        Harmless if nothing was.
        """

    async def before_binding(self, pod: Object, node: str) -> None:
        """Do what must be done first, however long it takes. Raises BindingRefused, ApiError or Retryable: then the pod
        is not bound, its reservations are released, and it is tried again after its back-off."""


Make = Callable[[Client, Clock, Snapshot, Tell], Companion]
