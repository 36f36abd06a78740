"""Nobody's volume is given to somebody else, whoever is killed, whatever answer is lost, and in whatever order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running
from tests.controllers.storage import bindings, claim, create, phases, storage_class, volume

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import ApiError, internal_error
from kontinuum.client.errors import Unreachable
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import Faults
from kontinuum.client.transport.port import Request
from kontinuum.controllers import manager
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.tasks import cancel

BINDER = ControllersSettings(enabled=("persistentvolume-binder",))
"""Nobody else has a say in this, and thousands of lives are quicker without them."""


class Watch:
    """Looks at every state that the API ever had, for what must never be."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._position = 0
        self._claims: dict[str, Object] = {}
        self._owners: dict[str, str] = {}
        """By the name of each volume: the uid of the claim that was once Bound to it. Its data is that claim's."""
        self._choices: dict[str, str] = {}
        """By the uid of each claim: the name of the volume that it was once Bound to."""

    def check(self) -> None:
        for entry in self._cluster.api.storage.log[self._position :]:
            self._position += 1
            if entry.new is None:
                continue
            if (entry.new.get("status") or {}).get("phase") != "Bound":
                continue
            if entry.resource is PERSISTENTVOLUMECLAIMS:
                named, uid = entry.new["spec"]["volumeName"], uid_of(entry.new)
                assert self._choices.setdefault(uid, named) == named, "a claim has had two volumes"
                assert self._owners.setdefault(named, uid) == uid, "a volume has had two claims"
            elif entry.resource is PERSISTENTVOLUMES and (reference := entry.new["spec"].get("claimRef")):
                # One that was given to a claim which had another already is taken back; nobody has used it.
                owner = self._owners.get(name_of(entry.new), reference["uid"])
                assert owner == reference["uid"], "a volume that holds a claim's data is bound to another"
        bound = [one["spec"]["volumeName"] for one in self._cluster.everything(PERSISTENTVOLUMECLAIMS)
                 if one["status"].get("phase") == "Bound"]  # fmt: skip
        assert all(count == 1 for count in Counter(bound).values()), "two claims are bound to one volume"


async def a_morning(cluster: Cluster) -> None:
    """Claims and volumes come and go, some chosen by their users, nobody waiting for anybody."""
    await create(cluster, storage_class("fast", default=True))
    await create(cluster, *(volume(f"v{number}", f"{number + 1}Gi", storageClassName="fast") for number in range(4)))
    await create(cluster, claim("a", "1Gi", storageClassName="fast"), claim("b", "1Gi", storageClassName="fast"))
    await create(cluster, volume("mine", claimRef={"namespace": "default", "name": "d"}, storageClassName="fast"))
    await asyncio.sleep(0.05)
    await create(cluster, claim("c", "3Gi", storageClassName="fast"), claim("d", storageClassName="fast"))
    await asyncio.sleep(3)
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "a", namespace="default")
    await create(cluster, claim("e", "4Gi", storageClassName="fast", volumeName="v3"))
    await cluster.settle(100)


EXPECTED = {
    "bindings": {"b": "v1", "c": "v2", "d": "mine", "e": "v3"},
    "phases": {"v0": "Released", "v1": "Bound", "v2": "Bound", "mine": "Bound", "v3": "Bound"},
}


def run_morning(prepare: Callable[[Cluster], None]) -> tuple[dict[str, Any], list[int]]:
    async def main() -> tuple[dict[str, Any], list[int]]:
        async with running(BINDER) as cluster:
            watch = Watch(cluster)
            prepare(cluster)
            await a_morning(cluster)
            watch.check()
            state = {"bindings": bindings(cluster), "phases": phases(cluster)}
            numbers = [n for n, one in enumerate(cluster.faults.writes, 1) if "/persistentvolume" in one.path]
            return state, numbers

    return virtual_time.run(main)


def test_the_end_is_the_same_wherever_the_binder_is_killed() -> None:
    state, writes = run_morning(lambda cluster: None)
    assert state == EXPECTED
    assert len(writes) > 20
    for point in writes:

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        state, _ = run_morning(kill_at)
        assert _shape(state) == _shape(EXPECTED), f"killed after write {point}"
        state, _ = run_morning(lambda cluster, point=point: cluster.faults.lose_answer(point))  # type: ignore[misc]
        assert _shape(state) == _shape(EXPECTED), f"the answer to write {point} was lost"


def _shape(state: dict[str, Any]) -> dict[str, Any]:
    """Which of two equal claims got which of two volumes may depend on who was first."""
    return {"claims": sorted(state["bindings"]), "phases": Counter(state["phases"].values())}


FAULT = st.one_of(
    st.tuples(st.sampled_from(["error", "lost", "kill"]), st.integers(1, 40)),
    st.tuples(st.sampled_from(["drop", "compact", "down"]), st.integers(0, 10)),
)
SIZES = st.sampled_from(["1Gi", "2Gi", "3Gi"])
ACTION = st.one_of(
    st.tuples(st.just("volume"), st.integers(0, 5), SIZES),
    st.tuples(st.just("reserved"), st.integers(0, 5), st.integers(0, 3)),
    st.tuples(st.just("claim"), st.integers(0, 3), SIZES),
    st.tuples(st.just("asking"), st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.just("forget"), st.integers(0, 3), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.5, 5]), st.none()),
)


@settings(max_examples=15, deadline=None)
@given(
    actions=st.lists(ACTION, min_size=4, max_size=16),
    faults=st.lists(FAULT, max_size=6),
    delay=st.sampled_from([0.001, 0.05, 0.4]),
    rival=st.sampled_from([None, 0.001, 0.07, 0.5]),
)
@example(  # Two leaders at once, one of them slow: each wants the only volume for another claim.
    actions=[("claim", 1, "1Gi"), ("claim", 0, "1Gi"), ("volume", 0, "1Gi"), ("wait", 5, None)],
    faults=[],
    delay=0.05,
    rival=0.07,
)
def test_no_volume_ever_has_two_claims_and_no_claim_two_volumes(
    actions: list[tuple[str, Any, Any]], faults: list[tuple[str, int]], delay: float, rival: float | None
) -> None:
    """``rival`` is the delay of a second set of controllers, which believes to be the only one as well."""

    async def main() -> None:
        async with running(BINDER) as cluster:
            watch = Watch(cluster)
            _suffer(cluster, faults, delay)
            other = asyncio.create_task(_rival(cluster, rival))
            for action in actions:
                # It may be there already, or not there any more.
                with contextlib.suppress(ApiError, Unreachable):
                    await _act(cluster, *action)
                watch.check()
            cluster.faults.after_write = lambda number, request: None
            cluster.faults.down = False
            await cluster.settle(400)
            watch.check()
            _assert_settled(cluster)
            await cancel(other)
            writes = len(cluster.faults.writes)
            await cluster.settle(500)
            changed = [one.path for one in cluster.faults.writes[writes:] if "/persistentvolume" in one.path]
            assert changed == [], "a settled cluster is written to"

    virtual_time.run(main)


async def _rival(cluster: Cluster, delay: float | None) -> None:
    if delay is not None:
        client = Client(cluster.api.channel(Faults(delay=delay)))
        await manager.run(client, cluster.clock, cluster.settings)


async def _act(cluster: Cluster, what: str, which: Any, detail: Any) -> None:
    if what == "volume":
        await create(cluster, volume(f"v{which}", detail))
    elif what == "reserved":
        await create(cluster, volume(f"v{which}", claimRef={"namespace": "default", "name": f"c{detail}"}))
    elif what == "claim":
        await create(cluster, claim(f"c{which}", detail))
    elif what == "asking":
        await create(cluster, claim(f"c{which}", volumeName=f"v{detail}"))
    elif what == "forget":
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, f"c{which}", namespace="default")
    else:
        await asyncio.sleep(which)


def _suffer(cluster: Cluster, faults: list[tuple[str, int]], delay: float) -> None:
    cluster.faults.delay = delay
    loop = asyncio.get_running_loop()
    kills = {when for what, when in faults if what == "kill"}

    def after_write(number: int, request: object) -> None:
        if number in kills:
            kills.discard(number)
            cluster.replace_controllers()

    def inflict(what: str) -> None:
        if what == "compact":
            cluster.api.compact()
        if what == "down":
            suffered = cluster.faults
            suffered.down = True
            loop.call_later(5, lambda: setattr(suffered, "down", False))
        cluster.api.drop_watches()

    cluster.faults.after_write = after_write
    for what, when in faults:
        if what == "error":
            cluster.faults.fail_write(when, internal_error("a fault was injected"))
        elif what == "lost":
            cluster.faults.lose_answer(when)
        elif what != "kill":
            loop.call_later(when, inflict, what)


def _assert_settled(cluster: Cluster) -> None:
    """Both sides of every binding agree, and no claim waits beside a volume that it could have."""
    volumes = {name_of(one): one for one in cluster.everything(PERSISTENTVOLUMES)}
    for name, named in bindings(cluster).items():
        assert volumes[named]["spec"]["claimRef"]["name"] == name
        assert volumes[named]["status"]["phase"] == "Bound"
    free = [one for one in volumes.values() if "claimRef" not in one["spec"]]
    assert all(one["status"]["phase"] == "Available" for one in free)
    for one in cluster.everything(PERSISTENTVOLUMECLAIMS):
        if not one["spec"].get("volumeName"):
            wanted = one["spec"]["resources"]["requests"]["storage"]
            assert all(offer["spec"]["capacity"]["storage"] < wanted for offer in free), "a claim waits for nothing"


def test_a_volume_that_somebody_else_takes_in_the_last_moment_is_theirs() -> None:
    async def main() -> None:
        async with running(BINDER) as cluster:

            def forestall(request: Request) -> ApiError | None:
                found = cluster.api.storage.get(PERSISTENTVOLUMES, "v")
                if (
                    request.method == "PUT"
                    and request.path.endswith("/v")
                    and found
                    and "claimRef" not in found["spec"]
                ):
                    theirs = {"namespace": "default", "name": "other", "uid": "theirs"}
                    cluster.api.storage.put(
                        PERSISTENTVOLUMES, {**found, "spec": {**found["spec"], "claimRef": theirs}}
                    )  # fmt: skip
                return None

            await create(cluster, volume("v"))
            await cluster.settle(5)
            cluster.faults.refuse = forestall
            await create(cluster, claim("c"))
            await cluster.settle(60)
            assert bindings(cluster) == {}
            owners = [one.new["spec"].get("claimRef", {}).get("uid") for one in cluster.api.storage.log
                      if one.resource is PERSISTENTVOLUMES and one.new]  # fmt: skip
            assert set(owners) == {None, "theirs"}

    virtual_time.run(main)
