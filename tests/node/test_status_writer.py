"""A pod's conditions have many writers, and none takes another's away."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.client.transport.fake import FakeApi
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node.status_writer import StatusWriter, merged

TYPES = st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from("xyz"), max_size=5)


def listed(conditions: dict[str, str]) -> list[Object]:
    return [{"type": kind, "status": value} for kind, value in conditions.items()]


@given(before=TYPES, wanted=TYPES, found=TYPES)
def test_conditions_are_changed_where_the_node_changed_them_and_nowhere_else(
    before: dict[str, str], wanted: dict[str, str], found: dict[str, str]
) -> None:
    after = {one["type"]: one["status"] for one in merged(listed(before), listed(wanted), listed(found))}
    for kind in "ABCDE":
        if before.get(kind) == wanted.get(kind):
            assert after.get(kind) == found.get(kind)
        else:
            assert after.get(kind) == wanted.get(kind)


async def test_what_somebody_wrote_while_the_node_looked_away_stays() -> None:
    client = FakeApi().client()
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {}}
    pod = await client.create(PODS, {**made, "status": {"conditions": listed({"Ready": "True"})}})
    pod.setdefault("status", {"conditions": listed({"Ready": "True"})})
    writer = StatusWriter(client, pod, RealClock())
    others = {"status": {"conditions": listed({"Ready": "True", "DisruptionTarget": "True"})}}
    await client.patch(PODS, "p", others, namespace="default", subresource="status")
    task = asyncio.create_task(writer.run())
    writer.set({"phase": "Failed", "conditions": listed({"Ready": "False"})})
    await writer.wait_written()
    await cancel(task)
    found = (await client.get(PODS, "p", namespace="default"))["status"]
    assert {one["type"]: one["status"] for one in found["conditions"]} == {"Ready": "False", "DisruptionTarget": "True"}
    assert found["phase"] == "Failed"
