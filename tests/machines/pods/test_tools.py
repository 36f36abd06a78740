"""What kubectl and other clients show of pods that run, and do to them."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import jwt
import pytest
from tests.machines.pods.cases import IMAGE, Cases, World, is_ready, mounted, phase_of, statuses, until

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.client import kubeconfig

CASES = Cases("Tools: logs, exec, attach, copying, port-forward")
CONTAINERS = ("container",)


def controller(world: World, name: str, replicas: int, **container: Any) -> Object:
    """A ReplicationController as people write it: a few lines, and everything else left to defaults."""
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"app": name},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "runtimeClassName": world.isolation_class,
                    "containers": [
                        {"name": "main", "image": IMAGE, "command": ["sleep", "100000"],
                         "ports": [{"containerPort": 6379}], **container}
                    ],
                },
            },
        },
    }  # fmt: skip


async def all_ready(world: World, app: str, count: int) -> list[Object]:
    async def look() -> list[Object] | None:
        found = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels=f"app={app}")
        ready = [one for one in found.items if is_ready(one) and not one["metadata"].get("deletionTimestamp")]
        return ready if len(ready) == len(found.items) == count else None

    found: list[Object] = await until(f"{count} ready pods of {app}", look)
    return found


@CASES.add(
    pytest.mark.behaviour(
        "Kubectl client Update Demo should create and stop a replication controller",
        "Kubectl client Update Demo should scale a replication controller",
        "Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods",
        "Kubectl client Kubectl expose should create services for rc",
        "Kubectl client Kubectl patch should add annotations for pods in rc",
    ),
    classes=CONTAINERS,
)
async def a_replication_controller_is_looked_after(world: World) -> None:
    name = world.name()
    await world.kubectl("create", "-f", "-", stdin=json.dumps(controller(world, name, 2)))
    pods = await all_ready(world, name, 2)

    _, described, _ = await world.kubectl("describe", "rc", name)
    told_of_it = (
        f"Name:         {name}",
        f"Selector:     app={name}",
        "Replicas:     2 current / 2 desired",
        "Pods Status:  2 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        IMAGE,
        "SuccessfulCreate",
    )
    for words in told_of_it:
        assert words in described, (words, described)
    pod = pods[0]
    started = await world.event_that(pod["metadata"]["name"], "Started", "Container started")
    assert started["involvedObject"]["fieldPath"] == "spec.containers{main}"
    _, described, _ = await world.kubectl("describe", "pod", pod["metadata"]["name"])
    told_of_pod = (
        f"Controlled By:  ReplicationController/{name}",
        f"IP:           {pod['status']['podIP']}",
        "Status:           Running",
        "Port:          6379/TCP",
        f"Image:         {IMAGE}",
        "Container started",
    )
    for words in told_of_pod:
        assert " ".join(words.split()) in " ".join(described.split()), (words, described)
    _, described, _ = await world.kubectl("describe", "node", pod["spec"]["nodeName"])
    assert pod["metadata"]["name"] in described and "Allocated resources" in described
    _, described, _ = await world.kubectl("describe", "namespace", world.namespace)
    assert "Status:       Active" in described

    await world.kubectl("expose", "rc", name, "--name=first", "--port=1234", "--target-port=6379")
    await world.kubectl("expose", "service", "first", "--name=second", "--port=2345", "--target-port=6379")
    ips = sorted(one["status"]["podIP"] for one in pods)
    for service, port in (("first", 1234), ("second", 2345)):
        assert (await world.get("Service", service))["spec"]["ports"][0]["port"] == port

        async def has_endpoints(service: str = service) -> bool:
            listed = await world.client.list(world.resource("Endpoints"), namespace=world.namespace)
            subsets = next((one.get("subsets") or [] for one in listed.items if name_of(one) == service), [])
            found = [(a["ip"], p["port"]) for one in subsets for a in one["addresses"] for p in one["ports"]]
            return sorted(found) == [(ip, 6379) for ip in ips]

        await until(f"endpoints of {service}", has_endpoints)

    for one in pods:
        await world.kubectl("patch", "pod", one["metadata"]["name"], "-p", '{"metadata":{"annotations":{"x":"y"}}}')
        assert (await world.get("Pod", one["metadata"]["name"]))["metadata"]["annotations"]["x"] == "y"

    await world.kubectl("scale", "rc", name, "--replicas=1", "--timeout=2m")
    await all_ready(world, name, 1)
    await world.kubectl("scale", "rc", name, "--replicas=2", "--timeout=2m")
    await all_ready(world, name, 2)
    await world.kubectl(
        "delete", "--grace-period=0", "--force", "-f", "-", stdin=json.dumps(controller(world, name, 2))
    )

    async def none() -> bool:
        found = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels=f"app={name}")
        return not found.items

    await until("its pods to be gone", none)


@CASES.add(
    pytest.mark.behaviour(
        "Kubectl client Kubectl run pod should create a pod from an image when restart is Never",
        "Kubectl client Kubectl replace should update a single-container pod's image",
    ),
    classes=CONTAINERS,
)
async def a_pod_is_run_and_replaced_by_hand(world: World) -> None:
    name = world.name()
    await world.kubectl("run", name, "--restart=Never", f"--image={IMAGE}", "--labels=run=it", "--", "sleep", "600")
    found = await world.get("Pod", name)
    assert found["spec"]["restartPolicy"] == "Never" and found["spec"]["containers"][0]["image"] == IMAGE
    await world.pod_that(name, is_ready, "to be ready")

    async def is_replaced() -> bool:
        """Its node may write the status between these two."""
        found = await world.get("Pod", name)
        found["spec"]["containers"][0]["image"] = "localhost/nginx:1"
        code, _, errors = await world.kubectl("replace", "-f", "-", stdin=json.dumps(found), check=False)
        assert code == 0 or "the object has been modified" in errors, errors
        return bool(code == 0)

    await until("the pod to be replaced", is_replaced)
    assert (await world.get("Pod", name))["spec"]["containers"][0]["image"] == "localhost/nginx:1"
    await world.kubectl("delete", "pod", name, "--grace-period=1")


@CASES.add(pytest.mark.behaviour("Kubectl logs logs should be able to retrieve and filter logs"))
async def logs_are_filtered(world: World) -> None:
    pod = world.pod("for i in $(seq 1 20); do echo line $i; done; sleep 2; echo late; sleep 600")
    name = (await world.running(pod))["metadata"]["name"]
    await world.log_that(name, lambda text: "late" in text, "to be whole")

    async def logs(*arguments: str) -> str:
        return (await world.kubectl("logs", name, *arguments))[1]

    whole = (await logs()).splitlines()
    assert whole == [*(f"line {number}" for number in range(1, 21)), "late"]
    assert (await logs("--tail=1")) == "late\n"
    assert (await logs("--limit-bytes=1")) == "l"
    stamped = (await logs("--tail=1", "--timestamps")).split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)", stamped[0]) and stamped[1] == "late\n"
    assert (await logs(f"--since-time={stamped[0]}")).splitlines() == ["late"]
    assert (await logs("--since=24h")).splitlines() == whole
    await world.delete("Pod", name)


# -- other ways in


@CASES.add(
    pytest.mark.behaviour(
        "Pods should support remote command execution over websockets",
        "Pods should support retrieving logs from the container over websockets",
    )
)
async def commands_and_logs_come_over_websockets(world: World) -> None:
    name = (await world.running(world.pod("echo container is alive; sleep 600")))["metadata"]["name"]
    await world.log_that(name, bool, "to have a line")
    connection = kubeconfig.load(world.kubeconfig)
    base = f"{connection.server}/api/v1/namespaces/{world.namespace}/pods/{name}"
    async with aiohttp.ClientSession() as session:
        query = "command=echo&command=remote+execution+test&stdout=1&stderr=1"
        url = f"{base}/exec?{query}"
        said, tls = b"", connection.tls_context()
        async with session.ws_connect(url, ssl=tls, protocols=["channel.k8s.io"]) as socket:
            async for message in socket:
                # Anything else but output would be a failure to the suite's client, and to those of its age.
                assert message.data[:1] == b"\x01", message
                said += message.data[1:]
        assert said == b"remote execution test\n"
        log = b""
        async with session.ws_connect(f"{base}/log?container=main", ssl=tls, protocols=["binary.k8s.io"]) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    log += message.data
        assert log == b"container is alive\n"
    await world.delete("Pod", name)


@CASES.add(
    pytest.mark.behaviour(
        "ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer"
    )
)
async def a_pod_learns_how_tokens_are_checked(world: World) -> None:
    """What it finds by the API's name is enough to check a token that is meant for others."""
    audience, account = "oidc-discovery-test", "/var/run/secrets/kubernetes.io/serviceaccount"
    sources = [{"serviceAccountToken": {"path": "token", "audience": audience}}]
    pod = world.pod(
        automountServiceAccountToken=True,
        volumes=[{"name": "own", "projected": {"sources": sources}}],
        container={"volumeMounts": [mounted("own", "/own")]},
    )
    name = (await world.running(pod))["metadata"]["name"]
    trust = ssl.create_default_context(cadata=await world.execute(name, f"cat {account}/ca.crt"))
    own = await world.execute(name, f"cat {account}/token")
    found = json.loads(await ask_from(world, name, trust, own, "/.well-known/openid-configuration"))
    assert found["jwks_uri"].endswith("/openid/v1/jwks")
    keys = jwt.PyJWKSet.from_json(await ask_from(world, name, trust, own, "/openid/v1/jwks")).keys
    token = await world.execute(name, "cat /own/token")
    (key,) = [one for one in keys if one.key_id == jwt.get_unverified_header(token)["kid"]]
    algorithms = found["id_token_signing_alg_values_supported"]
    said = jwt.decode(token, key, algorithms=algorithms, audience=audience, issuer=found["issuer"])
    assert said["sub"] == f"system:serviceaccount:{world.namespace}:default"
    await world.delete("Pod", name)


async def ask_from(world: World, pod: str, trust: ssl.SSLContext, token: str, path: str) -> str:
    """What the API answers to the pod, by the name that pods know: TLS through a connection that the pod makes."""
    host = "kubernetes.default.svc"
    command = ["--kubeconfig", str(world.kubeconfig), "-n", world.namespace, "exec", "-i", pod, "--", "nc", host, "443"]
    process = await asyncio.create_subprocess_exec(
        "kubectl", *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin and process.stdout
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.wrap_bio(incoming, outgoing, server_hostname=host)

    async def done(step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                result = None
            process.stdin.write(outgoing.read())
            await process.stdin.drain()
            if result is not None:
                return result
            piece = await process.stdout.read(65536)
            assert piece, "the connection ended"
            incoming.write(piece)

    async with asyncio.timeout(120):
        await done(lambda: tls.do_handshake() or True)
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        await done(lambda: tls.write(request.encode()))
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length_of(answer):
            answer += await done(lambda: tls.read(65536))
    process.kill()
    await process.wait()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer.partition(b"\r\n\r\n")[2].decode()


def length_of(answer: bytes) -> int:
    """How long the body is, by the head of an HTTP answer."""
    (length,) = re.findall(rb"(?i)\r\ncontent-length: *([0-9]+)", answer)
    return int(length)


@CASES.add(classes=("container", "microvm"))
async def a_forwarded_port_reaches_what_listens_on_loopback_alone(world: World) -> None:
    serve = "mkdir /w; echo only for us > /w/word; httpd -f -p 127.0.0.1:80 -h /w"
    ready = {"exec": {"command": ["wget", "-qO", "/dev/null", "http://127.0.0.1/word"]}, "periodSeconds": 1}
    name = (await world.running(world.pod(serve, container={"readinessProbe": ready})))["metadata"]["name"]
    command = ["--kubeconfig", str(world.kubeconfig), "-n", world.namespace, "port-forward", name, ":80"]
    process = await asyncio.create_subprocess_exec("kubectl", *command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120), aiohttp.ClientSession() as session:
            said = (await process.stdout.readline()).decode()
            (port,) = re.findall(r"127\.0\.0\.1:([0-9]+) ->", said)
            async with session.get(f"http://127.0.0.1:{port}/word") as answer:
                assert await answer.text() == "only for us\n"
    finally:
        process.kill()
        await process.wait()


# -- an application of three parts


def part(world: World, name: str, replicas: int, port: int, script: str) -> list[Object]:
    """A Deployment whose pods serve over HTTP, and the Service by whose name others find it."""
    labels = {"app": name}
    pod = world.pod(script + f"; httpd -f -p {port} -h /w")
    template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
         "spec": {"selector": labels, "ports": [{"port": port}]}},
    ]  # fmt: skip


def program(name: str, *lines: str) -> str:
    """A shell command that makes a CGI program of these lines."""
    text = "\n".join(("#!/bin/sh", "echo; ", *lines))
    return f"mkdir -p /w/cgi-bin; printf '%s\n' '{text}' > /w/cgi-bin/{name}; chmod +x /w/cgi-bin/{name}"


@CASES.add(pytest.mark.behaviour("Kubectl client Guestbook application should create and stop a working application"))
async def an_application_of_three_parts_works_and_is_stopped(world: World) -> None:
    primary = program("set", 'echo "$QUERY_STRING" > /w/entry')
    replica = program("get", "wget -qO- http://primary:6379/entry")
    frontend = program("set", 'wget -qO- "http://primary:6379/cgi-bin/set?$QUERY_STRING"') + "; " + program(
        "get", "wget -qO- http://replica:6379/cgi-bin/get")  # fmt: skip
    objects = [
        *part(world, "primary", 1, 6379, primary),
        *part(world, "replica", 2, 6379, replica),
        *part(world, "frontend", 2, 80, frontend),
    ]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    await world.kubectl("create", "-f", "-", stdin=manifest)
    for name in ("primary", "replica", "frontend"):
        await world.kubectl("rollout", "status", f"deployment/{name}", "--timeout=110s")
    base = f"/api/v1/namespaces/{world.namespace}/services/http:frontend:80/proxy/cgi-bin"

    async def written() -> bool:
        await world.kubectl("get", "--raw", f"{base}/set?TestEntry", check=False)
        return "TestEntry" in (await world.kubectl("get", "--raw", f"{base}/get", check=False))[1]

    await until("the entry to be read again", written)
    await world.kubectl("delete", "--grace-period=0", "--force", "-f", "-", stdin=manifest)

    async def none() -> bool:
        found = await world.client.list(world.resource("Pod"), namespace=world.namespace)
        parts = ("primary", "replica", "frontend")
        return not [one for one in found.items if one["metadata"].get("labels", {}).get("app") in parts]

    await until("its pods to be gone", none)


# -- what never changes


@CASES.add(
    pytest.mark.behaviour(
        "ConfigMap should be immutable if `immutable` field is set",
        "Secrets should be immutable if `immutable` field is set",
    ),
    classes=CONTAINERS,
)
async def what_is_immutable_stays_so(world: World) -> None:
    for kind, field in (("ConfigMap", "data"), ("Secret", "stringData")):
        name = world.name(kind.lower())
        await world.create(kind, name, **{field: {"key": "value"}})
        await world.patch(kind, name, {field: {"key": "other"}})
        await world.patch(kind, name, {"immutable": True})
        for patch in ({field: {"key": "third"}}, {"immutable": False}):
            with pytest.raises(Exception, match="field is immutable when `immutable` is set"):
                await world.patch(kind, name, patch)
        await world.patch(kind, name, {"metadata": {"labels": {"may": "change"}}})
        await world.delete(kind, name)


@CASES.add(
    pytest.mark.behaviour("RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead"),
)
async def a_class_of_one_s_own_runs_pods(world: World) -> None:
    name = f"{world.namespace}-{world.name()}"
    made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name},
            "handler": world.isolation_class}  # fmt: skip
    await world.client.create(world.resource("RuntimeClass"), made)
    pod = await world.ended(world.pod("echo ran", runtimeClassName=name))
    assert "overhead" not in pod["spec"]
    await world.client.delete(world.resource("RuntimeClass"), name)


@CASES.add(pytest.mark.behaviour("CSIInlineVolumes should support CSIVolumeSource in Pod API"), classes=CONTAINERS)
async def a_pod_may_ask_for_an_inline_volume_of_a_driver(world: World) -> None:
    """The driver is nobody's, so that the pod waits; what is asked is that the API takes it as it is."""
    source = {"csi": {"driver": "e2e.example.com", "readOnly": True, "volumeAttributes": {"a": "b"}}}
    pod = await world.start(world.pod(volumes=[{"name": "v", **source}]))
    name = pod["metadata"]["name"]
    assert [one for one in pod["spec"]["volumes"] if one["name"] == "v"] == [{"name": "v", **source}]
    await world.patch("Pod", name, {"metadata": {"labels": {"e2e": "patched"}}})
    listed = await world.client.list(world.resource("Pod"), namespace=world.namespace, labels="e2e=patched")
    assert [one["metadata"]["name"] for one in listed.items] == [name]
    assert phase_of(await world.get("Pod", name)) == "Pending" and not any(
        one["ready"] for one in statuses(await world.get("Pod", name)).values()
    )
    await world.delete("Pod", name, grace_seconds=0)
    await world.gone("Pod", name)


test_tools = CASES.test()
