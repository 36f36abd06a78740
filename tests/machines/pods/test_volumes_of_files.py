"""ConfigMaps, Secrets and the pod's own fields as files: names, modes, owners, and changes that reach running pods."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.machines.pods.cases import Cases, World, mounted, until

from kontinuum.api.machinery.objects import Object

CASES = Cases("Volumes of files")
LOOK = """
for file in "$@"; do
  echo "$file $(stat -Lc '%a %u:%g' "$file") $(cat "$file")"
done
"""
"""Path, mode, owner and content of each file that is given as an argument."""


async def config_map(world: World, name: str, data: dict[str, str], **fields: Any) -> None:
    await world.create("ConfigMap", name, data=data, **fields)


async def secret(world: World, name: str, data: dict[str, str], **fields: Any) -> None:
    await world.create("Secret", name, stringData=data, **fields)


KINDS = ("configMap", "secret", "projected configMap", "projected secret")


def source(kind: str, name: str, **fields: Any) -> Object:
    """A volume of ``kind``, one of KINDS."""
    if kind == "secret":
        return {"secret": {"secretName": name, **fields}}
    if kind == "configMap":
        return {"configMap": {"name": name, **fields}}
    outer = {"defaultMode": fields.pop("defaultMode")} if "defaultMode" in fields else {}
    return {"projected": {"sources": [{kind.removeprefix("projected "): {"name": name, **fields}}], **outer}}


def short(kind: str) -> str:
    """As part of the names of volumes."""
    return kind.replace(" ", "-").lower()


def looking(world: World, volumes: dict[str, Object], files: list[str], *, name: str = "", **spec: Any) -> Object:
    """A pod that mounts each of ``volumes`` under its name, and looks at ``files``."""
    return world.pod(
        LOOK,
        name=name,
        volumes=[{"name": volume, **one} for volume, one in volumes.items()],
        container={
            "command": ["/bin/sh", "-c", LOOK, "look", *files],
            "volumeMounts": [mounted(volume, f"/{volume}") for volume in volumes],
        },
        **spec,
    )


def files_of(told: list[str]) -> list[str]:
    """The files that are to be looked at so that these lines come."""
    return [line.split()[0] for line in told]


@CASES.add(
    pytest.mark.behaviour(
        "ConfigMap should be consumable from pods in volume",
        "ConfigMap should be consumable from pods in volume with defaultMode set",
        "ConfigMap should be consumable from pods in volume with mappings",
        "ConfigMap should be consumable from pods in volume with mappings and Item mode set",
        "ConfigMap should be consumable in multiple volumes in the same pod",
        "Projected configMap should be consumable from pods in volume",
        "Projected configMap should be consumable from pods in volume with defaultMode set",
        "Projected configMap should be consumable from pods in volume with mappings",
        "Projected configMap should be consumable from pods in volume with mappings and Item mode set",
        "Projected configMap should be consumable in multiple volumes in the same pod",
        "Secrets should be consumable from pods in volume",
        "Secrets should be consumable from pods in volume with defaultMode set",
        "Secrets should be consumable from pods in volume with mappings",
        "Secrets should be consumable from pods in volume with mappings and Item Mode set",
        "Secrets should be consumable in multiple volumes in a pod",
        "Projected secret should be consumable from pods in volume",
        "Projected secret should be consumable from pods in volume with defaultMode set",
        "Projected secret should be consumable from pods in volume with mappings",
        "Projected secret should be consumable from pods in volume with mappings and Item Mode set",
        "Projected secret should be consumable in multiple volumes in a pod",
    )
)
async def config_maps_and_secrets_are_read_projected_or_not(world: World) -> None:
    """As root: the plain volume, modes of all and of one, mappings, and one source in several volumes."""
    name = world.name()
    await config_map(world, name, {"data-1": "value-1", "data-2": "value-2"})
    await secret(world, name, {"data-1": "secret-1", "data-2": "secret-2"})
    mapped = [{"key": "data-2", "path": "path/to/data-2"}]
    volumes: dict[str, Object] = {}
    told: list[str] = []
    for kind in KINDS:
        of, value = short(kind), "secret" if kind.endswith("secret") else "value"
        volumes |= {
            f"{of}-plain": source(kind, name),
            f"{of}-again": source(kind, name),
            f"{of}-mode": source(kind, name, defaultMode=0o400),
            f"{of}-mapped": source(kind, name, items=mapped),
            f"{of}-item": source(kind, name, items=[{**mapped[0], "mode": 0o440}]),
        }
        told += [
            f"/{of}-plain/data-1 644 0:0 {value}-1",
            f"/{of}-again/data-1 644 0:0 {value}-1",
            f"/{of}-mode/data-1 400 0:0 {value}-1",
            f"/{of}-mapped/path/to/data-2 644 0:0 {value}-2",
            f"/{of}-item/path/to/data-2 440 0:0 {value}-2",
        ]
    assert await world.printed(looking(world, volumes, files_of(told))) == told


@CASES.add(
    pytest.mark.behaviour(
        "ConfigMap should be consumable from pods in volume as non-root",
        "ConfigMap should be consumable from pods in volume with mappings as non-root",
        "Projected configMap should be consumable from pods in volume as non-root",
        "Projected configMap should be consumable from pods in volume with mappings as non-root",
        "Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set",
        "Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set",
    )
)
async def config_maps_and_secrets_are_read_by_a_user(world: World) -> None:
    """As a user of the volume's group: what root alone may read becomes the group's to read."""
    name = world.name()
    await config_map(world, name, {"data-1": "value-1", "data-2": "value-2"})
    await secret(world, name, {"data-1": "secret-1", "data-2": "secret-2"})
    volumes: dict[str, Object] = {}
    told: list[str] = []
    for kind in KINDS:
        of, value = short(kind), "secret" if kind.endswith("secret") else "value"
        volumes |= {
            f"{of}-plain": source(kind, name),
            f"{of}-mapped": source(kind, name, items=[{"key": "data-2", "path": "path/to/data-2"}]),
            f"{of}-mode": source(kind, name, defaultMode=0o440),
        }
        told += [
            f"/{of}-plain/data-1 644 0:1001 {value}-1",
            f"/{of}-mapped/path/to/data-2 644 0:1001 {value}-2",
            f"/{of}-mode/data-1 440 0:1001 {value}-1",
        ]
    context = {"runAsUser": 1000, "fsGroup": 1001}
    assert await world.printed(looking(world, volumes, files_of(told), securityContext=context)) == told


@CASES.add(pytest.mark.behaviour("ConfigMap binary data should be reflected in volume"))
async def binary_data_arrives_as_it_is(world: World) -> None:
    binary = bytes(range(256))
    name = world.name()
    await config_map(world, name, {"text": "value"}, binaryData={"dump.bin": base64.b64encode(binary).decode()})
    pod = world.pod(
        "cat /v/text; echo; base64 /v/dump.bin | tr -d '\\n'",
        volumes=[{"name": "v", "configMap": {"name": name}}],
        container={"volumeMounts": [mounted("v", "/v")]},
    )
    assert await world.printed(pod) == ["value", base64.b64encode(binary).decode()]


@CASES.add(
    pytest.mark.behaviour(
        "Secrets should be able to mount in a volume regardless of a different secret existing with same name in "
        "different namespace"
    )
)
async def a_secret_of_the_same_name_elsewhere_is_another(world: World) -> None:
    name = world.name()
    other = await world.client.create(
        world.resource("Namespace"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "other-"}}
    )
    elsewhere = {"name": name, "namespace": other["metadata"]["name"]}
    await world.client.create(
        world.resource("Secret"),
        {"apiVersion": "v1", "kind": "Secret", "metadata": elsewhere, "stringData": {"data-1": "of others"}},
    )
    await secret(world, name, {"data-1": "ours"})
    pod = looking(world, {"v": source("secret", name)}, ["/v/data-1"])
    assert await world.printed(pod) == ["/v/data-1 644 0:0 ours"]
    await world.client.delete(world.resource("Namespace"), other["metadata"]["name"])


# -- changes reach running pods


@CASES.add(
    pytest.mark.behaviour(
        "ConfigMap updates should be reflected in volume",
        "ConfigMap optional updates should be reflected in volume",
        "Projected configMap updates should be reflected in volume",
        "Projected configMap optional updates should be reflected in volume",
        "Secrets optional updates should be reflected in volume",
        "Projected secret optional updates should be reflected in volume",
    )
)
async def config_maps_and_secrets_are_followed(world: World) -> None:
    """A key that changes, a source that is deleted, and one that is created later, all of them seen by one pod."""
    made = {"ConfigMap": (config_map, "data"), "Secret": (secret, "stringData")}
    for make, _ in made.values():
        await make(world, world.name("kept"), {"data-1": "value-1", "data-2": "old"})
        await make(world, world.name("deleted"), {"data-1": "value-1"})
    volumes: dict[str, Object] = {}
    for kind in KINDS:
        volumes |= {
            f"{short(kind)}-kept": source(kind, world.name("kept")),
            f"{short(kind)}-deleted": source(kind, world.name("deleted"), optional=True),
            f"{short(kind)}-created": source(kind, world.name("created"), optional=True),
        }
    pod = looking(world, volumes, [])
    pod["spec"]["containers"][0]["command"] = ["/bin/sleep", "100000"]
    name = (await world.running(pod))["metadata"]["name"]

    async def found(*files: str, empty: str) -> list[str]:
        """For each kind what these files hold, and what is in a directory that should be empty."""
        look = " ".join(f"/$kind-{file}" for file in files)
        script = f"for kind in {' '.join(map(short, KINDS))}; do cat {look}; ls /$kind-{empty}; echo; done"
        return (await world.execute(name, f"({script}) 2>/dev/null || true")).splitlines()

    assert await found("kept/data-2", "deleted/data-1", empty="created") == ["oldvalue-1"] * len(KINDS)
    for kind, (make, field) in made.items():
        await world.patch(kind, world.name("kept"), {field: {"data-2": "new", "data-3": "more"}})
        await world.delete(kind, world.name("deleted"))
        await make(world, world.name("created"), {"data-1": "late"})

    async def seen() -> bool:
        files = ("kept/data-2", "kept/data-3", "created/data-1")
        return await found(*files, empty="deleted") == ["newmorelate"] * len(KINDS)

    await until(f"{name} to see every change", seen)
    await world.delete("Pod", name)


# -- the pod's own fields


RESOURCES = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def downward(projected: bool, items: list[Object], **fields: Any) -> Object:
    if projected:
        return {"projected": {"sources": [{"downwardAPI": {"items": items}}], **fields}}
    return {"downwardAPI": {"items": items, **fields}}


def amount(resource: str, *, divisor: str = "") -> Object:
    reference = {"containerName": "main", "resource": resource}
    return {"path": resource, "resourceFieldRef": {**reference, **({"divisor": divisor} if divisor else {})}}


WAYS = {"own": False, "projected": True}
"""By a part of the volume's name: whether the fields come by a projected volume."""


@CASES.add(
    pytest.mark.behaviour(
        "Downward API volume should provide container's cpu limit",
        "Downward API volume should provide container's cpu request",
        "Downward API volume should provide container's memory limit",
        "Downward API volume should provide container's memory request",
        "Downward API volume should provide podname only",
        "Downward API volume should set DefaultMode on files",
        "Downward API volume should set mode on item file",
        "Projected downwardAPI should provide container's cpu limit",
        "Projected downwardAPI should provide container's cpu request",
        "Projected downwardAPI should provide container's memory limit",
        "Projected downwardAPI should provide container's memory request",
        "Projected downwardAPI should provide podname only",
        "Projected downwardAPI should set DefaultMode on files",
        "Projected downwardAPI should set mode on item file",
    )
)
async def volumes_tell_of_the_pod(world: World) -> None:
    field = {"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}
    items = [field, amount("limits.cpu", divisor="1m"), amount("limits.memory"), amount("requests.cpu", divisor="1m"),
             amount("requests.memory")]  # fmt: skip
    volumes: dict[str, Object] = {}
    told: list[str] = []
    name = world.name()
    for way, projected in WAYS.items():
        volumes |= {
            f"{way}-plain": downward(projected, items),
            f"{way}-mode": downward(projected, [field], defaultMode=0o400),
            f"{way}-item": downward(projected, [{**field, "mode": 0o440}]),
        }
        told += [
            f"/{way}-plain/podname 644 0:0 {name}",
            f"/{way}-plain/limits.cpu 644 0:0 1250",
            f"/{way}-plain/limits.memory 644 0:0 {64 << 20}",
            f"/{way}-plain/requests.cpu 644 0:0 250",
            f"/{way}-plain/requests.memory 644 0:0 {32 << 20}",
            f"/{way}-mode/podname 400 0:0 {name}",
            f"/{way}-item/podname 440 0:0 {name}",
        ]
    pod = looking(world, volumes, files_of(told))
    pod["spec"]["containers"][0]["resources"] = RESOURCES
    assert await world.printed(pod) == told


@CASES.add(
    pytest.mark.behaviour(
        "Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set",
        "Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set",
        "Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set",
        "Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not "
        "set",
    )
)
async def volumes_tell_of_the_node(world: World) -> None:
    """Without limits of its own a container may use what the node has to give."""
    items = [amount("limits.cpu", divisor="1m"), amount("limits.memory")]
    volumes = {way: downward(projected, items) for way, projected in WAYS.items()}
    files = [f"/{way}/{item['path']}" for way in volumes for item in items]
    printed = await world.printed(looking(world, volumes, files))
    (node,) = (await world.client.list(world.resource("Node"))).items
    there = [world.amount(node, "cpu") * 1000, world.amount(node, "memory")]
    assert [int(line.rpartition(" ")[2]) for line in printed] == there * len(WAYS)


@CASES.add(
    pytest.mark.behaviour(
        "Downward API volume should update annotations on modification",
        "Downward API volume should update labels on modification",
        "Projected downwardAPI should update annotations on modification",
        "Projected downwardAPI should update labels on modification",
    )
)
async def volumes_follow_the_pod(world: World) -> None:
    items = [{"path": what, "fieldRef": {"fieldPath": f"metadata.{what}"}} for what in ("labels", "annotations")]
    pod = looking(world, {way: downward(projected, items) for way, projected in WAYS.items()}, [])
    pod["spec"]["containers"][0]["command"] = ["/bin/sleep", "100000"]
    pod["metadata"] |= {"labels": {"key1": "value1"}, "annotations": {"builder": "bar"}}
    name = (await world.running(pod))["metadata"]["name"]
    for way in WAYS:
        script = f"cat /{way}/labels; echo; cat /{way}/annotations"
        assert await world.execute(name, script) == 'key1="value1"\nbuilder="bar"'
    await world.patch("Pod", name, {"metadata": {"labels": {"key3": "value3"}, "annotations": {"builder": "foo"}}})

    async def seen() -> bool:
        # In the moment of a change a sandbox may see neither the old files nor the new ones.
        _, found, _ = await world.run(name, "cat", *(f"/{way}/{item['path']}" for way in WAYS for item in items))
        return all(found.count(one) == len(WAYS) for one in ('key3="value3"', 'builder="foo"'))

    await until(f"{name} to see its new labels and annotations", seen)
    await world.delete("Pod", name)


@CASES.add(pytest.mark.behaviour("Projected combined should project all components that make up the projection API"))
async def several_sources_share_a_directory(world: World) -> None:
    name = world.name()
    await config_map(world, name, {"configmap-data": "configmap-value"})
    await secret(world, name, {"secret-data": "secret-value"})
    sources = [
        {"configMap": {"name": name}},
        {"secret": {"name": name}},
        {"downwardAPI": {"items": [{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    pod = looking(world, {"all": {"projected": {"sources": sources}}},
                  ["/all/podname", "/all/secret-data", "/all/configmap-data"])  # fmt: skip
    assert [line.split()[-1] for line in await world.printed(pod)] == [name, "secret-value", "configmap-value"]


# -- paths below a volume


@CASES.add(
    pytest.mark.behaviour(
        "Subpath Atomic writer volumes should support subpaths with configmap pod",
        "Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file",
        "Subpath Atomic writer volumes should support subpaths with downward pod",
        "Subpath Atomic writer volumes should support subpaths with projected pod",
        "Subpath Atomic writer volumes should support subpaths with secret pod",
    )
)
async def one_file_of_a_volume_is_mounted(world: World) -> None:
    name = world.name()
    await config_map(world, name, {"file": "of the config map"})
    await secret(world, name, {"file": "of the secret"})
    volumes = {
        "config": source("configMap", name),
        "secret": source("secret", name),
        "downward": downward(False, [{"path": "dir/file", "fieldRef": {"fieldPath": "metadata.name"}}]),
        "projected": source("projected configMap", name, items=[{"key": "file", "path": "dir/file"}]),
    }
    mounts = [
        mounted("config", "/config/file", subPath="file"),
        mounted("config", "/etc/passwd", subPath="file"),
        mounted("secret", "/secret/file", subPath="file"),
        mounted("downward", "/downward", subPath="dir"),
        mounted("projected", "/projected", subPath="dir"),
    ]
    pod = world.pod(
        "for i in 1 2 3; do cat /config/file /etc/passwd /secret/file /downward/file /projected/file; echo; done",
        volumes=[{"name": volume, **one} for volume, one in volumes.items()],
        container={"volumeMounts": mounts},
    )
    once = f"of the config mapof the config mapof the secret{name}of the config map"
    assert await world.printed(pod) == [once] * 3


# -- what must not disturb


@CASES.add(pytest.mark.behaviour("EmptyDir wrapper volumes should not conflict"))
async def volumes_of_different_kinds_do_not_meet(world: World) -> None:
    name = world.name()
    await config_map(world, name, {"a": "1"})
    await secret(world, name, {"a": "2"})
    volumes = {"secret": source("secret", name), "config": source("configMap", name)}
    printed = await world.printed(looking(world, volumes, ["/secret/a", "/config/a"]))
    assert [line.split()[-1] for line in printed] == ["2", "1"]


@CASES.add(
    pytest.mark.behaviour("EmptyDir wrapper volumes should not cause race condition when used for configmaps"),
    classes=("container",),
)
async def fifty_config_maps_are_mounted_in_five_pods(world: World) -> None:
    names = [world.name(str(number)) for number in range(50)]
    await asyncio.gather(*(config_map(world, name, {"data-1": "value"}) for name in names))
    volumes = {f"v{number}": source("configMap", name) for number, name in enumerate(names)}
    files = [f"/{volume}/data-1" for volume in volumes]
    pods = [looking(world, volumes, files, name=f"pod-{number}") for number in range(5)]
    for lines in await asyncio.gather(*(world.printed(pod) for pod in pods)):
        assert [line.split()[-1] for line in lines] == ["value"] * 50


test_volumes_of_files = CASES.test()
