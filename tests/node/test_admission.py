"""What a node does not take, although somebody gave it to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.node.world import NODE, World, container, play, pod

from kontinuum.api.kubernetes.node_fit import REQUIRED
from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object
from kontinuum.node import abilities
from kontinuum.node.admission import Refusal, verdict
from kontinuum.node.resize import Room

ROOM = Room(2000, 1 << 30)


def asking(**requests: str) -> Object:
    return pod(containers=[container("app", resources={"requests": requests})])


def on_port(number: int, *, ip: str = "", protocol: str = "TCP") -> Object:
    port = {"containerPort": 80, "hostPort": number, "protocol": protocol, **({"hostIP": ip} if ip else {})}
    return pod(containers=[container("app", ports=[port])])


def reason(new: Object, *others: Object, most: int = 110) -> str:
    found = verdict(new, others, ROOM, most)
    return found.reason if isinstance(found, Refusal) else ""


def test_amounts_are_compared_with_what_others_hold() -> None:
    assert reason(asking(cpu="2")) == ""
    assert reason(asking(cpu="1"), asking(cpu="1500m")) == "OutOfcpu"
    assert reason(asking(memory="2Gi")) == "OutOfmemory"
    assert reason(asking(), asking(cpu="3")) == ""
    assert verdict(asking(cpu="1"), [asking(cpu="1500m")], ROOM, 110) == Refusal(
        "OutOfcpu",
        "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000",
    )
    ended = {**asking(cpu="1500m"), "status": {"phase": "Succeeded"}}
    assert reason(asking(cpu="1"), ended) == ""
    assert reason(asking(), asking(), asking(), most=2) == "OutOfpods"


@pytest.mark.parametrize(
    ("new", "there", "expected"),
    [
        (on_port(80), on_port(81), ""),
        (on_port(80), on_port(80), "NodePorts"),
        (on_port(80, protocol="UDP"), on_port(80), ""),
        (on_port(80, ip="10.0.0.1"), on_port(80, ip="10.0.0.2"), ""),
        (on_port(80, ip="10.0.0.1"), on_port(80, ip="0.0.0.0"), "NodePorts"),
    ],
)
def test_a_port_of_the_host_is_one_pod_s(new: Object, there: Object, expected: str) -> None:
    assert reason(new, there) == expected


def test_kernel_parameters_that_may_harm_others_are_refused_unless_they_are_allowed() -> None:
    def setting(name: str) -> Object:
        return pod(securityContext={"sysctls": [{"name": name, "value": "1"}]})

    assert reason(setting("kernel.shm_rmid_forced")) == ""
    assert reason(setting("net/ipv4/tcp_syncookies")) == ""
    assert reason(setting("kernel.msgmax")) == "SysctlForbidden"
    assert verdict(setting("net.core.somaxconn"), [], ROOM, 110, ["net.core.*"]) == []


def test_what_was_made_for_another_system_is_refused() -> None:
    assert reason(pod(os={"name": "linux"}, nodeSelector={"kubernetes.io/os": "linux"})) == ""
    assert reason(pod(os={"name": "windows"})) == "PodOSNotSupported"
    assert reason(pod(nodeSelector={"kubernetes.io/os": "windows"})) == "PodOSSelectorNodeLabelDoesNotMatch"


def test_profiles_and_groups_that_nothing_here_would_enforce_are_refused() -> None:
    def secured(**context: object) -> Object:
        return pod(securityContext=context)

    assert reason(secured(appArmorProfile={"type": "Unconfined"})) == ""
    assert reason(secured(appArmorProfile={"type": "RuntimeDefault"})) == "AppArmor"
    of_container = pod()
    of_container["spec"]["containers"][0]["securityContext"] = {"appArmorProfile": {"type": "RuntimeDefault"}}
    assert reason(of_container) == "AppArmor"
    assert reason(secured(supplementalGroupsPolicy="Merge")) == ""
    strict = secured(supplementalGroupsPolicy="Strict")
    assert reason(strict) == "SupplementalGroupsPolicyNotSupported"
    assert verdict(strict, [], ROOM, 110, has_groups_policy=True) == []


@pytest.mark.parametrize(
    ("asks", "refused"),
    [
        ({}, ()),
        ({"hostUsers": False}, ("sandbox", "microvm")),
        ({"hostUsers": True}, ()),
        ({"hostNetwork": True}, ("microvm",)),
        ({"hostPID": True}, ("sandbox", "microvm")),
        ({"hostIPC": True}, ("sandbox", "microvm")),
        ({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}}, ("sandbox",)),
    ],
)
def test_a_class_refuses_what_it_cannot_do_and_nothing_else(asks: Object, refused: tuple[str, ...]) -> None:
    for handler in ("container", "sandbox", "microvm", "of-somebody-else"):
        said = abilities.unmet(handler, pod(**asks))
        assert (said is not None) == (handler in refused), (handler, said)
        assert said is None or f"is not offered by the isolation class {handler}: " in said
    # Without a class it is a container.
    assert abilities.unmet("", pod(**asks)) == abilities.unmet("container", pod(**asks))


@pytest.mark.parametrize("where", ["containers", "initContainers", "ephemeralContainers"])
def test_mounts_that_propagate_are_refused_wherever_they_are(where: str) -> None:
    mount = {"name": "v", "mountPath": "/v", "mountPropagation": "HostToContainer"}
    one = pod()
    one["spec"].setdefault(where, [{"name": "other"}])[0]["volumeMounts"] = [mount]
    assert [bool(abilities.unmet(handler, one)) for handler in ("container", "sandbox", "microvm")] == [
        False,
        True,
        True,
    ]
    mount["mountPropagation"] = "None"
    assert not abilities.unmet("sandbox", one)


def test_of_two_pods_that_want_the_same_port_the_second_fails_and_nothing_of_it_is_made(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in ("p", "q"):
            made = on_port(80)
            made["metadata"]["name"] = name
            await world.create(made)
            await asyncio.sleep(1)
        await world.wait(lambda one: one["phase"] == "Running")
        refused = (await world.get("q"))["status"]
        problem = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        assert (refused["phase"], refused["reason"]) == ("Failed", "NodePorts")
        assert refused["message"] == f"Pod was rejected: {problem}"
        # kubectl shows what a container waits for rather than why its pod was refused.
        assert "containerStatuses" not in refused
        assert len(world.runtime.sandboxes) == 1
        # It is the first one's for as long as that runs, also for an agent that was restarted.
        await world.stop()
        await world.start()
        await asyncio.sleep(5)
        assert (await world.get())["status"]["phase"] == "Running"
        await world.delete("q")
        await asyncio.sleep(5)
        assert not await world.exists("q")

    problem = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert ("NodePorts", problem) in play(tmp_path, story).events.told


WANTED = {"key": "disk", "operator": "In", "values": ["fast"]}
ELSEWHERE = [
    ({"nodeSelector": {"disk": "fast"}}, "NodeAffinity"),
    (
        {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [WANTED]}]}}}},
        "NodeAffinity",
    ),
    ({"tolerations": [{"key": "fire", "operator": "Exists", "effect": "NoSchedule"}]}, "TaintToleration"),
]


def node_object(*, fits: bool) -> Object:
    """One that every pod of ELSEWHERE may be on, or none."""
    taints = [{"key": "fire", "effect": "NoSchedule"}, {"key": "smoke", "effect": "NoSchedule"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {"disk": "fast" if fits else "slow"}},
        "spec": {"taints": taints if fits else [{"key": "fire", "effect": "NoExecute"}]},
    }


@pytest.mark.parametrize(("asks", "why"), ELSEWHERE)
def test_a_pod_that_belongs_elsewhere_is_refused_by_the_node_as_it_is_now(
    tmp_path: Path, asks: Object, why: str
) -> None:
    tolerant = {"tolerations": [{"operator": "Exists"}]} if why == "NodeAffinity" else {}

    async def story(world: World) -> None:
        node = await world.client.create(NODES, node_object(fits=False))
        await world.stop()
        await world.start(node=node_object(fits=False))
        await world.create(pod(**asks, **tolerant))
        refused = await world.wait(lambda one: one["phase"] == "Failed")
        assert refused["reason"] == why and refused["message"].startswith(f"Pod was rejected: Predicate {why} failed: ")
        # Whoever ran before the label went, or came with the last agent, stays.
        fresh = node_object(fits=True)
        await world.client.update(NODES, {**node, **fresh, "metadata": {**node["metadata"], **fresh["metadata"]}})
        other = pod(**asks, **tolerant)
        other["metadata"]["name"] = "late"
        # The agent still knows the old Node; the API says better.
        await world.create(other)
        await world.wait(lambda one: one["phase"] == "Running", "late")
        await world.stop()
        await world.start(node=node_object(fits=False))
        await asyncio.sleep(5)
        assert (await world.get("late"))["status"]["phase"] == "Running"
        assert len(world.runtime.sandboxes) == 1

    play(tmp_path, story)
