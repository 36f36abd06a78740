"""Events: what a component tells people about an object. Best effort, never in the way of the work.

The same event again raises a count instead of making another object; an object that talks without end is cut short
(both as in client-go's ``tools/record``). A storm of events is sent slowly, at the rate of kube-scheduler's own event
client: while thousands of pods are placed, what is told of them must not cost the server as much as the placing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from kontinuum.api.kubernetes.resources import EVENTS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

WAITING = 1000
"""Events that may wait to be sent; further ones are dropped."""
REMEMBERED = 4096
"""Events whose counts are known."""
BURST = 25
"""Events that one object may have at once; afterwards one every REFILL_SECONDS."""
REFILL_SECONDS = 300.0
SENT_AT_ONCE = 100
"""Events that a component may send as fast as it can; afterwards SENT_PER_SECOND."""
SENT_PER_SECOND = 50.0
ATTEMPTS = 3


@dataclass(slots=True)
class _Sent:
    name: str
    count: int


@dataclass(slots=True)
class _Allowance:
    """So many at once, and then so many a second."""

    left: float
    at: float

    def grow(self, now: float, *, most: float, per_second: float) -> None:
        self.left = min(most, self.left + (now - self.at) * per_second)
        self.at = now


class EventRecorder:
    """Records events of one component. ``run`` must be running for them to be sent."""

    def __init__(
        self, client: Client, component: str, host: str = "", *, clock: Clock, instance: str = ""
    ) -> None:  # fmt: skip
        """``instance`` tells several processes of one component from each other; the host, unless it is given."""
        self._client = client
        self._instance = instance or host
        self._is_dropping = False
        self._source = {"component": component, "host": host} if host else {"component": component}
        self._clock = clock
        self._queue: asyncio.Queue[Object] = asyncio.Queue(WAITING)
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._sending = _Allowance(SENT_AT_ONCE, float("-inf"))
        self._last_number = 0
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    def event(
        self,
        obj: Object,
        type_: str,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
        field_path: str = "",
    ) -> None:
        """Tell something about ``obj``. ``type_`` is Normal or Warning, ``reason`` one CamelCase word.

        ``action`` is what was done or failed, one CamelCase word, and ``related`` the other object that it is about.
        ``field_path`` names the part of ``obj`` that is meant, e.g. ``spec.containers{main}``.
        """
        event = self._event(obj, type_, reason, message)
        event["metadata"]["name"] = f"{name_of(obj)}.{self._number():016x}"
        if field_path:
            event["involvedObject"]["fieldPath"] = field_path
        if action:
            event["action"] = action
        if related is not None:
            event["related"] = _reference(related)
        if not self._is_allowed(uid_of(obj)):
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            # Said once: thousands of pods that are placed in a second would fill the log with it.
            if not self._is_dropping:
                log.warning("events are dropped, too many wait", reason=reason, object=name_of(obj))
            self._is_dropping = True

    def _number(self) -> int:
        """Nanoseconds since 1970, never the same twice: the names of events about one object sort as they were told.

        kubectl orders events by seconds, and leaves those of one second as they are listed, which is by name.
        """
        self._last_number = max(int(self._clock.time() * 1e9), self._last_number + 1)
        return self._last_number

    async def run(self) -> None:
        """Send what is recorded, until cancelled."""
        while True:
            event = await self._queue.get()
            await self._wait_turn()
            self._is_dropping = self._is_dropping and not self._queue.empty()
            for attempt in range(ATTEMPTS):
                try:
                    await self._send(event)
                    break
                except ApiError as error:
                    if error.code < 500:
                        # A namespace that is going away takes no events; that is no news to anybody.
                        log.debug("an event is refused", reason=event["reason"], error=str(error))
                        break
                except Retryable as error:
                    log.info("an event cannot be sent now", reason=event["reason"], error=str(error))
                await self._clock.sleep(1.0 + attempt)

    async def _wait_turn(self) -> None:
        """Use up one of those that may be sent now."""
        sending = self._sending
        sending.grow(self._clock.monotonic(), most=SENT_AT_ONCE, per_second=SENT_PER_SECOND)
        if sending.left < 1:
            await self._clock.sleep((1 - sending.left) / SENT_PER_SECOND)
            sending.grow(self._clock.monotonic(), most=SENT_AT_ONCE, per_second=SENT_PER_SECOND)
        sending.left -= 1

    def _event(self, obj: Object, type_: str, reason: str, message: str) -> Object:
        now = rfc3339(self._clock.time())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            # Events about cluster-scoped objects live in "default", where kubectl looks for them.
            "metadata": {"namespace": namespace_of(obj) or "default"},
            "involvedObject": _reference(obj),
            "reason": reason,
            "message": message,
            "type": type_,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    def _is_allowed(self, uid: str) -> bool:
        now = self._clock.monotonic()
        allowance = self._allowances.setdefault(uid, _Allowance(BURST, now))
        allowance.grow(now, most=BURST, per_second=1 / REFILL_SECONDS)
        self._allowances.move_to_end(uid)
        if len(self._allowances) > REMEMBERED:
            self._allowances.popitem(last=False)
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True

    async def _send(self, event: Object) -> None:
        key = _identity(event)
        known = self._sent.get(key)
        if known is not None:
            patch = {"count": known.count + 1, "lastTimestamp": event["lastTimestamp"], "message": event["message"]}
            try:
                await self._client.patch(EVENTS, known.name, patch, namespace=namespace_of(event))
                known.count += 1
                return
            except ApiError as error:
                if not error.is_not_found:
                    raise
                # It has expired meanwhile: begin a new one.
        try:
            await self._client.create(EVENTS, event)
        except ApiError as error:
            if not error.is_already_exists:
                raise
            # Another component told something about the same object in the same nanosecond.
            involved = event["involvedObject"]
            event["metadata"]["name"] = f"{involved['name']}.{self._number():016x}"
            await self._client.create(EVENTS, event)
        self._sent[key] = _Sent(event["metadata"]["name"], 1)
        self._sent.move_to_end(key)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)


def _reference(obj: Object) -> Object:
    reference = {
        "apiVersion": obj.get("apiVersion", ""),
        "kind": obj.get("kind", ""),
        "name": name_of(obj),
        "namespace": namespace_of(obj),
        "uid": uid_of(obj),
        "resourceVersion": obj["metadata"].get("resourceVersion", ""),
    }
    return {key: value for key, value in reference.items() if value}


def _identity(event: Object) -> str:
    involved = event["involvedObject"]
    about = (involved.get("uid", ""), involved["name"], involved.get("fieldPath", ""))
    parts = (*about, event["type"], event["reason"], event["message"])
    return _hash("\0".join(parts))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
