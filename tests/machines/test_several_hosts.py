"""Two hosts: pods of both reach each other, and what becomes of a host becomes of its pods, no more and no less."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.connections import until_all_are_closed
from tests.lifetimes import told_of
from tests.machines.networks import own_services
from tests.machines.platform import Platform
from tests.machines.pods.cases import Changes, World, is_ready, until
from tests.machines.pods.test_network import PAGE, SERVE, answers, fetched_here, ip, output

from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.cli import hosts
from kontinuum.cli.installation import Installation
from kontinuum.client import kubeconfig
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import HttpTransport
from kontinuum.foundation.addresses import has_interface
from kontinuum.node.overlay.ways import PROTOCOL

pytestmark = pytest.mark.machine
FIRST, SECOND = "pair", "pair-2"
CLASSES = "container", "microvm"
"""A sandbox has its network as a container has it."""
ADDRESSES = {FIRST: "10.245.0.1", SECOND: "10.245.0.2"}
DAYS = 77_777
"""Seconds that a container sleeps which we want to know again among all processes."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("pair") / "data")
    with platform.removed_at_the_end():
        platform.up(
            "--nodes", "2",
            node={"name": FIRST, "heartbeat_seconds": 1, "lease_duration_seconds": 5},
            server={"service_cidrs": own_services()},
            controllers={"node_grace_seconds": 6, "node_eviction_rate": 10},
        )  # fmt: skip
        yield platform
    assert left_of(platform) == []


def left_of(platform: Platform) -> list[str]:
    """What reminds of both hosts on this machine."""
    paths = Installation.at(platform.data_dir)
    instances = [paths.instance, Installation.at(paths.data / "hosts" / SECOND).instance]
    found = [name for name in (hosts.bridge_of(paths), f"kx{paths.instance}") if has_interface(name)]
    found += [str(one) for each in instances for one in Path("/sys/fs/cgroup").glob(f"*/kontinuum/{each}")]
    found += [str(one) for one in Path("/run/kontinuum").glob("*") if paths.instance in one.name]
    return found + list(told_of(paths.data).values())


@asynccontextmanager
async def world_of(pair: Platform, case: str) -> AsyncIterator[World]:
    transport = HttpTransport(kubeconfig.load(pair.kubeconfig), user_agent="tests")
    try:
        async with Changes.followed(Client(transport)) as changes:
            yield World(transport, changes, pair.kubeconfig, "container", "default", case)
    finally:
        await transport.close()
        await until_all_are_closed()


def is_well(node: Object) -> bool:
    ready = find(node["status"].get("conditions") or (), "Ready")
    return ready is not None and ready["status"] == "True" and not node["spec"].get("taints")


async def node_that(world: World, name: str, *, well: bool) -> None:
    async def look() -> bool:
        return is_well(await world.client.get(world.resource("Node"), name)) is well

    await until(f"{name} to be {'well' if well else 'missed'}", look)


def state(pair: Platform) -> str:
    [host] = json.loads(pair.kontinuum("host", "list", "-o", "json").stdout)
    assert host["name"] == SECOND
    return str(host["state"])


@pytest.mark.behaviour("Conformance Tests should have at least two untainted nodes")
async def test_both_hosts_are_nodes_with_networks_of_their_own(pair: Platform) -> None:
    async with world_of(pair, "both") as world:
        for name in ADDRESSES:
            await node_that(world, name, well=True)
        nodes = (await world.client.list(world.resource("Node"))).items
        assert {name_of(node) for node in nodes} == set(ADDRESSES)
        assert len({node["spec"]["podCIDR"] for node in nodes}) == 2
    assert pair.status()["hosts"] == [
        {"name": SECOND, "state": "running", "address": ADDRESSES[SECOND], "dataDir": f"{pair.data_dir}/hosts/{SECOND}"}
    ]


async def test_pods_reach_each_other_by_address_service_and_name(pair: Platform) -> None:
    async with world_of(pair, "reach") as world:

        def server(isolation_class: str, node: str) -> Object:
            name = f"{isolation_class}-{node}"
            return world.pod(
                SERVE.format(port=PAGE), name=name, nodeName=node, runtimeClassName=isolation_class,
                metadata={"labels": {"app": name, "class": isolation_class}},
            )  # fmt: skip

        places = [(one, node) for one in CLASSES for node in (FIRST, SECOND)]
        found = await asyncio.gather(*(world.running(server(*place)) for place in places))
        pods = dict(zip(places, found, strict=True))
        other = {FIRST: SECOND, SECOND: FIRST}
        for (own, node), pod in pods.items():
            app = pod["metadata"]["labels"]["app"]
            spec = {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": PAGE}], "type": "NodePort"}
            made = await world.create("Service", app, spec=spec)
            port, name = made["spec"]["ports"][0]["nodePort"], name_of(pod)
            for one in CLASSES:
                client = name_of(pods[one, other[node]])
                assert await answers(world, client, f"{ip(pod)}:{PAGE}") == name, "by its address"
                assert await answers(world, client, app) == name, "by its Service's name"
            (beside,) = (name_of(pods[one, node]) for one in CLASSES if one != own)
            assert await answers(world, beside, f"{ADDRESSES[other[node]]}:{port}") == name, (
                "by the other host and back"
            )
            for address in ADDRESSES.values():
                assert await until("an answer", lambda: fetched_here(f"{address}:{port}")) == name  # noqa: B023
            assert (await world.execute(name, "hostname")).strip() == name
        first, second = name_of(pods["container", FIRST]), name_of(pods["container", SECOND])
        large = await world.execute(first, f"ping -c 1 -s 20000 {ip(pods['container', SECOND])}")
        assert "1 packets received" in large
        # Who asks is who it is, also over there: a policy lets one in and not the other.
        policy = {
            "podSelector": {"matchLabels": {"app": f"container-{SECOND}"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": f"container-{FIRST}"}}}]}],
        }
        await world.create("NetworkPolicy", "only-one", spec=policy)
        to = f"{ip(pods['container', SECOND])}:{PAGE}"
        refused = name_of(pods["microvm", FIRST])

        async def is_refused() -> bool:
            return not await world.execute(refused, f"timeout 2 wget -qO- http://{to}/ || true")

        await until("the policy to hold", is_refused)
        assert await answers(world, first, to) == second
        await world.client.delete(world.resource("NetworkPolicy"), "only-one", namespace="default")


async def test_an_image_comes_to_every_host(pair: Platform, tmp_path: Path) -> None:
    (tmp_path / "root/bin").mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tmp_path / "root/bin/sh")
    made = ["image", "build", str(tmp_path / "root"), "--tag", "localhost/made:1", "--cmd", "/bin/sh -c 'echo made'"]
    said = pair.kontinuum(*made, "--host", "*").stdout
    assert said.count("built localhost/made:1 sha256:") == 2 and f"{SECOND}:" in said
    async with world_of(pair, "image") as world:
        container = {"image": "localhost/made:1", "imagePullPolicy": "Never", "command": None}
        assert await world.printed(world.pod("", nodeName=SECOND, container=container)) == ["made"]


async def test_the_second_hosts_pods_are_looked_into_through_the_api_server(pair: Platform) -> None:
    async with world_of(pair, "look") as world:
        script = f"echo here I am; {SERVE.format(port=PAGE)}"
        name = name_of(await world.running(world.pod(script, nodeName=SECOND)))
        assert await world.log_that(name, lambda text: "here I am" in text, "to say so") == "here I am\n"
        forward = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", str(pair.kubeconfig), "port-forward", f"pod/{name}", f":{PAGE}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert forward.stdout is not None
            line = (await asyncio.wait_for(forward.stdout.readline(), 60)).decode()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found is not None, line
            assert await fetched_here(f"127.0.0.1:{found[1]}") == name
        finally:
            forward.terminate()
            await forward.wait()


async def test_a_daemon_is_on_both_and_a_drained_host_is_left(pair: Platform) -> None:
    async with world_of(pair, "drain") as world:
        template = {
            "metadata": {"labels": {"app": "daemon"}},
            "spec": world.pod(automountServiceAccountToken=False)["spec"],
        }
        selector = {"matchLabels": {"app": "daemon"}}
        await world.create("DaemonSet", "daemon", spec={"selector": selector, "template": template})
        await replicas(world, "wanderer", SECOND, toleration=300)
        await until("a daemon on each", lambda: nodes_of(world, "daemon", {FIRST, SECOND}))
        await until("a replica where it likes to be", lambda: nodes_of(world, "wanderer", {SECOND}))
        arguments = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=100s")
        await asyncio.to_thread(pair.kubectl, "drain", SECOND, *arguments)
        await until("a replica elsewhere", lambda: nodes_of(world, "wanderer", {FIRST}))
        assert await nodes_of(world, "daemon", {FIRST, SECOND})
        await asyncio.to_thread(pair.kubectl, "uncordon", SECOND)
        for kind, name in (("DaemonSet", "daemon"), ("Deployment", "wanderer")):
            await world.delete(kind, name)


@pytest.mark.parametrize("harm", ["stop", "pause", "cut"])
async def test_a_lost_host_is_missed_left_and_taken_back(pair: Platform, harm: str) -> None:
    async with world_of(pair, f"lost-{harm}") as world:
        name = world.name()
        await node_that(world, SECOND, well=True)
        await replicas(world, name, SECOND, toleration=0)
        await until("the replica where it likes to be", lambda: nodes_of(world, name, {SECOND}))
        await until("its process", lambda: sleep_there(pair, 1))
        await asyncio.to_thread(pair.kontinuum, "host", harm, SECOND)
        assert state(pair) == {"stop": "stopped", "pause": "paused", "cut": "cut"}[harm]
        await node_that(world, SECOND, well=False)
        await until("the replica elsewhere", lambda: nodes_of(world, name, {FIRST}))
        if harm == "stop":
            # A host that is gone for good, as far as anybody can tell; and is back, with the network that it had.
            assert await ways()
            await world.client.delete(world.resource("Node"), SECOND)
            await until("no way to a node that is gone", no_ways)
        await asyncio.to_thread(pair.kontinuum, "host", "heal", SECOND)
        assert state(pair) == "running"
        await node_that(world, SECOND, well=True)

        async def is_clean() -> bool:
            pods = (await world.client.list(world.resource("Pod"), labels=f"app={name}")).items
            return {pod["spec"]["nodeName"] for pod in pods} == {FIRST} and await sleep_there(pair, 0)

        await until("nothing to run that should not", is_clean)
        await world.delete("Deployment", name)
        pod = await world.running(world.pod(SERVE.format(port=PAGE), name="after", nodeName=SECOND))
        assert await until("an answer", lambda: fetched_here(f"{ip(pod)}:{PAGE}")) == name_of(pod)
        await world.delete("Pod", name_of(pod), grace_seconds=0)


async def ways() -> list[Object]:
    """The routes of this machine to pods of other hosts."""
    found: list[Object] = json.loads(await output("ip", "-json", "route", "show", "proto", str(PROTOCOL)) or "[]")
    return found


async def no_ways() -> bool:
    return not await ways()


async def replicas(world: World, name: str, node: str, *, toleration: int) -> None:
    """A Deployment of one replica that would rather be on ``node``, and leaves it so many seconds after it fell."""
    likes: Any = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
    preferred = [{"weight": 100, "preference": {"matchExpressions": likes}}]
    tolerations = [
        {
            "key": f"node.kubernetes.io/{key}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": toleration,
        }
        for key in ("not-ready", "unreachable")
    ]
    spec = world.pod(
        f"exec sleep {DAYS}",
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        tolerations=tolerations,
    )["spec"]
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    await world.create(
        "Deployment", name, spec={"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    )


async def nodes_of(world: World, app: str, wanted: set[str]) -> bool:
    """Whether the pods of ``app`` that are well and stay are on exactly these nodes."""
    pods = (await world.client.list(world.resource("Pod"), labels=f"app={app}")).items
    staying = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    return {pod["spec"]["nodeName"] for pod in staying} == wanted


async def sleep_there(pair: Platform, count: int) -> bool:
    """Whether so many containers of a replica run on the second host."""
    holder = hosts.first_process(hosts.find(Installation.at(pair.data_dir), SECOND))
    assert holder is not None
    found = 0
    for pid in hosts.processes(holder):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            found += line.split(b"\0")[:2] == [b"sleep", str(DAYS).encode()]
    return found == count
