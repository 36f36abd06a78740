"""Events on their way to containerd: in order, once each as far as containerd lives, later when it does not.

containerd may be restarted at any time; the pod does not notice, and what happened meanwhile is told afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import msgspec
import structlog

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.runtime import codec, messages
from kontinuum.runtime.messages import Envelope, ForwardRequest, KeyValue, Timestamp
from kontinuum.runtime.ttrpc import Caller, CallFailed, PeerAway, ProtocolBroken

log = structlog.get_logger(__name__)

SERVICE = "containerd.services.events.ttrpc.v1.Events"
TOPICS: dict[type[msgspec.Struct], str] = {
    messages.TaskCreate: "/tasks/create",
    messages.TaskStart: "/tasks/start",
    messages.TaskExit: "/tasks/exit",
    messages.TaskDelete: "/tasks/delete",
    messages.TaskOOM: "/tasks/oom",
    messages.TaskExecAdded: "/tasks/exec-added",
    messages.TaskExecStarted: "/tasks/exec-started",
}
RETRY = Backoff(initial=0.1, maximum=5.0, jitter=0.2)
MOST_HELD = 10_000
"""Events kept while containerd is away; beyond that the oldest go, because a pod must not grow without bound."""


class Publisher:
    """A queue of events and the one task that empties it (``run``)."""

    def __init__(self, address: Path, namespace: str, clock: Clock) -> None:
        self._address = address
        self._namespace = namespace
        self._clock = clock
        self._queue: deque[Envelope] = deque(maxlen=MOST_HELD)
        self._changed = asyncio.Event()
        self._caller: Caller | None = None

    def publish(self, event: msgspec.Struct) -> None:
        """Queue an event; returns at once."""
        body = messages.Any(f"containerd.events.{type(event).__name__}", codec.encode(event))
        now = Timestamp.of(self._clock.time())
        self._queue.append(Envelope(now, self._namespace, TOPICS[type(event)], body))
        self._changed.set()

    async def run(self) -> None:
        """Send what is queued, for ever."""
        failures = 0
        try:
            while True:
                await self._changed.wait()
                try:
                    await self._send_all()
                    failures = 0
                except (PeerAway, ProtocolBroken) as error:
                    self._hang_up()
                    if failures == 0:
                        log.info("containerd does not take events; they are kept", reason=str(error))
                    await self._clock.sleep(RETRY.delay(failures))
                    failures += 1
        finally:
            self._hang_up()

    async def wait_empty(self, *, timeout: float) -> bool:
        """Wait until everything is sent; False if ``timeout`` seconds were not enough."""
        deadline = self._clock.monotonic() + timeout
        while self._queue and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.005)
        return not self._queue

    async def _send_all(self) -> None:
        while self._queue:
            envelope = self._queue[0]
            if self._caller is None:
                self._caller = await Caller.connect(self._address)
            await self._send(self._caller, envelope)
            # Only now: an event whose answer was lost is sent again rather than lost. The identity check covers the
            # bounded queue having dropped it meanwhile.
            if self._queue and self._queue[0] is envelope:
                self._queue.popleft()
        self._changed.clear()

    async def _send(self, caller: Caller, envelope: Envelope) -> None:
        metadata = (KeyValue("containerd-namespace-ttrpc", self._namespace),)
        try:
            await caller.call(SERVICE, "Forward", codec.encode(ForwardRequest(envelope)), metadata=metadata)
        except CallFailed as error:
            # containerd looked at it and will say the same next time.
            log.warning("containerd refused an event", topic=envelope.topic, reason=str(error))

    def _hang_up(self) -> None:
        if self._caller is not None:
            self._caller.close()
            self._caller = None
