"""Whether and when a container that has ended runs again. Pure; every fact is in the runtime's own records.

                 first crash: at once        further crashes: 10 s, 20 s, 40 s ... 300 s after the end
    running ──▶ exited ───────────▶ running ──▶ exited ───(waiting: CrashLoopBackOff)───▶ running ...
A run of ten minutes starts the count again. These are the kubelet's numbers.
"""

from __future__ import annotations

from collections.abc import Collection

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.backoff import Backoff
from kontinuum.node import pods
from kontinuum.node.observed import Container

CRASH_BACKOFF = Backoff(initial=10.0, maximum=300.0)
HEALTHY_SECONDS = 600.0


def should_restart(pod: Object, container: Object, ended: Container, replacing: Collection[str]) -> bool:
    """Whether ``container`` is to run again after ``ended``; ``replacing``: those that were stopped for it, by id."""
    return ended.id in replacing or wants_restart(pod, container, ended.exit_code)


def may_replace(pod: Object, container: Object) -> bool:
    """Whether a container that is found unwell is stopped and started again: always, but for those that never are."""
    return bool((container.get("restartPolicy") or pods.restart_policy(pod)) != "Never")


def wants_restart(pod: Object, container: Object, exit_code: int) -> bool:
    """What rules and policies say after this end: the container's own before the pod's (KEP-5307)."""
    is_first = container["name"] in {one["name"] for one in pods.init_containers(pod)}
    if container in pods.ephemeral_containers(pod):
        return False
    if is_first and exit_code == 0 and not pods.is_sidecar(container):
        return False
    if any(_meets(rule.get("exitCodes") or {}, exit_code) for rule in container.get("restartPolicyRules") or ()):
        return True
    policy = container.get("restartPolicy") or pods.restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _meets(wanted: Object, exit_code: int) -> bool:
    """A rule whose operator is not known is not met, and the policy decides."""
    is_in = exit_code in (wanted.get("values") or ())
    return {"In": is_in, "NotIn": not is_in}.get(wanted.get("operator", ""), False)


def next_streak(ended: Container) -> int:
    """How many crashes in a row come before the attempt that follows ``ended``."""
    ran = ended.ended - ended.began if ended.began else 0.0
    return 1 if ran >= HEALTHY_SECONDS else ended.streak + 1


def delay(ended: Container) -> float:
    """Seconds that must pass after the end of ``ended`` before the next attempt."""
    crashes = next_streak(ended)
    return 0.0 if crashes <= 1 else CRASH_BACKOFF.delay(crashes - 2)


def restart_at(ended: Container) -> float:
    return ended.ended + delay(ended)
