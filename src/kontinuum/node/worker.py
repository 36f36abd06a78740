"""One pod's worker: looks at what is there, lets ``plan`` decide, carries it out, and tells the API what it sees.

    wake (pod changed, runtime changed, or a time that the plan named)
      └▶ observe ─▶ publish status ─▶ plan ─▶ carry out ─▶ observe ─▶ ... until the plan is empty; then wait

One worker per pod is why no two hands ever work on one sandbox. Everything it knows it can lose: a new worker, after
a crash of the agent, observes the same things and plans the same next step.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import parse_rfc3339, rfc3339
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.foundation.tasks import cancel
from kontinuum.node import cgroups, log_files, log_rotation, pods, qos, resize
from kontinuum.node.abilities import MACHINES
from kontinuum.node.actions import Hands
from kontinuum.node.admission import REJECTED, Refusal
from kontinuum.node.backoff_events import BackoffEvents
from kontinuum.node.container_config import log_path
from kontinuum.node.even_time import EvenTime
from kontinuum.node.files import remove_pod_files
from kontinuum.node.interruption import Interrupted, Interruption
from kontinuum.node.observed import Observed
from kontinuum.node.plan import Action, Finish, Plan, plan
from kontinuum.node.probing import Prober
from kontinuum.node.remembered import FRESH_SECONDS, Ending, Remembered
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.status import status
from kontinuum.node.status_writer import StatusWriter
from kontinuum.node.tools import Tools
from kontinuum.node.volumes import mounting

log = structlog.get_logger(__name__)

AWAY = Backoff(initial=0.1, maximum=2.0)
UNEXPECTED_SECONDS = 1.0
"""Pause after an action failed in a way that nothing remembers: the same plan will be made again."""
REFRESH_SECONDS = 20.0
"""How often volumes of files are compared with their sources."""

TOO_LONG = "Pod was active on the node longer than the specified deadline"
BOOKKEEPING = ("resourceVersion", "managedFields")
"""Metadata that changes with every write, our own included."""


class PodWorker:
    """See the module. ``run`` ends when nothing of the pod is left on this machine."""

    def __init__(self, pod: Object, tools: Tools, neighbours: Callable[[], Iterable[Object]] = tuple) -> None:
        """``neighbours``: the other pods of this node."""
        self.pod = pod
        self.observed = Observed()
        self._tools = tools
        self._neighbours = neighbours
        self._exists = True
        self._remembered = Remembered()
        self._interruption = Interruption()
        self._even_time = EvenTime(tools.clock)
        self._began: float | None = None
        self._wake = asyncio.Event()
        self._hands = Hands(tools, self._remembered, self._interruption, self._even_time)
        self._prober = Prober(tools, self._remembered, self._even_time, self.notice)
        self._writer = StatusWriter(tools.client, pod, tools.clock)
        self._backoffs = BackoffEvents(tools.events)

    def update(self, pod: Object) -> None:
        """The API has a newer version of the pod."""
        before, self.pod = self.pod, pod
        if _asks_for_more(before, pod):
            self._wake.set()
        if _is_more_urgent(before, pod):
            self._interruption.fire()

    def refuse(self, why: Refusal) -> None:
        """This node does not take the pod: it has failed before anything of it was made."""
        self._remembered.ending = Ending(why.reason, REJECTED + why.message, is_refusal=True)
        self._tools.events.event(self.pod, "Warning", why.reason, why.message)

    @property
    def is_refused(self) -> bool:
        return self._remembered.ending is not None and self.observed.is_empty

    @property
    def places(self) -> Mapping[str, Path]:
        """Where on this machine each of the pod's volumes is, as far as that is known yet."""
        return self._remembered.places

    @property
    def is_over(self) -> bool:
        """Whether the pod has ended or is on its way to."""
        return self._remembered.ending is not None or pods.is_deleting(self.pod) or pods.is_terminal(self.pod)

    def end(self, why: Ending) -> None:
        """This node ends the pod, whatever its containers could still do. The first reason counts."""
        if not self.is_over:
            self._remembered.ending = why
            self._interruption.fire()
            self._wake.set()

    def vanish(self) -> None:
        """The API no longer knows the pod: end it without grace, as the kubelet does."""
        self._exists = False
        self.update(as_vanished(self.pod, self._tools.clock.time()))

    def withdraw(self) -> None:
        """The file of a static pod is gone, or describes another: end it in its own time."""
        if self._exists:
            self._exists = False
            self.update(as_vanished(self.pod, self._tools.clock.time(), grace=pods.grace_seconds(self.pod)))

    def mirrored(self, mirror: Object) -> None:
        """Where the API shows this static pod."""
        self._writer.follow(mirror)

    async def wait_told(self) -> None:
        """Until the API knows the pod's newest status, or has none to keep."""
        await self._writer.wait_written()

    def notice(self) -> None:
        """Something about the pod may have changed in the runtime, or a probe has come to a conclusion."""
        self._wake.set()

    async def run(self) -> None:
        try:
            # A chore that falls over takes the worker with it, and the agent starts it again: nothing fails silently.
            async with asyncio.TaskGroup() as group:
                chores = (self._writer.run(), self._keep_volumes_fresh(), self._rotate_logs(), self._tidy_logs())
                beside = [group.create_task(chore) for chore in chores]
                while not await self._round():
                    pass
                for chore in beside:
                    chore.cancel()
        finally:
            await self._prober.stop()

    async def _round(self) -> bool:
        """One look and what follows from it. Answers whether nothing is left to do, ever."""
        self._wake.clear()
        await self._look()
        self._end_at_deadline()
        keep = 1 + max(0, self._tools.settings.maximum_dead_containers_per_container)
        decision = plan(self._granted, self.observed, self._remembered, self._even_time.now(), keep=keep)
        if decision.actions == (Finish(),):
            await self._finish()
            return True
        if decision.actions:
            await self._carry_out(decision.actions)
        else:
            await self._wait(decision)
        return False

    async def _look(self) -> None:
        """Observe and publish; waits as long as the runtime is away."""
        failures = 0
        while True:
            try:
                self.observed = self._even_time.place(await self._tools.runtime.observe(self.pod["metadata"]["uid"]))
                break
            except Retryable as error:
                log.info("the runtime cannot be asked now", error=str(error))
                await self._tools.clock.sleep(AWAY.delay(failures))
                failures += 1
        self._hands.read_messages(self.pod, self.observed)
        self._prober.follow(self.pod, self.observed)
        self._tell_of_resized()
        self._grant()
        self._publish()

    def _publish(self) -> None:
        over = pods.is_deleting(self.pod) or pods.is_terminal(self.pod)
        if not self._exists or (over and self.observed.is_empty):
            # What is cleaned up after the end must not rewrite the end.
            return
        now, even_now = self._tools.clock.time(), self._even_time.now()
        current = status(self.pod, self.observed, self._remembered, self._tools.host, now, even_now=even_now)
        self._writer.set(current)
        if pods.is_static(self.pod):
            # What it said of itself before, nobody else tells it.
            self.pod = {**self.pod, "status": current}
        self._backoffs.tell(self.pod, current)

    @property
    def _granted(self) -> Object:
        """The pod, asking for what it may have now."""
        return resize.with_resources(self.pod, self._remembered.allocated)

    def _grant(self) -> None:
        """Give the containers what their specification asks for, if it can be had."""
        remembered, tools = self._remembered, self._tools
        held = resize.allocated(self.pod, remembered.allocated)
        wished = {container["name"]: resize.wished(container) for container in resize.resizable(self.pod)}
        before, remembered.refused = remembered.refused, None
        if all(resize.same(held[name], wished[name]) for name in wished):
            remembered.allocated = wished
        elif not (pods.is_deleting(self.pod) or pods.is_terminal(self.pod)):
            sandbox = self.observed.sandbox
            has_machine = sandbox is not None and sandbox.handler in MACHINES
            machine = resize.machine_size(self.pod, self.observed) if has_machine else None
            room = resize.Room(tools.node_cpu, tools.node_memory)
            remembered.refused = resize.verdict(self.pod, self._neighbours(), room, machine)
            remembered.allocated = held if remembered.refused else wished
            self._tell_of_resize(before)

    def _tell_of_resize(self, before: resize.Verdict | None) -> None:
        refused, tell = self._remembered.refused, self._tools.events.event
        if refused is None:
            tell(self.pod, "Normal", "ResizeStarted", f"Pod resize started: {resize.told(self.pod)}")
            self._remembered.resize_told = True
        elif refused != before:
            tell(self.pod, "Warning", f"Resize{refused.reason}", f"Pod resize {refused.reason}: {refused.message}")

    def _tell_of_resized(self) -> None:
        """Once all that runs holds what was granted: what has to restart for it does not run until then."""
        remembered = self._remembered
        is_under_way = remembered.resizing or resize.differing(self._granted, self.observed, remembered.actuated)
        if remembered.resize_told and not is_under_way:
            remembered.resize_told = False
            message = f"Pod resize completed: {resize.told(self._granted)}"
            self._tools.events.event(self.pod, "Normal", "ResizeCompleted", message)

    def _end_at_deadline(self) -> None:
        due = self._deadline()
        if due is not None and self._even_time.now() >= due:
            self._remembered.ending = Ending("DeadlineExceeded", TOO_LONG)
            self._tools.events.event(self.pod, "Normal", "DeadlineExceeded", TOO_LONG)
            self._publish()

    def _deadline(self) -> float | None:
        """When (``even_time``) ``activeDeadlineSeconds`` runs out; None if it does not, or has."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        began = (self.pod.get("status") or {}).get("startTime")
        if seconds is None or began is None or self._remembered.ending or pods.is_terminal(self.pod):
            return None
        if self._began is None:
            self._began = self._even_time.of(parse_rfc3339(began))
        return self._began + float(seconds)

    async def _wait(self, decision: Plan) -> None:
        """Until something happens, or it is time to look again."""
        now = self._even_time.now()
        times = [time for time in (decision.wake_at, self._deadline(), self._turns_stale(now)) if time is not None]
        timeout = max(0.01, min(times) - now) if times else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    def _turns_stale(self, now: float) -> float | None:
        """When a failure stops being fresh, which is shown under another reason."""
        times = [trouble.at for trouble in self._remembered.containers.values()]
        times += [container.ended for container in self.observed.containers]
        return min((at + FRESH_SECONDS for at in times if 0 <= now - at < FRESH_SECONDS), default=None)

    async def _carry_out(self, actions: tuple[Action, ...]) -> None:
        """All actions side by side: what depends on another is never in the same plan."""
        async with asyncio.TaskGroup() as group:
            pending = {group.create_task(self._one(action)) for action in actions}
            while True:
                await self._wait_news(pending)
                pending = {task for task in pending if not task.done()}
                if not pending:
                    return
                # One has ended and another, perhaps a long pull, has not: show what has become of the first.
                await self._look()

    async def _wait_news(self, pending: set[asyncio.Task[None]]) -> None:
        """Until one of them has ended; of a pod that is ending, which may take long, also until anything else happens.

        A pod that is starting is looked at after each step anyway.
        """
        woken = {asyncio.create_task(self._wake.wait())} if pods.is_deleting(self.pod) else set()
        try:
            await asyncio.wait({*pending, *woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*woken)
        if woken:
            self._wake.clear()

    async def _one(self, action: Action) -> None:
        try:
            await self._hands.do(self._granted, action, self.observed)
        except Interrupted:
            return
        except (KontinuumError, OSError) as error:
            log.warning("an action failed", pod=pods.describe(self.pod), action=str(action), error=str(error))
            await self._tools.clock.sleep(UNEXPECTED_SECONDS)

    async def _keep_volumes_fresh(self) -> None:
        while True:
            await self._tools.clock.sleep(REFRESH_SECONDS)
            async with self._hands.at_volumes:
                await self._refresh_volumes()

    async def _refresh_volumes(self) -> None:
        """Of a pod that runs."""
        sandbox = self.observed.sandbox
        if sandbox is None or not sandbox.is_ready or pods.is_deleting(self.pod) or not mounting.may_change(self.pod):
            return
        try:
            await self._hands.prepare_volumes(self.pod, sandbox.ips)
        except KontinuumError as error:
            log.info("a volume keeps its old content", pod=pods.describe(self.pod), error=str(error))

    async def _rotate_logs(self) -> None:
        settings, clock = self._tools.settings, self._tools.clock
        logs = log_rotation.Logs(self._tools.runtime, settings.log_max_size, settings.log_max_files)
        pause = log_rotation.FIRST_SECONDS
        while settings.log_max_size:
            await clock.sleep(pause)
            running = {
                one.id: log_directory(settings, self.pod) / log_path(one.name, one.attempt)
                for one in self.observed.containers
                if one.is_running
            }
            pause = await logs.look(running, after=pause, now=clock.time())

    async def _tidy_logs(self) -> None:
        settings, directory = self._tools.settings, log_directory(self._tools.settings, self.pod)
        while True:
            await self._tools.clock.sleep(log_files.LOOK_SECONDS)
            try:
                log_files.prune(settings, self.pod, directory, self.observed)
            except OSError as error:
                log.warning("old logs cannot be removed", pod=pods.describe(self.pod), error=str(error))
            for one in self.observed.containers:
                if one.is_running:
                    log_files.link(settings, self.pod, one.name, one.id, directory / log_path(one.name, one.attempt))

    async def _finish(self) -> None:
        """Nothing runs any more: remove what is on this machine, then let the API forget the pod."""
        failures = 0
        while True:
            try:
                async with self._hands.at_volumes:
                    await self._hands.release_volumes(self.pod)
                    remove_pod_files(self._tools.settings, self.pod)
                for cgroup in qos.possible(self._tools.settings, self.pod["metadata"]["uid"]):
                    cgroups.remove(cgroup, self._tools.cgroup_root)
                await self._forget_in_api()
                return
            except (KontinuumError, OSError) as error:
                log.warning("a pod cannot be cleaned up yet", pod=pods.describe(self.pod), error=str(error))
                await self._tools.clock.sleep(AWAY.delay(failures))
                failures += 1

    async def _forget_in_api(self) -> None:
        if not self._exists:
            return
        metadata = self.pod["metadata"]
        await self._writer.wait_written()
        try:
            await self._tools.client.delete(
                PODS, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"], grace_seconds=0
            )
        except ApiError as error:
            # Gone already, or another pod has the name by now: both mean that this one is forgotten.
            if not (error.is_not_found or error.is_conflict):
                raise


def as_vanished(pod: Object, now: float, *, grace: int = 0) -> Object:
    """``pod`` as if it were being deleted."""
    deleted = {"deletionTimestamp": rfc3339(now), "deletionGracePeriodSeconds": grace}
    return {**pod, "metadata": {**pod["metadata"], **deleted}}


def _asks_for_more(before: Object, now: Object) -> bool:
    """Whether anything but our own status writing tells the two apart."""
    if before["spec"] != now["spec"] or pods.is_terminal(before) != pods.is_terminal(now):
        return True
    if now["spec"].get("readinessGates"):
        return True
    wishes = [{key: value for key, value in pod["metadata"].items() if key not in BOOKKEEPING} for pod in (before, now)]
    return wishes[0] != wishes[1]


def _is_more_urgent(before: Object, now: Object) -> bool:
    if not pods.is_deleting(now):
        return False
    return not pods.is_deleting(before) or pods.grace_seconds(now) < pods.grace_seconds(before)
