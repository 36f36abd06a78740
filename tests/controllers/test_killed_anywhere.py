"""Controllers may be killed between any two writes, and any answer may be lost: the end is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, deployment, running

from kontinuum.api.kubernetes.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICASETS
from kontinuum.api.machinery.objects import annotations_of, name_of
from kontinuum.api.machinery.status import internal_error
from kontinuum.client.transport.fake import Faults
from kontinuum.foundation import virtual_time

REVISION = "deployment.kubernetes.io/revision"


async def a_day(cluster: Cluster) -> None:
    """A little of everything, not waiting for anything to be finished."""
    await cluster.client.create(DEPLOYMENTS, deployment())
    await cluster.client.create(NAMESPACES, {"metadata": {"name": "n"}})
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "n"}})
    await cluster.client.create(DEPLOYMENTS, deployment("gone"))
    await asyncio.sleep(5)
    await cluster.set_image("image:2")
    await cluster.client.delete(NAMESPACES, "n")
    await asyncio.sleep(3)
    await cluster.patch({"replicas": 5})
    await cluster.client.delete(DEPLOYMENTS, "gone", namespace="default", propagation="Foreground")
    await cluster.settle(100)


def end_state(cluster: Cluster) -> dict[str, Any]:
    status = cluster.deployment()["status"]
    return {
        "images": cluster.images(),
        "pods": len(cluster.everything(PODS)),
        "revisions": sorted(annotations_of(one).get(REVISION, "") for one in cluster.everything(REPLICASETS)),
        "sizes": cluster.sizes(),
        "counts": {key: value for key, value in status.items() if key != "conditions"},
        "conditions": {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]},
        "namespaces": sorted(name_of(one) for one in cluster.everything(NAMESPACES)),
        "configmaps": len(cluster.everything(CONFIGMAPS)),
        "deployments": len(cluster.everything(DEPLOYMENTS)),
    }


EXPECTED = {
    "images": {"image:2": 5},
    "pods": 5,
    "revisions": ["1", "2"],
    "sizes": {"image:2": 5},
    "conditions": {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    },
    "namespaces": ["default", "kube-node-lease", "kube-public", "kube-system"],
    "configmaps": 0,
    "deployments": 1,
}


def run_day(prepare: Callable[[Cluster], None]) -> tuple[dict[str, Any], list[int]]:
    """The end state of a day that began with ``prepare``, and the numbers of the controllers' writes.

    Events are left out: they are told to people, and nothing is decided by them.
    """

    async def main() -> tuple[dict[str, Any], list[int]]:
        async with running() as cluster:
            prepare(cluster)
            faults = cluster.faults
            await a_day(cluster)
            state = end_state(cluster)
            del state["counts"]["observedGeneration"]
            assert state["counts"].pop("terminatingReplicas") == 0
            assert state.pop("counts") == dict.fromkeys(
                ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 5
            )  # fmt: skip
            return state, [n for n, request in enumerate(faults.writes, 1) if "/events" not in request.path]

    return virtual_time.run(main)


def test_the_end_is_the_same_wherever_the_controllers_are_killed() -> None:
    state, writes = run_day(lambda cluster: None)
    assert state == EXPECTED
    assert len(writes) > 60

    for point in writes:

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        state, _ = run_day(kill_at)
        assert state == EXPECTED, f"killed after write {point}"


def test_the_end_is_the_same_whichever_answer_is_lost() -> None:
    _, writes = run_day(lambda cluster: None)
    for point in writes:
        state, _ = run_day(lambda cluster, point=point: cluster.faults.lose_answer(point))  # type: ignore[misc]
        assert state == EXPECTED, f"the answer to write {point} was lost"


FAULT = st.one_of(
    st.tuples(st.just("error"), st.integers(1, 90)),
    st.tuples(st.just("lost"), st.integers(1, 90)),
    st.tuples(st.just("kill"), st.integers(1, 90)),
    st.tuples(st.sampled_from(["drop", "compact", "down"]), st.integers(0, 20)),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(FAULT, max_size=12), st.sampled_from([0.001, 0.05, 0.7]))
def test_the_end_is_the_same_under_any_mixture_of_faults(faults: list[tuple[str, int]], delay: float) -> None:
    async def prepare(cluster: Cluster) -> None:
        for what, when in sorted(faults, key=lambda fault: fault[1]):
            if what in ("drop", "compact", "down"):
                asyncio.get_running_loop().call_later(when, inflict, cluster, what)

    def inflict(cluster: Cluster, what: str) -> None:
        if what == "compact":
            cluster.api.compact()
        if what == "down":
            cluster.faults.down = True
            asyncio.get_running_loop().call_later(15, lift, cluster.faults)
        cluster.api.drop_watches()

    def lift(suffered: Faults) -> None:
        suffered.down = False

    def begin(cluster: Cluster) -> None:
        cluster.faults.delay = delay
        for what, when in faults:
            if what == "error":
                cluster.faults.fail_write(when, internal_error("a fault was injected"))
            elif what == "lost":
                cluster.faults.lose_answer(when)
        kills = {when for what, when in faults if what == "kill"}

        def after_write(number: int, request: object) -> None:
            if number in kills:
                kills.discard(number)
                cluster.replace_controllers()

        cluster.faults.after_write = after_write
        task = asyncio.get_running_loop().create_task(prepare(cluster))
        keep.append(task)

    keep: list[asyncio.Task[None]] = []
    state, _ = run_day(begin)
    # Whether the first template was ever rolled out depends on how long nobody was there to do it.
    assert {**state, "revisions": []} == {**EXPECTED, "revisions": []}
