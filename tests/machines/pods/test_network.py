"""Services, names and policies with real connections, from pods of every class, from the node and from outside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.machines.platform import CLASSES
from tests.machines.pods.cases import Cases, World, until

from kontinuum.api.machinery.objects import Object

CASES = Cases("Network: Services, DNS, policies, streams of packets")
PAGE = 8080
NAMES_SUFFIX = "svc.cluster.local"
SERVE = "mkdir -p /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p {port} -h /tmp/w"
PATIENCE = 30.0


# -- programs


@cache
def datagrams() -> str:
    """The static program of ``datagrams.c``, as a ConfigMap carries it."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "datagrams"
        source = Path(__file__).with_name("datagrams.c")
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", program, source], check=True)
        return base64.b64encode(program.read_bytes()).decode()


async def tools(world: World) -> Object:
    """The volume that holds the program, for pods' ``volumes``."""
    name = world.name("tools")
    await world.create("ConfigMap", name, binaryData={"datagrams": datagrams()})
    return {"name": "tools", "configMap": {"name": name, "defaultMode": 0o755}}


MOUNT = {"name": "tools", "mountPath": "/tools"}


def server(world: World, name: str, app: str, *, port: int = PAGE, labels: Any = None, **spec: Any) -> Object:
    """A pod that answers with its name."""
    ports = [{"name": "web", "containerPort": port}, *spec.pop("ports", [])]
    metadata = {"labels": {"app": app, **(labels or {})}}
    container = {"ports": ports, **spec.pop("container", {})}
    return world.pod(SERVE.format(port=port), name=name, metadata=metadata, container=container, **spec)


async def servers(world: World, app: str, *names: str, **spec: Any) -> list[Object]:
    return list(await asyncio.gather(*(world.running(server(world, name, app, **spec)) for name in names)))


async def service(world: World, name: str, app: str, **spec: Any) -> Object:
    spec.setdefault("ports", [{"port": 80, "targetPort": PAGE}])
    return await world.create("Service", name, spec={"selector": {"app": app}, **spec})


async def fetched(world: World, client: str, where: str) -> str:
    """What is answered at ``where`` (``host:port``), asked from a pod; "" if nothing is."""
    _, said, _ = await world.run(client, "wget", "-qO-", f"http://{where}/")
    return said.strip()


async def fetched_here(where: str, *place: str) -> str:
    """The same from the node, or from where the command ``place`` runs what follows it."""
    return await output(*place, "timeout", "5", "busybox", "wget", "-qO-", f"http://{where}/")


async def output(*command: str) -> str:
    """What a program on the node prints, whether it succeeds or not."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    return said.decode().strip()


async def everybody(world: World, client: str, where: str, names: set[str]) -> None:
    """Wait until all of ``names`` have answered, and nobody else does any more."""
    deadline = time.monotonic() + PATIENCE * 2
    said: set[str] = set()
    while time.monotonic() < deadline:
        answer = await (fetched(world, client, where) if client else fetched_here(where))
        said.add(answer)
        if answer and answer not in names:
            said.clear()
        if names <= said:
            return
    raise AssertionError(f"{where}: wanted {names}, heard {said}")


async def answers(world: World, client: str, where: str) -> str:
    async def look() -> str:
        return await (fetched(world, client, where) if client else fetched_here(where))

    said: str = await until(f"an answer from {where} to {client or 'the node'}", look, seconds=PATIENCE)
    return said


async def silent(world: World, client: str, where: str) -> None:
    async def look() -> bool:
        return not await (fetched(world, client, where) if client else fetched_here(where))

    await until(f"no answer from {where}", look, seconds=PATIENCE)


async def datagram(world: World, client: str, address: str, *ports: int) -> str:
    """What is answered to a datagram to the first of ``ports``, from the second if that is given."""

    async def look() -> str:
        asking = ("/tools/datagrams", "ask", address, *map(str, ports))
        return (await world.run(client, *asking))[1]

    said: str = await until(f"an answer to a datagram from {address}", look, seconds=PATIENCE)
    return said.strip()


def ip(pod: Object) -> str:
    return str(pod["status"]["podIP"])


async def node_address(world: World) -> str:
    [node] = (await world.client.list(world.resource("Node"))).items
    return str(next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"))


# -- between pods


@CASES.add(
    pytest.mark.behaviour(
        "Networking Granular Checks: Pods should function for intra-pod communication: http",
        "Networking Granular Checks: Pods should function for intra-pod communication: udp",
        "Networking Granular Checks: Pods should function for node-pod communication: http",
        "Networking Granular Checks: Pods should function for node-pod communication: udp",
        "Services should serve endpoints on same port and different protocols",
    )
)
async def pods_hear_each_other_and_the_node(world: World) -> None:
    app = world.name()
    volume = await tools(world)
    udp = {
        "name": "udp", "image": "localhost/busybox:1", "command": ["/tools/datagrams", "serve", str(PAGE)],
        "volumeMounts": [MOUNT],
    }  # fmt: skip
    both = server(world, "one", app, volumes=[volume], container={"volumeMounts": [MOUNT]})
    both["spec"]["containers"].append(udp)
    one = await world.running(both)
    two = await world.running(world.pod(name="two", volumes=[volume], container={"volumeMounts": [MOUNT]}))
    client, name = two["metadata"]["name"], one["metadata"]["name"]
    assert await answers(world, client, f"{ip(one)}:{PAGE}") == name
    assert await datagram(world, client, ip(one), PAGE) == name
    assert await answers(world, "", f"{ip(one)}:{PAGE}") == name
    ports = [
        {"name": protocol.lower(), "protocol": protocol, "port": 80, "targetPort": PAGE} for protocol in ("TCP", "UDP")
    ]
    made = await service(world, app, app, ports=ports)
    address = made["spec"]["clusterIP"]
    assert await answers(world, client, f"{address}:80") == name
    assert await datagram(world, client, address, 80) == name
    # And the node, as a client of UDP: with the very program, out of the ConfigMap.
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "datagrams"
        program.write_bytes(base64.b64decode(datagrams()))
        program.chmod(0o755)
        for to, port in ((ip(one), PAGE), (address, 80)):
            asking = (str(program), "ask", to, str(port))
            assert await until("an answer to the node", lambda asking=asking: output(*asking)) == name  # type: ignore[misc]


# -- Services


@CASES.add(
    pytest.mark.behaviour(
        "Services should serve a basic endpoint from pods",
        "Services should serve multiport endpoints from pods",
    )
)
async def a_service_leads_to_its_pods_and_to_itself(world: World) -> None:
    app = world.name()
    await servers(world, app, "one", "two")
    names = {world.name("one"), world.name("two")}
    ports = [{"name": "a", "port": 80, "targetPort": PAGE}, {"name": "b", "port": 81, "targetPort": "web"}]
    made = await service(world, app, app, ports=ports)
    address = made["spec"]["clusterIP"]
    for client in ("", world.name("one")):
        # From a pod that is an endpoint, some connections come back to itself.
        await everybody(world, client, f"{address}:80", names)
        await everybody(world, client, f"{address}:81", names)
    await world.delete("Pod", world.name("two"), grace_seconds=0)
    await everybody(world, "", f"{address}:80", {world.name("one")})
    await world.delete("Pod", world.name("one"), grace_seconds=0)
    # Nobody is left: refused at once.
    await silent(world, "", f"{address}:80")


@CASES.add(
    pytest.mark.behaviour(
        "EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices",
        "EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices",
    )
)
async def slices_made_by_hand_are_followed(world: World) -> None:
    app = world.name()
    one, two = await servers(world, app, "one", "two")
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    made = await world.create("Service", app, spec={"ports": ports})

    async def slice_of(name: str, pod: Object, *names: str) -> None:
        await world.create(
            "EndpointSlice", world.name(name), metadata={"labels": {"kubernetes.io/service-name": app}},
            addressType="IPv4", endpoints=[{"addresses": [ip(pod)]}],
            ports=[{"name": port, "port": PAGE} for port in names],
        )  # fmt: skip

    await slice_of("first", one, "a", "b")
    await slice_of("second", two, "a")
    address = made["spec"]["clusterIP"]
    names = {one["metadata"]["name"], two["metadata"]["name"]}
    await everybody(world, world.name("one"), f"{address}:80", names)
    await everybody(world, "", f"{address}:81", {one["metadata"]["name"]})


@CASES.add(
    pytest.mark.behaviour(
        "Services should have session affinity work for service with type clusterIP",
        "Services should be able to switch session affinity for service with type clusterIP",
        "Services should have session affinity work for NodePort service",
        "Services should be able to switch session affinity for NodePort service",
        "Services should be able to create a functioning NodePort service",
    )
)
async def clients_stay_with_their_endpoint_while_the_service_says_so(world: World) -> None:
    app = world.name()
    await servers(world, app, "one", "two")
    client = (await world.running(world.pod(name="client")))["metadata"]["name"]
    names = {world.name("one"), world.name("two")}
    made = await service(world, app, app, type="NodePort")
    port = made["spec"]["ports"][0]["nodePort"]
    places = (f"{made['spec']['clusterIP']}:80", f"{await node_address(world)}:{port}")
    for place in places:
        await everybody(world, client, place, names)
    await world.patch("Service", app, {"spec": {"sessionAffinity": "ClientIP"}})
    for place in places:
        await until(f"{place} to be sticky", lambda place=place: is_sticky(world, client, place), seconds=PATIENCE * 2)  # type: ignore[misc]
    await world.patch("Service", app, {"spec": {"sessionAffinity": "None"}})
    for place in places:
        await everybody(world, client, place, names)


async def is_sticky(world: World, client: str, place: str) -> bool:
    """Ten answers of one endpoint: by chance that happens once in 512 times."""
    script = f"for i in 0 1 2 3 4 5 6 7 8 9; do wget -qO- http://{place}/; done"
    said = (await world.execute(client, script)).split()
    return len(said) == 10 and len(set(said)) == 1


@CASES.add(
    pytest.mark.behaviour(
        "Services should be able to change the type from ClusterIP to ExternalName",
        "Services should be able to change the type from ExternalName to ClusterIP",
        "Services should be able to change the type from ExternalName to NodePort",
        "Services should be able to change the type from NodePort to ExternalName",
        "DNS should provide DNS for ExternalName services",
    )
)
async def a_service_changes_its_type(world: World) -> None:
    app = world.name()
    [one] = await servers(world, app, "one")
    client = (await world.running(world.pod(name="client")))["metadata"]["name"]
    target = await service(world, world.name("target"), app)
    await service(world, app, app)
    await answers(world, client, f"{app}:80")
    alias = f"{target['metadata']['name']}.{world.namespace}.{NAMES_SUFFIX}"
    for kind in ("ClusterIP", "NodePort"):
        away = {"type": "ExternalName", "externalName": alias, "clusterIP": None, "clusterIPs": None, "ports": None}
        await world.patch("Service", app, {"spec": away})
        await resolves(world, client, f"{app}.{world.namespace}.{NAMES_SUFFIX}", target["spec"]["clusterIP"])
        assert await answers(world, client, f"{app}:80") == one["metadata"]["name"]
        back = {"type": kind, "externalName": None, "ports": [{"port": 80, "targetPort": PAGE}]}
        changed = await world.patch("Service", app, {"spec": back})
        await resolves(world, client, f"{app}.{world.namespace}.{NAMES_SUFFIX}", changed["spec"]["clusterIP"])
        assert await answers(world, client, f"{changed['spec']['clusterIP']}:80") == one["metadata"]["name"]
        if kind == "NodePort":
            place = f"{await node_address(world)}:{changed['spec']['ports'][0]['nodePort']}"
            assert await answers(world, client, place) == one["metadata"]["name"]


@CASES.add()
async def a_datagram_follows_its_service_to_another_pod(world: World) -> None:
    app, own = world.name(), 5353
    volume = await tools(world)

    def serving(name: str) -> Object:
        mounts = {"volumeMounts": [MOUNT]}
        metadata = {"labels": {"app": app}}
        script = f"exec /tools/datagrams serve {PAGE}"
        return world.pod(script, name=name, volumes=[volume], container=mounts, metadata=metadata)

    asking = world.pod(name="client", volumes=[volume], container={"volumeMounts": [MOUNT]})
    client, _ = await asyncio.gather(world.running(asking), world.running(serving("one")))
    made = await service(world, app, app, ports=[{"port": 53, "targetPort": PAGE, "protocol": "UDP"}])
    name, address = client["metadata"]["name"], made["spec"]["clusterIP"]
    assert await datagram(world, name, address, 53, own) == world.name("one")
    await asyncio.gather(world.running(serving("two")), world.delete("Pod", world.name("one"), grace_seconds=0))

    async def look() -> bool:
        # The kernel has seen this very connection before: from the same port, to the same address.
        return await datagram(world, name, address, 53, own) == world.name("two")

    await until("the other pod to answer", look, seconds=PATIENCE)


@CASES.add(classes=("container",))
async def outsiders_come_by_the_nodes_port_and_by_the_balancers_address(world: World) -> None:
    app, balanced = world.name(), "198.51.100.80"
    [one] = await servers(world, app, "one")
    made = await service(world, app, app, type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"])
    port = made["spec"]["ports"][0]["nodePort"]
    async with outsider("203.0.113.1", "203.0.113.2") as ask:
        said = await until("the node's port", lambda: ask(f"203.0.113.1:{port}"), seconds=PATIENCE)
        assert said == one["metadata"]["name"]
        status = {"loadBalancer": {"ingress": [{"ip": balanced, "ipMode": "VIP"}]}}
        await world.patch("Service", app, {"status": status}, subresource="status")
        await until("the balancer's address", lambda: ask(f"{balanced}:80"), seconds=PATIENCE)
        await world.patch("Service", app, {"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}})
        await until("the balancer's address to be closed", lambda: is_silent(ask, f"{balanced}:80"), seconds=PATIENCE)
        # Where the policy is Local, a node tells balancers how many endpoints it has.
        changed = await world.patch("Service", app, {"spec": {"externalTrafficPolicy": "Local"}})
        health = f"203.0.113.1:{changed['spec']['healthCheckNodePort']}"
        said = await until("the node's health", lambda: ask(health), seconds=PATIENCE)
        assert '"localEndpoints": 1' in said
        said = await until("the node's port", lambda: ask(f"203.0.113.1:{port}"), seconds=PATIENCE)
        assert said == one["metadata"]["name"]


async def is_silent(ask: Callable[[str], Awaitable[str]], where: str) -> bool:
    return not await ask(where)


@contextlib.asynccontextmanager
async def outsider(node: str, own: str) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Another machine beside the node: a network namespace with a cable. Yields a way to ask from there."""
    name = f"out{os.getpid()}"
    inside = ("nsenter", f"--net=/run/netns/{name}")
    await output("ip", "netns", "add", name)
    try:
        await output("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        await output("ip", "address", "add", f"{node}/24", "dev", name)
        await output("ip", "link", "set", name, "up")
        await output(*inside, "ip", "address", "add", f"{own}/24", "dev", "eth0")
        await output(*inside, "ip", "link", "set", "eth0", "up")
        await output(*inside, "ip", "route", "add", "default", "via", node)
        yield lambda where: fetched_here(where, *inside)
    finally:
        await output("ip", "netns", "delete", name)


@CASES.add(pytest.mark.behaviour("Service endpoints latency should not be very high"), classes=("container",))
async def endpoints_of_new_services_are_told_soon(world: World) -> None:
    app = world.name()
    await servers(world, app, "one")

    async def one(number: int) -> float:
        began = time.monotonic()
        made = await service(world, f"{app}-{number}", app)
        await answers(world, "", f"{made['spec']['clusterIP']}:80")
        return time.monotonic() - began

    took = sorted([await one(number) for number in range(20)])
    # Kubernetes' own bounds, which leave room for the slowest machines: 20 s for half of them, 50 s for nearly all.
    assert took[10] < 20 and took[-1] < 50


# -- the API server's own Service, proxies, ports of the node


@CASES.add()
async def the_api_is_reached_by_its_service_and_by_name(world: World) -> None:
    client = (await world.running(world.pod(name="client")))["metadata"]["name"]
    script = "for i in 1 2 3; do nc -w 3 kubernetes.default 443 </dev/null && echo there && break; done"
    assert (await world.execute(client, script)).strip() == "there"
    # Another port is refused at once, and not left to a client's own patience.
    script = "timeout 20 nc kubernetes.default 444 </dev/null; [ $? = 143 ] || echo refused"
    assert (await world.execute(client, script)).strip() == "refused"


@CASES.add(
    pytest.mark.behaviour(
        "Proxy version v1 should proxy through a service and a pod",
        "Proxy version v1 A set of valid responses are returned for both pod and service Proxy",
        "Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath",
    )
)
async def the_api_server_passes_requests_on_to_pods_and_services(world: World) -> None:
    app = world.name()
    [one] = await servers(world, app, "one")
    await service(world, app, app, ports=[{"name": "web", "port": 80, "targetPort": PAGE}])
    base = f"/api/v1/namespaces/{world.namespace}"

    async def said(path: str) -> str:
        return (await world.kubectl("get", "--raw", f"{base}/{path}", check=False))[1].strip()

    for path in (
        f"pods/{world.name('one')}:{PAGE}/proxy/", f"pods/http:{world.name('one')}:{PAGE}/proxy/index.html",
        f"services/{app}:80/proxy/", f"services/{app}:web/proxy/index.html", f"services/http:{app}:web/proxy/",
    ):  # fmt: skip

        async def look(path: str = path) -> bool:
            return await said(path) == one["metadata"]["name"]

        await until(f"an answer through {path}", look, seconds=PATIENCE)


@CASES.add(
    pytest.mark.behaviour(
        "HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol"
    )
)
async def ports_of_the_node_are_shared_by_address_and_protocol(world: World) -> None:
    port = 40100 + CLASSES.index(world.isolation_class)
    node = await node_address(world)
    app = world.name()
    volume = await tools(world)
    loopback = server(world, "one", app, ports=[{"containerPort": PAGE, "hostPort": port, "hostIP": "127.0.0.1"}])
    own = server(world, "two", app, ports=[{"containerPort": PAGE, "hostPort": port, "hostIP": node}])
    udp = world.pod("exec /tools/datagrams serve 8080", name="three", volumes=[volume], container={
        "volumeMounts": [MOUNT],
        "ports": [{"containerPort": PAGE, "hostPort": port, "hostIP": node, "protocol": "UDP"}],
    })  # fmt: skip
    await asyncio.gather(*(world.running(pod) for pod in (loopback, own, udp)))
    asking = world.pod(name="client", volumes=[volume], container={"volumeMounts": [MOUNT]})
    client = (await world.running(asking))["metadata"]["name"]
    assert await answers(world, "", f"127.0.0.1:{port}") == world.name("one")
    assert await answers(world, client, f"{node}:{port}") == world.name("two")
    assert await datagram(world, client, node, port) == world.name("three")


@CASES.add()
async def bandwidth_is_limited_for_short_transfers_too(world: World) -> None:
    annotations = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "10M"}
    script = "mkdir /tmp/w; dd if=/dev/zero of=/tmp/w/large bs=1k count=2500; exec httpd -f -p 8080 -h /tmp/w"
    limited, free = await asyncio.gather(
        world.running(world.pod(script, name="limited", metadata={"annotations": annotations})),
        world.running(world.pod(script, name="free")),
    )
    for client, other in ((limited, free), (free, limited)):
        name, place = client["metadata"]["name"], f"http://{ip(other)}:{PAGE}/large"
        await until("the file", lambda place=place, name=name: has_file(world, name, place), seconds=PATIENCE)  # type: ignore[misc]
        began = time.monotonic()
        size = await world.execute(name, f"wget -qO- {place} | wc -c")
        # 20 Mbit at 10 Mbit/s take 2 s. A busy machine takes longer, but none takes less.
        assert int(size) == 2500 * 1024 and time.monotonic() - began > 1.5


async def has_file(world: World, client: str, place: str) -> bool:
    return (await world.execute(client, f"wget -qO- {place} | head -c 1 | wc -c")).strip() == "1"


# -- names


async def resolves(world: World, client: str, name: str, *addresses: str) -> None:
    async def look() -> bool:
        said = (await world.run(client, "nslookup", "-type=a", name))[1]
        # The first address is the name server's.
        found = {line.split()[-1] for line in said.splitlines()[2:] if line.startswith("Address")}
        return found == set(addresses)

    await until(f"{name} to be {addresses}", look, seconds=PATIENCE)


@CASES.add(
    pytest.mark.behaviour(
        "DNS should provide DNS for the cluster",
        "DNS should provide DNS for services",
        "DNS should resolve DNS of partial qualified names for services",
        "DNS should provide /etc/hosts entries for the cluster",
        "DNS should provide DNS for pods for Hostname",
        "DNS should provide DNS for pods for Subdomain",
    )
)
async def names_of_the_cluster_are_known_to_pods(world: World) -> None:
    app = world.name()
    ours = f"{world.namespace}.{NAMES_SUFFIX}"
    headless = await service(world, app, app, clusterIP="None")
    assert headless["spec"]["clusterIP"] == "None"
    made = await service(world, world.name("web"), app)
    [one] = await servers(world, app, "one", hostname="host-1", subdomain=app)
    client = one["metadata"]["name"]
    kubernetes = await world.client.get(world.resource("Service"), "kubernetes", namespace="default")
    await resolves(world, client, f"kubernetes.default.{NAMES_SUFFIX}", kubernetes["spec"]["clusterIP"])
    await resolves(world, client, f"{made['metadata']['name']}.{ours}", made["spec"]["clusterIP"])
    await resolves(world, client, f"{app}.{ours}", ip(one))
    await resolves(world, client, f"host-1.{app}.{ours}", ip(one))
    # Names are completed by the search list of the pod's own resolver.
    for name in (
        world.name("web"),
        f"{world.name('web')}.{world.namespace}",
        f"{world.name('web')}.{world.namespace}.svc",
    ):
        assert await answers(world, client, f"{name}:80") == "host-1"
    _, located, _ = await world.run(client, "nslookup", "-type=srv", f"_none._tcp.{app}.{ours}")
    assert "NXDOMAIN" in located
    reverse = await world.execute(client, f"nslookup {made['spec']['clusterIP']}")
    assert f"{made['metadata']['name']}.{ours}" in reverse
    hosts = await world.execute(client, "cat /etc/hosts")
    assert f"{ip(one)}\thost-1.{app}.{ours}\thost-1" in hosts
    assert (await world.execute(client, "hostname")).strip() == "host-1"


@CASES.add(pytest.mark.behaviour("DNS should support configurable pod DNS nameservers"))
async def a_pods_own_resolver_is_what_it_asks_for(world: World) -> None:
    config = {
        "nameservers": ["192.0.2.53"],
        "searches": ["resolv.example"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    none, default = await asyncio.gather(
        world.running(world.pod(name="none", dnsPolicy="None", dnsConfig=config)),
        world.running(world.pod(name="default", dnsPolicy="Default")),
    )
    said = await world.execute(none["metadata"]["name"], "cat /etc/resolv.conf")
    assert said.split("\n")[:3] == ["search resolv.example", "nameserver 192.0.2.53", "options ndots:2"]
    host = [line for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("nameserver")]
    said = await world.execute(default["metadata"]["name"], "cat /etc/resolv.conf")
    assert [line for line in said.splitlines() if line.startswith("nameserver")] == host[:3]


# -- policies


@CASES.add()
async def policies_hold_for_real_connections(world: World) -> None:
    app = world.name()
    friend = world.pod(name="friend", metadata={"labels": {"role": "friend"}})
    stranger = world.pod(name="stranger", metadata={"labels": {"role": "stranger"}})
    one, *_ = await asyncio.gather(*map(world.running, (server(world, "one", app), friend, stranger)))
    made = await service(world, app, app)
    places = (f"{ip(one)}:{PAGE}", f"{made['spec']['clusterIP']}:80", f"{app}:80")
    for client in (world.name("friend"), world.name("stranger")):
        for place in places:
            await answers(world, client, place)
    await world.create("NetworkPolicy", app, spec={
        "podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}], "ports": [{"port": "web"}]}],
    })  # fmt: skip
    for place in places:
        await silent_soon(world, world.name("stranger"), place)
        await answers(world, world.name("friend"), place)
    await answers(world, "", places[0])  # The node's own probes must arrive.
    await world.create("NetworkPolicy", world.name("friends"), spec={
        "podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{ip(one)}/32"]}}]}],
    })  # fmt: skip
    await silent_soon(world, world.name("friend"), places[0])
    await world.delete("NetworkPolicy", world.name("friends"))
    await world.delete("NetworkPolicy", app)
    for client in (world.name("friend"), world.name("stranger")):
        await answers(world, client, places[1])


async def silent_soon(world: World, client: str, place: str) -> None:
    """A packet that is dropped is not answered at all: ask with a limit."""
    script = f"timeout 2 wget -qO- http://{place}/ || true"

    async def look() -> bool:
        return not (await world.execute(client, script)).strip()

    await until(f"{place} to be closed to {client}", look, seconds=PATIENCE)


test_network = CASES.test()
