"""Whether and when a container that has ended runs again. Pure; every fact is in the runtime's own records.

                 first crash: at once        further crashes: 10 s, 20 s, 40 s ... 300 s after the end
    running ──▶ exited ───────────▶ running ──▶ exited ───(waiting: CrashLoopBackOff)───▶ running ...
A run of ten minutes starts the count again. These are the kubelet's numbers.
"""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.backoff import Backoff
from kontinuum.node import pods
from kontinuum.node.observed import Container

CRASH_BACKOFF = Backoff(initial=10.0, maximum=300.0)
HEALTHY_SECONDS = 600.0


def should_restart(pod: Object, container: Object, ended: Container) -> bool:
    """Whether the policy wants ``container`` to run again after ``ended``."""
    if pods.is_sidecar(container):
        return True
    if container in pods.ephemeral_containers(pod):
        return False
    policy = pods.restart_policy(pod)
    if container["name"] in {one["name"] for one in pods.init_containers(pod)} and ended.exit_code == 0:
        return False
    return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)


def next_streak(ended: Container) -> int:
    """How many crashes in a row come before the attempt that follows ``ended``."""
    ran = ended.finished_at - ended.started_at if ended.started_at else 0.0
    return 1 if ran >= HEALTHY_SECONDS else ended.streak + 1


def delay(ended: Container) -> float:
    """Seconds that must pass after the end of ``ended`` before the next attempt."""
    crashes = next_streak(ended)
    return 0.0 if crashes <= 1 else CRASH_BACKOFF.delay(crashes - 2)


def restart_at(ended: Container) -> float:
    return (ended.finished_at or ended.created_at) + delay(ended)
