"""Several schedulers in one process, each with plugins and weights of its own."""

from __future__ import annotations

import asyncio

import pytest
from tests.scheduler.cluster import Cluster, a_node, a_pod, scenario

from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.profiles import BadProfile, read_profile, read_profiles
from kontinuum.scheduler.scores import SCORES
from kontinuum.scheduler.settings import ProfileSettings, SchedulerSettings
from kontinuum.scheduler.snapshot import Snapshot

TAINT = {"key": "dedicated", "value": "database", "effect": "NoSchedule"}


def test_each_profile_decides_for_the_pods_that_name_it() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(
            a_node("n1", taints=[TAINT]),
            a_pod("strict", schedulerName="strict"),
            a_pod("careless", schedulerName="careless"),
            a_pod("foreign"),
        )
        await asyncio.sleep(5)
        assert cluster.nodes_of("strict", "careless", "foreign") == ["", "n1", ""]
        assert [reason for reason, *_ in await cluster.events("strict")] == ["FailedScheduling"]
        assert await cluster.events("foreign") == []

    careless = ProfileSettings(scheduler_name="careless", disabled_filters=("TaintToleration",))
    strict = ProfileSettings(scheduler_name="strict")
    scenario(main, SchedulerSettings(profiles=(strict, careless)))


def test_weights_and_disabled_scores_decide_which_node_is_best() -> None:
    async def main(cluster: Cluster) -> None:
        likes_n2 = {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchFields": [
                        {"key": "metadata.name", "operator": "In", "values": ["n2"]}
                    ]}}
                ]
            }
        }  # fmt: skip
        await cluster.create(a_node("n1", cpu="64", memory="64Gi"), a_node("n2", cpu="1", memory="1Gi"))
        await asyncio.sleep(1)
        requests = {"cpu": "500m", "memory": "500Mi"}
        for name in ("plain", "indifferent"):
            pod = a_pod(name, schedulerName=name, affinity=likes_n2, requests=requests)
            await cluster.create(pod)
        await asyncio.sleep(5)
        assert cluster.nodes_of("plain", "indifferent") == ["n2", "n1"]

    profiles = (
        ProfileSettings(scheduler_name="plain", weights={"NodeAffinity": 100}),
        ProfileSettings(scheduler_name="indifferent", disabled_scores=("NodeAffinity",)),
    )
    scenario(main, SchedulerSettings(profiles=profiles))


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (
            {"disabled": ("TaintTolerations",)},
            "scheduler.profiles[p].disabled: there is no plugin 'TaintTolerations'; ",
        ),
        ({"weights": {"NodePorts": 3}}, "scheduler.profiles[p].weights: there is no plugin 'NodePorts'; there are "),
        ({"weights": {"NodeAffinity": 0}}, "scheduler.profiles[p].weights.NodeAffinity: 0 is not between 1 and 100"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(profile: dict[str, object], message: str) -> None:
    with pytest.raises(BadProfile) as caught:
        read_profiles(SchedulerSettings(profiles=(ProfileSettings(scheduler_name="p", **profile),)))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_two_profiles_of_one_name_are_refused() -> None:
    twice = (ProfileSettings(scheduler_name="p"), ProfileSettings(scheduler_name="p"))
    with pytest.raises(BadProfile, match="two profiles have the same scheduler_name"):
        read_profiles(SchedulerSettings(profiles=twice))


def test_a_profile_says_how_plugins_count() -> None:
    disk = "kontinuum.dev/disk-write-bps"
    settings = ProfileSettings(scheduler_name="s", resources={"cpu": 1, disk: 1}, fills_nodes=True)
    configured = {one.name: one for one in read_profile(settings).plugins.scores}
    default = {one.name: one for one in SCORES}
    changed = {name for name, one in configured.items() if one != default[name]}
    assert changed == {"NodeResourcesFit", "NodeResourcesBalancedAllocation"}
    snapshot = Snapshot()
    snapshot.set_node({**a_node("n1", cpu="1"), "status": {"allocatable": {"cpu": "1", disk: "100", "pods": "9"}}})
    demand = read_demand(a_pod("p", requests={"cpu": "250m", disk: "75"}))
    assert configured["NodeResourcesFit"].points(demand, snapshot, snapshot.alive)[snapshot.row_of["n1"]] == 50


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ProfileSettings(scheduler_name="s", resources={"cpu": 0}), r"resources\.cpu: 0 is not between 1 and 100"),
        (ProfileSettings(scheduler_name="s", hard_pod_affinity_weight=101), "hard_pod_affinity_weight: 101 is not"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(settings: ProfileSettings, words: str) -> None:
    with pytest.raises(BadProfile, match=words):
        read_profile(settings)
