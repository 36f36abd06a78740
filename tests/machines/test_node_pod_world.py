"""What a container finds around it: environment, volumes, names, users, limits."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machines.node import TestedNode, running_node, sh

from kontinuum.api.kubernetes.resources import CONFIGMAPS, SECRETS
from kontinuum.api.machinery.objects import Object

pytestmark = pytest.mark.machine


@pytest.fixture
async def node() -> AsyncIterator[TestedNode]:
    async with running_node() as node:
        yield node


async def config_map(node: TestedNode, name: str, **data: str) -> None:
    metadata = {"name": name, "namespace": "default"}
    await node.client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


async def secret(node: TestedNode, name: str, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": "default"}
    await node.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


def mounted(name: str, path: str, **more: object) -> Object:
    return {"name": name, "mountPath": path, **more}


async def printed(node: TestedNode, pod: Object) -> list[str]:
    await node.run(pod, "Succeeded")
    return (await node.logs(pod["metadata"]["name"])).splitlines()


async def test_the_environment_comes_from_every_source(node: TestedNode) -> None:
    await config_map(node, "settings", COLOUR="blue", SIZE="big")
    await secret(node, "keys", TOKEN="s3cret")
    env = [
        {"name": "PLAIN", "value": "x"},
        {"name": "EXPANDED", "value": "$(PLAIN)-$(COLOUR)-$$(PLAIN)-$(ABSENT)"},
        {"name": "COLOUR2", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOUR"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "TOKEN", "optional": True}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    script = 'echo "$PLAIN|$EXPANDED|$COLOUR2|$KEY|${NONE-unset}|$C_SIZE|$CPU|$(hostname)"; echo "$IP"; cat /etc/hosts'
    lines = await printed(node, sh("p", script, restartPolicy="Never", container={
        "env": env, "envFrom": [{"configMapRef": {"name": "settings"}},
                                {"prefix": "C_", "configMapRef": {"name": "settings"}}],
        "resources": {"limits": {"cpu": "250m"}}}))  # fmt: skip
    assert lines[0] == "x|x-blue-$(PLAIN)-$(ABSENT)|blue|s3cret|unset|big|250|p"
    assert lines[1].startswith("10.206.0.")
    assert f"{lines[1]}\tp" in lines


async def test_a_missing_config_map_is_waited_for(node: TestedNode) -> None:
    await node.create(sh("env", "sleep 600", container={"envFrom": [{"configMapRef": {"name": "late"}}]}))
    pod = await node.wait("env", lambda one: (one["status"]["containerStatuses"][0]["state"].get("waiting") or {})
                          .get("reason") == "CreateContainerConfigError")  # fmt: skip
    message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message == 'configmap "late" not found'
    await node.create(sh("vol", "sleep 600", volumes=[{"name": "v", "configMap": {"name": "late"}}],
                         container={"volumeMounts": [mounted("v", "/v")]}))  # fmt: skip
    await node.wait("vol", lambda one: True)
    await config_map(node, "late", KEY="value")
    await node.wait("env", lambda one: one["status"]["phase"] == "Running")
    await node.wait("vol", lambda one: one["status"]["phase"] == "Running")
    wanted = ("FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "late" not found')
    assert wanted in await node.events("vol")


async def test_volumes_of_every_type_are_there(node: TestedNode, tmp_path: Path) -> None:
    await config_map(node, "settings", colour="blue")
    await secret(node, "keys", token="s3cret")
    (tmp_path / "on-host").write_text("from the host\n")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "colour", "path": "a/b"}]}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "me", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "keys"}}]}},
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
    ]
    script = """
        echo x > /disk/x && cat /disk/x; dd if=/dev/zero of=/memory/x bs=1M count=2 2>/dev/null || echo full
        cat /settings/a/b; echo; cat /keys/token; echo; cat /me/name; echo; cat /all/colour /all/token; echo
        cat /host/on-host; cat /one; echo; touch /settings/no 2>/dev/null || echo read-only
        readlink -f /keys/token | grep -q ..data || stat -L -c %a /keys/token"""
    mounts = [mounted(volume["name"], f"/{volume['name']}") for volume in volumes]
    mounts[2]["readOnly"] = True
    mounts.append(mounted("settings", "/one", subPath="a/b"))
    lines = await printed(node, sh("p", script, restartPolicy="Never", volumes=volumes,
                                   container={"volumeMounts": mounts}))  # fmt: skip
    assert lines == ["x", "full", "blue", "s3cret", "p", "blues3cret", "from the host", "blue", "read-only", "400"]
    await node.delete("p")
    assert (tmp_path / "on-host").exists()
    # A pod that has ended is forgotten by the API at once; the node tidies up right after.
    async with asyncio.timeout(10):
        while str(node.settings.data / "pods") in Path("/proc/self/mountinfo").read_text():
            await asyncio.sleep(0.05)


async def test_a_changed_config_map_reaches_a_running_pod(node: TestedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kontinuum.node.worker.REFRESH_SECONDS", 0.5)
    await config_map(node, "settings", colour="blue")
    await node.run(sh("p", "while true; do cat /v/colour; echo; sleep 0.2; done",
                      volumes=[{"name": "v", "configMap": {"name": "settings"}}],
                      container={"volumeMounts": [mounted("v", "/v")]}))  # fmt: skip
    await node.client.patch(CONFIGMAPS, "settings", {"data": {"colour": "green"}}, namespace="default")
    assert "green" in await node.logs_with("p", "green")


async def test_users_groups_capabilities_and_file_systems_are_as_asked(node: TestedNode) -> None:
    context = {"runAsUser": 1000, "runAsGroup": 1001, "fsGroup": 2000, "supplementalGroups": [3000]}
    script = "id -u; id -g; id -G; stat -c %g /v; grep CapEff /proc/self/status; touch /x 2>/dev/null || echo refused"
    lines = await printed(node, sh("user", script, restartPolicy="Never", securityContext=context,
                                   volumes=[{"name": "v", "emptyDir": {}}], container={
        "volumeMounts": [mounted("v", "/v")], "securityContext": {"readOnlyRootFilesystem": True}}))  # fmt: skip
    assert lines[:2] == ["1000", "1001"]
    assert set(lines[2].split()) == {"1001", "2000", "3000"}
    assert lines[3] == "2000"
    assert lines[4].split()[1] == "0000000000000000"
    assert lines[5] == "refused"

    drop = {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}
    lines = await printed(node, sh("caps", "grep CapEff /proc/self/status", restartPolicy="Never",
                                   container={"securityContext": drop}))  # fmt: skip
    assert int(lines[0].split()[1], 16) == 1 << 13

    await node.create(sh("root", "true", securityContext={"runAsNonRoot": True}))
    pod = await node.wait("root", lambda one: (one["status"]["containerStatuses"][0]["state"].get("waiting") or {})
                          .get("reason") == "CreateContainerConfigError")  # fmt: skip
    message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message.startswith("container has runAsNonRoot and image will run as root")


async def test_namespaces_are_shared_as_asked(node: TestedNode) -> None:
    beside = {"name": "beside", "image": "localhost/busybox:1", "command": ["sleep", "600"]}
    pod = sh("shared", "sleep 1; ps | grep -c 'sleep 600'; sleep 600", shareProcessNamespace=True)
    pod["spec"]["containers"].append(beside)
    await node.run(pod)
    assert int((await node.logs_with("shared", "\n")).split()[0]) >= 2
    hosted = await node.run(sh("hosted", "ip addr; sleep 600", hostNetwork=True))
    assert hosted["status"]["podIP"] == "127.0.0.1"
    assert node.settings.interface_name in await node.logs_with("hosted", node.settings.interface_name)


async def test_two_pods_reach_each_other_and_a_host_port(node: TestedNode) -> None:
    serve = "mkdir /tmp/w; echo page > /tmp/w/index.html; httpd -f -p 8080 -h /tmp/w"
    ports = [{"containerPort": 8080, "hostPort": 7650}]
    server = await node.run(sh("server", serve, container={"ports": ports}))
    ip, host = server["status"]["podIP"], "10.206.0.1"
    script = f"wget -qO- http://{ip}:8080/; wget -qO- http://{host}:7650/"
    assert await printed(node, sh("client", script, restartPolicy="Never")) == ["page", "page"]
