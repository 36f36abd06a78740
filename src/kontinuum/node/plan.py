"""What to do next about one pod: a pure function from what is wanted and what is there to a list of actions.

    no sandbox ─▶ CreateSandbox ─▶ init containers, one after the other ─▶ all containers ─▶ (they run)
        ▲                                                                                       │
        └── the sandbox died: StopSandbox, then a new one, with everything again ◀──────────────┤
                                                                                                ▼
    deletion: StopContainer each ─▶ StopSandbox ─▶ RemoveSandbox each ─▶ Finish        ended: StopSandbox

The answer holds only what can be done now. Each action that is carried out changes what is observed, and the plan is
made again; that is also the whole of recovery after any crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.node import pods, resize, restarts
from kontinuum.node.lost import with_lost
from kontinuum.node.observed import IMAGE_ASKED_FOR, Container, ContainerState, Observed
from kontinuum.node.remembered import Ending, Remembered


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class StartContainer:
    name: str
    attempt: int
    streak: int


RESIZED = "resize requires restart"


@dataclass(frozen=True, slots=True)
class StopContainer:
    container_id: str
    name: str
    grace: int
    """Seconds between the polite signal and the other one."""
    why: str
    after: tuple[str, ...] = ()
    """Ids of containers that are stopped beside it and whose end it waits for, within its grace."""
    is_replaced: bool = False
    """Whether it is started again after that, however it ends."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Give running containers other limits, and their pod what they need together."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    container_id: str


@dataclass(frozen=True, slots=True)
class ReleaseVolumes:
    """Nothing runs nor will: give back what the volumes take, while status and logs stay until the pod is deleted."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left in the runtime: clean up volumes and cgroups, and let the API forget the pod."""


Action = (
    CreateSandbox
    | StopSandbox
    | RemoveSandbox
    | StartContainer
    | StopContainer
    | Resize
    | RemoveContainer
    | ReleaseVolumes
    | Finish
)


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    """When to look again although nothing happened, in ``even_time``."""


DEFERRED_SECONDS = 5.0
"""How long a resize that was not granted waits before it is looked at again."""
KEPT_ATTEMPTS = 2
"""Of every container the newest attempt and the one before it are kept: ``lastState`` and ``logs --previous``."""


def plan(pod: Object, observed: Observed, remembered: Remembered, now: float, *, keep: int = KEPT_ATTEMPTS) -> Plan:
    """See the module. ``pod`` asks for the resources that it was granted; ``now`` is in ``even_time``.

    ``keep``: how many attempts at each container stay, the newest included.
    """
    if pods.is_deleting(pod):
        return Plan(tuple(_deletion(pod, observed)))
    observed = with_lost(pod, observed)
    if remembered.ending or has_ended(pod, observed, remembered):
        stopping = tuple(_stopping(pod, observed, "the pod has ended", remembered.ending))
        releasing = () if stopping or remembered.has_released else (ReleaseVolumes(),)
        return Plan((*stopping, *releasing, *_tidying(observed, keep)))
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.is_ready:
        return _new_sandbox(observed, remembered, now)
    return _containers(pod, observed, remembered, now, keep)


def has_ended(pod: Object, observed: Observed, remembered: Remembered) -> bool:
    """Whether every container has ended and none is to run again, or an init container failed for good."""
    if pods.is_terminal(pod):
        return True
    for container in pods.init_containers(pod):
        latest = observed.latest(container["name"])
        if (
            latest is not None
            and latest.has_exited
            and latest.exit_code != 0
            and not restarts.should_restart(pod, container, latest, remembered.replacing)
        ):
            return True
    for container in pods.containers(pod):
        latest = observed.latest(container["name"])
        if (
            latest is None
            or not latest.has_exited
            or restarts.should_restart(pod, container, latest, remembered.replacing)
        ):
            return False
    return True


def _deletion(pod: Object, observed: Observed) -> Iterator[Action]:
    stopping = list(_stopping(pod, observed, "the pod is deleted"))
    if stopping:
        yield from stopping
    elif not observed.is_empty:
        for sandbox in observed.sandboxes:
            yield RemoveSandbox(sandbox.id)
        # A container without a sandbox is what a crash in the middle of a removal leaves.
        known = {sandbox.id for sandbox in observed.sandboxes}
        for container in observed.containers:
            if container.sandbox_id not in known:
                yield RemoveContainer(container.id)
    else:
        yield Finish()


def _stopping(pod: Object, observed: Observed, why: str, ending: Ending | None = None) -> Iterator[Action]:
    """Everything that runs, containers before their sandbox.

    Sidecars serve to the end: they are stopped after all others, the last to start first (KEP-753).
    """
    grace = ending.grace if ending is not None and ending.grace is not None else pods.grace_seconds(pod)
    running = [container for container in observed.containers if container.is_running]
    started = [one["name"] for one in pods.init_containers(pod) if pods.is_sidecar(one)]
    order = {name: len(started) - place for place, name in enumerate(started)}
    for container in running:
        place = order.get(container.name, 0)
        before = tuple(other.id for other in running if order.get(other.name, 0) < place)
        yield StopContainer(container.id, container.name, grace, why, before)
    if not running:
        for sandbox in observed.sandboxes:
            if sandbox.is_ready:
                yield StopSandbox(sandbox.id)


def _new_sandbox(observed: Observed, remembered: Remembered, now: float) -> Plan:
    for sandbox in observed.sandboxes:
        if sandbox.is_ready:
            return Plan((StopSandbox(sandbox.id),))
    running = [container for container in observed.containers if container.is_running]
    if running:
        # The sandbox died under its containers: nothing can be asked of them politely.
        return Plan(tuple(StopContainer(one.id, one.name, 0, "its sandbox died") for one in running))
    if remembered.sandbox is not None and now < remembered.sandbox.retry_at:
        return Plan(wake_at=remembered.sandbox.retry_at)
    attempt = observed.sandboxes[0].attempt + 1 if observed.sandboxes else 0
    return Plan((CreateSandbox(max(attempt, remembered.sandbox_attempts)),))


def _containers(pod: Object, observed: Observed, remembered: Remembered, now: float, keep: int) -> Plan:
    actions: list[Action] = [
        StopSandbox(older.id) for older in observed.sandboxes if older.is_ready and older != observed.sandbox
    ]
    actions += _tidying(observed, keep)
    in_place = tuple(
        container["name"]
        for container, holds in resize.differing(pod, observed, remembered.actuated)
        if not resize.restarts(container, holds, resize.wished(container))
    )
    if in_place or remembered.resizing:
        actions.append(Resize(in_place))
    wakes: list[float] = [now + DEFERRED_SECONDS] if remembered.refused else []
    for container in _allowed_to_run(pod, observed, remembered):
        action, wake_at = _one(pod, container, observed, remembered, now)
        actions += [action] if action else []
        wakes += [wake_at] if wake_at else []
    return Plan(tuple(actions), min(wakes, default=None))


def _allowed_to_run(pod: Object, observed: Observed, remembered: Remembered) -> list[Object]:
    """The containers whose turn has come: init containers one by one, sidecars once started, then all others."""
    # Whoever looks into a pod wants to see why it does not start, too.
    allowed: list[Object] = [*pods.ephemeral_containers(pod)]
    main_has_begun = any(observed.current(container["name"]) for container in pods.containers(pod))
    for container in pods.init_containers(pod):
        current = observed.current(container["name"])
        if pods.is_sidecar(container):
            allowed.append(container)
            if not main_has_begun and not is_started(container, current, remembered):
                return allowed
        elif not main_has_begun and not (current and current.has_exited and current.exit_code == 0):
            return [*allowed, container]
    return [*allowed, *pods.containers(pod)]


def is_started(container: Object, current: Container | None, remembered: Remembered) -> bool:
    """Whether the container runs and, if it has a startup probe, that has succeeded."""
    if current is None or not current.is_running:
        return False
    return not container.get("startupProbe") or remembered.started.get(current.id, False)


def _one(
    pod: Object, container: Object, observed: Observed, remembered: Remembered, now: float
) -> tuple[Action | None, float | None]:
    """What to do about one container whose turn it is, and when to look at it again."""
    name = container["name"]
    latest, current = observed.latest(name), observed.current(name)
    if current is not None and current.is_running:
        return _of_running(pod, container, current, remembered), None
    if current is not None and current.state is ContainerState.CREATED:
        # Made but never started: the agent died in between. Nobody else starts it, so begin again.
        return RemoveContainer(current.id), None
    trouble = remembered.containers.get(name)
    if trouble is not None and now < trouble.retry_at:
        return None, trouble.retry_at
    if latest is None:
        return StartContainer(name, 0, 0), None
    if current is None:
        # It belonged to a sandbox that is no more, or what is left of it was collected.
        if container in pods.ephemeral_containers(pod):
            return None, None
        if (
            latest.has_exited
            and container in pods.containers(pod)
            and not restarts.should_restart(pod, container, latest, remembered.replacing)
        ):
            return None, None
        return StartContainer(name, latest.attempt + 1, latest.streak), None
    if not restarts.should_restart(pod, container, current, remembered.replacing):
        return None, None
    due = restarts.restart_at(current)
    if now < due:
        return None, due
    return StartContainer(name, current.attempt + 1, restarts.next_streak(current)), None


def _of_running(pod: Object, container: Object, current: Container, remembered: Remembered) -> Action | None:
    grace = pods.grace_seconds(pod)
    probe = remembered.unhealthy.get(current.id)
    if probe:
        own = (container.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds")
        again = restarts.may_replace(pod, container)
        grace = grace if own is None else own
        return StopContainer(current.id, current.name, grace, f"failed {probe} probe", is_replaced=again)
    holds = resize.actuated(current, remembered.actuated)
    if container in resize.resizable(pod) and holds is not None:
        wished = resize.wished(container)
        if not resize.same(holds, wished) and resize.restarts(container, holds, wished):
            return StopContainer(current.id, current.name, grace, RESIZED, is_replaced=True)
    if current.annotations.get(IMAGE_ASKED_FOR, container["image"]) != container["image"]:
        return StopContainer(current.id, current.name, grace, "definition changed", is_replaced=True)
    return None


def _tidying(observed: Observed, keep: int) -> Iterator[Action]:
    """Old attempts that nobody will ask about any more."""
    kept: set[str] = set()
    for name in dict.fromkeys(container.name for container in observed.containers):
        attempts = observed.attempts(name)
        kept |= {container.sandbox_id for container in attempts[:keep]}
        for old in attempts[keep:]:
            if not old.is_running:
                yield RemoveContainer(old.id)
    for sandbox in observed.sandboxes[1:]:
        if not sandbox.is_ready and sandbox.id not in kept:
            yield RemoveSandbox(sandbox.id)
