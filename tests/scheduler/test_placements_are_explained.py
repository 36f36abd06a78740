"""``kontinuum schedule --explain``: what is said of each node is what the scheduler goes by."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.scheduler.cluster import Cluster, a_node, a_pod

from kontinuum.cli.commands.schedule import _print, describe
from kontinuum.client.rest import Client
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.scheduler.explaining import Explanation, NotExplained, explain, gather
from kontinuum.scheduler.settings import ProfileSettings, SchedulerSettings

TAINT = {"key": "dedicated", "value": "database", "effect": "NoSchedule"}


def explained(key: str, *objects: dict[str, object], settings: SchedulerSettings | None = None) -> Explanation:
    async def main() -> Explanation:
        cluster = Cluster()
        await cluster.create(*objects)
        client = Client(cluster.api.channel(cluster.faults))
        reading = await gather(client, VirtualClock())
        assert not cluster.faults.writes  # it only reads
        return explain(key, reading, settings or SchedulerSettings())

    return virtual_time.run(main)


CLUSTER = (
    a_node("full", cpu="1"),
    a_node("tainted", taints=[TAINT]),
    a_node("small", cpu="2"),
    a_node("large", cpu="8", memory="16Gi"),
    a_pod("holder", nodeName="full", requests={"cpu": "1"}),
)


def test_each_node_says_who_refuses_it_or_how_its_score_arises() -> None:
    found = explained("default/web", *CLUSTER, a_pod("web", requests={"cpu": "1"}))
    assert (found.node, found.message, found.bound_to) == ("large", "", "")
    assert [one.node for one in found.verdicts] == ["large", "small", "full", "tainted"]
    for one in found.verdicts[:2]:
        assert one.total == sum(each.points * each.weight for each in one.scores)
        assert {each.plugin: each.weight for each in one.scores}["TaintToleration"] == 3
    assert found.verdicts[0].total > found.verdicts[1].total
    refused = {one.node: (one.refused_by, one.reasons) for one in found.verdicts[2:]}
    assert refused == {
        "full": ("NodeResourcesFit", ("Insufficient cpu",)),
        "tainted": ("TaintToleration", ("node(s) had untolerated taint(s)",)),
    }


def test_a_pod_that_fits_nowhere_says_so_in_the_events_words() -> None:
    found = explained("default/web", *CLUSTER, a_pod("web", requests={"cpu": "9"}))
    assert found.node == ""
    assert found.message.startswith("0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu.")


def test_a_bound_pod_does_not_stand_in_its_own_way() -> None:
    found = explained("default/holder", *CLUSTER)
    assert found.bound_to == "full"
    assert "full" in [one.node for one in found.verdicts if not one.refused_by]


def test_the_profile_of_the_pod_decides() -> None:
    careless = ProfileSettings(
        scheduler_name="careless", disabled_filters=("TaintToleration",), disabled_scores=("NodeResourcesFit",)
    )
    settings = SchedulerSettings(profiles=(careless,))
    found = explained("default/web", *CLUSTER, a_pod("web", schedulerName="careless"), settings=settings)
    assert not any(one.refused_by for one in found.verdicts if one.node == "tainted")
    assert "NodeResourcesFit" not in {each.plugin for each in found.verdicts[0].scores}
    with pytest.raises(NotExplained, match="asks for the scheduler 'default-scheduler'; the settings know of careless"):
        explained("default/holder", *CLUSTER, settings=settings)


def test_a_pod_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotExplained, match="there is no pod default/nobody; namespaces are named with -n"):
        explained("default/nobody", *CLUSTER)


def test_people_get_a_table_and_scripts_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = explained("default/web", *CLUSTER, a_pod("web", requests={"cpu": "1"}))
    _print(found)
    printed = capsys.readouterr().out
    assert "default/web as default-scheduler decides: large" in printed
    assert all(word in printed for word in ("100 × 3", "Insufficient cpu", "tainted"))
    document = json.loads(json.dumps(describe(found)))
    assert document["nodes"][0]["total"] == found.verdicts[0].total
    assert document["nodes"][3] == {
        "node": "tainted", "refusedBy": "TaintToleration", "reasons": ["node(s) had untolerated taint(s)"],
    }  # fmt: skip


def test_what_is_explained_is_what_is_done() -> None:
    async def main() -> tuple[str, str]:
        from kontinuum.foundation.tasks import cancel
        from kontinuum.scheduler import loop

        cluster = Cluster()
        await cluster.create(*CLUSTER, a_pod("web", requests={"cpu": "500m"}))
        reading = await gather(cluster.client, VirtualClock())
        foretold = explain("default/web", reading, SchedulerSettings()).node
        task = asyncio.create_task(loop.run(cluster.client, VirtualClock(), SchedulerSettings()))
        await asyncio.sleep(5)
        await cancel(task)
        return foretold, cluster.nodes_of("web")[0]

    foretold, done = virtual_time.run(main)
    assert foretold == done
