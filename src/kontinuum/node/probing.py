"""Runs the probes of one pod's containers and remembers what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import KontinuumError
from kontinuum.foundation.tasks import cancel
from kontinuum.node import pods
from kontinuum.node.checks import CheckFailed, timed_out
from kontinuum.node.even_time import EvenTime
from kontinuum.node.observed import Container, Observed
from kontinuum.node.probes import KINDS, Judgement, ProbeSettings, judge
from kontinuum.node.remembered import Remembered
from kontinuum.node.tools import Tools

WAITING_FOR_STARTUP_SECONDS = 0.2
MOST_TRIES = 3
"""Of a check that cannot be made, one right after the other, until that is told (the kubelet's ``maxProbeRetries``)."""


class Prober:
    """One task per running container and probe; ``notice`` is called whenever a judgement changes."""

    def __init__(self, tools: Tools, remembered: Remembered, even_time: EvenTime, notice: Callable[[], None]) -> None:
        self._tools = tools
        self._remembered = remembered
        self._even_time = even_time
        self._notice = notice
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def follow(self, pod: Object, observed: Observed) -> None:
        """Begin probing what has begun to run, and end probing what has ended."""
        wanted: dict[tuple[str, str], Container] = {}
        # Whoever is ending is not killed for being unwell, but says until the end whether he can serve.
        kinds = ("readiness",) if pods.is_deleting(pod) else KINDS
        if observed.sandbox is not None:
            for container in pods.all_containers(pod):
                current = observed.current(container["name"])
                if current is not None and current.is_running:
                    wanted |= {(current.id, kind): current for kind in kinds if container.get(f"{kind}Probe")}
        for key in [key for key in self._tasks if key not in wanted]:
            self._tasks.pop(key).cancel()
        ips = observed.sandbox.ips if observed.sandbox else ()
        ip = self._tools.host.ip if pods.is_host_network(pod) else next(iter(ips), "")
        for key, current in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._probe(pod, current, key[1], ip))

    async def stop(self) -> None:
        await cancel(*self._tasks.values())
        self._tasks.clear()

    async def _probe(self, pod: Object, current: Container, kind: str, ip: str) -> None:
        container = pods.find_container(pod, current.name) or {}
        probe = container[f"{kind}Probe"]
        settings = ProbeSettings.of(probe)
        clock = self._tools.clock
        await clock.sleep(max(0.0, current.began + settings.initial_delay - self._even_time.now()))
        while kind != "startup" and container.get("startupProbe") and not self._remembered.started.get(current.id):
            await clock.sleep(WAITING_FOR_STARTUP_SECONDS)
        judgement = Judgement()
        while True:
            succeeded = await self._check(pod, container, current, kind, ip)
            before = judgement
            if succeeded is not None:
                judgement = judge(judgement, succeeded, settings)
            if judgement.good != before.good and judgement.good is not None:
                self._conclude(current, kind, judgement.good)
                if kind == "startup" or (kind == "liveness" and not judgement.good):
                    return
            await clock.sleep(settings.period)

    async def _check(self, pod: Object, container: Object, current: Container, kind: str, ip: str) -> bool | None:
        """Whether one check succeeded; None if it could not be made, which the kubelet counts neither way."""
        part, name = pods.field_path(pod, current.name), kind.capitalize()
        tell, began = self._tools.events.event, self._tools.clock.monotonic()
        try:
            warning = await self._try(container[f"{kind}Probe"], container, current.id, ip)
        except CheckFailed as error:
            tell(pod, "Warning", "Unhealthy", f"{name} probe failed: {error}", field_path=part)
            result = "failed"
        except KontinuumError as error:
            message = f"{name} probe errored and resulted in unknown state: {error}"
            tell(pod, "Warning", "Unhealthy", message, field_path=part)
            return None
        else:
            if warning:
                tell(pod, "Warning", "ProbeWarning", f"{name} probe warning: {warning}", field_path=part)
            result = "successful"
        self._tools.probe_counts.count(pod, current.name, kind, result, self._tools.clock.monotonic() - began)
        return result == "successful"

    async def _try(self, probe: Object, container: Object, container_id: str, ip: str) -> str:
        """As ``Checks.check``, and again if it could not be made, MOST_TRIES times in all."""
        timeout = ProbeSettings.of(probe).timeout
        for attempt in range(MOST_TRIES):
            try:
                async with asyncio.timeout(timeout + 1):
                    return await self._tools.checks.check(probe, container, container_id, ip, timeout)
            except TimeoutError as error:
                # The runtime itself is slow to end the command: its answer is not waited for.
                raise CheckFailed(timed_out(probe, timeout)) from error
            except CheckFailed:
                raise
            except KontinuumError:
                # The runtime could not be asked, or could not begin the command.
                if attempt + 1 == MOST_TRIES:
                    raise
        raise AssertionError("the last try returns or raises")

    def _conclude(self, current: Container, kind: str, good: bool) -> None:
        if kind == "readiness":
            self._remembered.ready[current.id] = good
        elif kind == "startup" and good:
            self._remembered.started[current.id] = True
        elif not good:
            self._remembered.unhealthy[current.id] = kind
        self._notice()
