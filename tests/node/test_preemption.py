"""Who makes way for a pod that the node itself needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.node.admission import Refusal, verdict
from kontinuum.node.pods import qos_class
from kontinuum.node.preemption import NobodyLeft, request, victims
from kontinuum.node.resize import Room

ROOM = Room(2000, 1 << 30)
CRITICAL = 2_000_000_000
STATIC = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: app, image: "app:1", resources: {requests: {cpu: "%s"}}}]
"""


def asking(name: str, milli: int = 0, *, limited: bool = False, priority: int = 0) -> Object:
    """Guaranteed if it is ``limited``, BestEffort if it asks for nothing."""
    amounts = {"cpu": f"{milli}m", "memory": "1Mi"} if milli else {}
    resources = {"requests": amounts, **({"limits": amounts} if limited else {})}
    return pod(name, containers=[container("app", resources=resources)], priority=priority)


def chosen(missing: int, *others: Object, priority: int = CRITICAL) -> list[str]:
    return [name_of(one) for one in victims(asking("new", priority=priority), others, {"cpu": missing})]


def test_those_without_promises_make_way_first_and_as_few_as_possible_of_the_others() -> None:
    guaranteed, burstable = asking("guaranteed", 500, limited=True), asking("burstable", 500)
    assert chosen(400, guaranteed, burstable) == ["burstable"]
    assert chosen(600, guaranteed, burstable) == ["guaranteed", "burstable"]
    # Whose end is just enough, and else the one that gives back the most.
    assert chosen(300, asking("large", 900), asking("fitting", 300), asking("small", 200)) == ["fitting"]
    assert chosen(1000, asking("large", 900), asking("fitting", 300), asking("small", 200)) == ["large", "small"]


def test_one_place_is_what_every_pod_gives_back() -> None:
    others = [asking("guaranteed", 100, limited=True), asking("nothing"), asking("burstable", 100)]
    assert [name_of(one) for one in victims(asking("new", priority=CRITICAL), others, {"pods": 1})] == ["nothing"]


def test_whom_the_node_needs_as_much_stays() -> None:
    with pytest.raises(NobodyLeft) as raised:
        chosen(700, asking("other", 500, priority=CRITICAL), asking("small", 300))
    assert str(raised.value) == "no set of running pods found to reclaim resources: [(res: cpu, q: 400), ]"
    assert chosen(500, asking("other", 500, priority=CRITICAL), priority=CRITICAL + 1000) == ["other"]


PODS = st.lists(st.tuples(st.sampled_from([0, 100, 250, 600]), st.booleans()), max_size=6)


@given(PODS, st.integers(1, 1500))
def test_it_is_enough_and_nobody_goes_in_vain(given_pods: list[tuple[int, bool]], missing: int) -> None:
    others = [asking(str(number), milli, limited=limited) for number, (milli, limited) in enumerate(given_pods)]
    try:
        went = victims(asking("new", priority=CRITICAL), others, {"cpu": missing})
    except NobodyLeft:
        assert sum(request(one, "cpu") for one in others) < missing
        return
    assert sum(request(one, "cpu") for one in went) >= missing
    last = went.pop()
    assert request(last, "cpu") == 0 or sum(request(one, "cpu") for one in went) < missing
    lesser = [one for one in others if qos_class(one) != "Guaranteed"]
    if sum(request(one, "cpu") for one in lesser) >= missing:
        assert all(one in lesser for one in [*went, last])


def test_nobody_makes_way_for_a_pod_like_others_or_for_one_that_cannot_run_here_anyhow() -> None:
    there = [asking("there", 1500)]
    assert verdict(asking("new", 1000), there, ROOM, 110) == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    )
    assert verdict(asking("new", 1000, priority=CRITICAL), there, ROOM, 110) == there
    assert verdict(asking("new", 500, priority=CRITICAL), there, ROOM, 110) == []
    foreign = asking("new", 1000, priority=CRITICAL)
    foreign["spec"]["os"] = {"name": "windows"}
    refused = verdict(foreign, there, ROOM, 110)
    assert isinstance(refused, Refusal) and refused.reason == "PodOSNotSupported"


def test_a_static_pod_begins_when_those_who_make_way_have_gone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        folder = tmp_path / "static"
        folder.mkdir()
        await world.stop()
        await world.start(static=folder)
        there = asking("there", 1500)
        there["spec"]["containers"][0]["name"] = "stubborn"
        world.runtime.programs["stubborn"] = [Program(ignores_term=True)]
        await world.create(there)
        await world.wait(lambda one: one["phase"] == "Running", "there")
        (folder / "web.yaml").write_text(STATIC % "1")
        ended = await world.wait(lambda one: one["phase"] == "Failed", "there")
        assert (ended["reason"], ended["message"]) == ("Preempting", "Preempted in order to admit critical pod")
        disrupted = next(one for one in ended["conditions"] if one["type"] == "DisruptionTarget")
        assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
        begun = await world.wait(lambda one: one["phase"] == "Running", "web-n1")
        (old,), (new,) = ended["containerStatuses"], begun["containerStatuses"]
        assert old["state"]["terminated"]["finishedAt"] <= new["state"]["running"]["startedAt"]

    assert ("Preempting", "Preempted in order to admit critical pod") in play(tmp_path, story).events.told


def test_a_static_pod_that_never_fits_is_shown_as_refused_and_tried_no_more(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        folder = tmp_path / "static"
        folder.mkdir()
        (folder / "web.yaml").write_text(STATIC % "100")
        await world.stop()
        await world.start(static=folder)
        await world.create(asking("there", 1500))
        refused = await world.wait(lambda one: one["phase"] == "Failed", "web-n1")
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert refused["message"].endswith(
            "no set of running pods found to reclaim resources: [(res: cpu, q: 98000), ]"
        )
        await asyncio.sleep(60)
        assert (await world.get("there"))["status"]["phase"] == "Running"
        # Another file is another pod.
        (folder / "web.yaml").write_text(STATIC % "250m")
        await world.wait(lambda one: one["phase"] == "Running", "web-n1")

    assert play(tmp_path, story).events.reasons.count("UnexpectedAdmissionError") == 1
