"""What it costs a request to be classified and to find a free seat: CPU time, without any waiting.

python -m benchmarks.fairness
"""

from __future__ import annotations

import time

from benchmarks.report import figure, machine
from kontinuum.api.kubernetes import flowcontrol as tables
from kontinuum.api.kubernetes.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.fairness.fairness import Fairness
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.clock import RealClock

ROUNDS, REQUESTS = 20, 20_000
USERS = {
    "an administrator": User("kubernetes-admin", ("system:masters", "system:authenticated")),
    "a node": User("system:node:n1", ("system:nodes", "system:authenticated")),
    "a tenant": User("jane", ("team", "system:authenticated")),
}


def cache_of(resource: Resource, specs: dict[str, Object]) -> WatchCache:
    cache = WatchCache(resource)
    for revision, obj in enumerate(tables.objects(specs), start=1):
        cache.load(cache.layout.key("", name_of(obj)), cache.layout.encode(obj), revision)
    return cache


def measure(fairness: Fairness, asked: Attributes) -> float:
    """Microseconds a request."""
    began = time.process_time()
    for _ in range(REQUESTS):
        seat = fairness.try_enter(fairness.flow_of(asked), 1)
        assert seat is not None
        seat.leave()
    return (time.process_time() - began) / REQUESTS * 1e6


def main() -> None:
    machine(f"{REQUESTS} requests that find a free seat, {ROUNDS} times")
    levels = cache_of(PRIORITYLEVELCONFIGURATIONS, {**tables.MANDATORY_LEVELS, **tables.SUGGESTED_LEVELS})
    schemas = cache_of(FLOWSCHEMAS, {**tables.MANDATORY_SCHEMAS, **tables.SUGGESTED_SCHEMAS})
    fairness = Fairness(levels, schemas, RealClock(), seats=600, wait_seconds=15)
    for name, user in USERS.items():
        asked = Attributes(user, "get", resource="pods", namespace="default", name="web", version="v1")
        figure(f"request of {name}", [measure(fairness, asked) for _ in range(ROUNDS)], unit="µs", reach=5)


if __name__ == "__main__":
    main()
