"""Claims of pods that really run: what they write is there again, and ends when it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.machines.pods.cases import Cases, World, is_ready, mounted, until

from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation import process

CASES = Cases("Claims and their volumes")
STORE = "echo $HOSTNAME >> /data/starts; sleep 100000"

LARGER = {"spec": {"resources": {"requests": {"storage": "48Mi"}}}}


def a_claim() -> Object:
    """What a user of a fresh cluster writes: no class is named."""
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}


async def volume_of(world: World, claim: str) -> Object:
    bound = await world.get("PersistentVolumeClaim", claim)
    return await world.client.get(world.resource("PersistentVolume"), bound["spec"]["volumeName"])


@CASES.add()
async def a_stateful_set_finds_its_data_again_and_an_end_is_an_end(world: World) -> None:
    name = world.name()
    pod = world.pod(STORE, container={"volumeMounts": [mounted("data", "/data")]})
    template = {"metadata": {"labels": {"app": "claims"}}, "spec": pod["spec"]}
    await world.create(
        "StatefulSet",
        name,
        spec={
            "replicas": 1,
            "serviceName": "test",
            "selector": {"matchLabels": {"app": "claims"}},
            "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": a_claim()}],
        },
    )
    await until("the first pod", lambda: _is_running(world, f"{name}-0"))
    volume = await volume_of(world, f"data-{name}-0")
    directory = Path(volume["spec"]["hostPath"]["path"])
    await until("the first start to be written", lambda: _lines(world, f"{name}-0", 1))
    await world.delete("Pod", f"{name}-0")
    await until("the second start to be written", lambda: _lines(world, f"{name}-0", 2))

    await world.delete("StatefulSet", name)
    await world.gone("Pod", f"{name}-0")
    assert (directory / "disk").exists(), "a claim outlives the set"
    await world.delete("PersistentVolumeClaim", f"data-{name}-0")
    await world.gone("PersistentVolume", name_of(volume))
    assert not directory.exists()


@CASES.add()
async def an_ephemeral_volume_belongs_to_whoever_the_pod_is_and_ends_with_it(world: World) -> None:
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": a_claim()}}}]
    pod = world.pod(
        "touch /scratch/mine && stat -c %u:%g /scratch/mine && exec sleep 100000",
        volumes=volumes,
        securityContext={"runAsUser": 1000, "fsGroup": 2000},
        container={"volumeMounts": [mounted("scratch", "/scratch")]},
    )
    running = await world.running(pod)
    name = name_of(running)
    assert await world.log_that(name, lambda text: text.strip() == "1000:2000", "to say whose the file is")
    summary = await world.client.get_path(f"/api/v1/nodes/{running['spec']['nodeName']}/proxy/stats/summary")
    volumes = [one["volume"] for one in summary["pods"] if one["podRef"]["uid"] == uid_of(running)]
    [told] = [one for one in volumes[0] if one.get("pvcRef", {}).get("name") == f"{name}-scratch"]
    assert 8 << 20 <= told["capacityBytes"] <= 16 << 20
    assert told["usedBytes"] + told["availableBytes"] <= told["capacityBytes"]
    await world.delete("Pod", name)
    await world.gone("PersistentVolumeClaim", f"{name}-scratch")


@CASES.add(refused=("sandbox",))
async def a_block_device_keeps_what_was_written_at_its_place(world: World) -> None:
    await world.create("PersistentVolumeClaim", world.name(), spec={**a_claim(), "volumeMode": "Block"})
    devices = {"volumeDevices": [{"name": "data", "devicePath": "/dev/own"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": world.name()}}]
    size = "10485760"

    def writer(name: str, script: str) -> Object:
        return world.pod(script, name=name, volumes=volumes, container=devices)

    write = "blockdev --getsize64 /dev/own && echo here | dd of=/dev/own bs=512 seek=7 conv=sync,fsync 2>/dev/null"
    assert await world.printed(writer("first", write)) == [size]
    await world.delete("Pod", world.name("first"))
    await world.gone("Pod", world.name("first"))
    assert await world.printed(writer("second", "dd if=/dev/own bs=512 skip=7 count=1 2>/dev/null | head -1")) == [
        "here"
    ]
    await world.delete("Pod", world.name("second"))
    mistaken = world.pod(name="mistaken", volumes=volumes, container={"volumeMounts": [mounted("data", "/data")]})
    await world.start(mistaken)

    async def is_told() -> bool:
        text = "volume data has volumeMode Block, but is specified in volumeMounts"
        return any(text in one["message"] for one in await world.events(name_of(mistaken)))

    await until("the mistake to be told", is_told)
    await world.delete("Pod", name_of(mistaken))
    await world.delete("PersistentVolumeClaim", world.name())


@CASES.add(classes=("microvm",))
async def a_volume_changes_its_class_and_is_never_in_two(world: World) -> None:
    """What a machine wrote a container reads, and the other way round; each waits until the other has ended."""
    await world.create("PersistentVolumeClaim", world.name(), spec=a_claim())
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": world.name()}}]
    mounts = {"volumeMounts": [mounted("data", "/data"), mounted("data", "/part", subPath="a/part")]}

    def writer(name: str, isolation_class: str) -> Object:
        script = f"echo {name} >> /data/starts; echo {name} >> /part/starts; cat /data/starts; sleep 100000"
        return world.pod(script, name=name, runtimeClassName=isolation_class, volumes=volumes, container=mounts)

    first = name_of(await world.running(writer("machine", "microvm")))
    # Its shell runs when the pod is Ready, and on a busy host has not written yet: it would be ended before.
    await world.log_that(first, lambda text: "machine" in text, "to have written")
    second = name_of(await world.start(writer("container", "container")))

    async def is_refused() -> bool:
        return any("in use by a pod with a kernel of its own" in one["message"] for one in await world.events(second))

    await until("the container to wait", is_refused)
    # Not every host lets a volume grow that is mounted: it does before the next pod has it.
    await _grow(world, world.name())
    await world.delete("Pod", first)
    await world.pod_that(second, is_ready, "to follow the machine")
    await world.log_that(second, lambda text: text.split() == ["machine", "container"], "to tell who wrote")

    await until("the claim to have grown", lambda: _has_grown(world, world.name()))
    kilobytes = int((await world.execute(second, "df -k /data | tail -1")).split()[1])
    assert kilobytes > 32 << 10
    third = name_of(await world.start(writer("again", "microvm")))

    async def is_waiting() -> bool:
        return any("needs a disk that it writes to alone" in one["message"] for one in await world.events(third))

    await until("the machine to wait", is_waiting)
    await world.delete("Pod", second)
    await world.pod_that(third, is_ready, "to follow the container")
    await world.log_that(third, lambda text: "again" in text, "to have written")
    assert (await world.execute(third, "cat /data/a/part/starts")).split() == ["machine", "container", "again"]
    await world.delete("Pod", third)
    await world.delete("PersistentVolumeClaim", world.name())


@CASES.add(classes=("microvm",))
async def a_volume_grows_for_a_machine_that_waits_for_it(world: World) -> None:
    claim = world.name()
    await world.create("PersistentVolumeClaim", claim, spec=a_claim())
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]

    def user(name: str) -> Object:
        return world.pod(name=name, volumes=volumes, container={"volumeMounts": [mounted("data", "/data")]})

    first = name_of(await world.running(user("first")))
    second = name_of(await world.start(user("second")))
    await world.event_that(second, "Failed", "needs a disk that it writes to alone")
    await _grow(world, claim)
    await world.delete("Pod", first)
    await world.pod_that(second, is_ready, "to follow the first")
    await until("the claim to have grown", lambda: _has_grown(world, claim))
    assert int((await world.execute(second, "df -k /data | tail -1")).split()[1]) > 32 << 10
    await world.delete("Pod", second)
    await world.delete("PersistentVolumeClaim", claim)


@CASES.add(classes=("microvm",))
async def a_claim_is_told_why_a_machine_did_not_enlarge_its_volume(world: World) -> None:
    """Linux does not enlarge a file system that has seen an error; what is in it is had all the same."""
    claim = world.name()
    await world.create("PersistentVolumeClaim", claim, spec=a_claim())
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]

    def user(name: str) -> Object:
        script = f"echo {name} >> /data/starts; cat /data/starts; sync; sleep 100000"
        return world.pod(script, name=name, volumes=volumes, container={"volumeMounts": [mounted("data", "/data")]})

    async def ends(pod: str) -> None:
        await world.delete("Pod", pod)
        await world.gone("Pod", pod)

    async def repair(*command: str) -> None:
        image = f"{(await volume_of(world, claim))['spec']['hostPath']['path']}/disk"
        await process.run(*command, image, timeout=60, check=False)

    first = name_of(await world.running(user("first")))
    # A shell that runs has not written yet.
    await world.log_that(first, lambda text: "first" in text, "to have written")
    await ends(first)
    await repair("debugfs", "-w", "-R", "set_super_value state 3")
    await _grow(world, claim)
    second = name_of(await world.running(user("second")))

    async def is_told() -> bool:
        conditions = (await world.get("PersistentVolumeClaim", claim))["status"].get("conditions") or ()
        told = {one["type"]: one.get("message", "") for one in conditions}
        return "FileSystemResizePending" in told and "has seen an error" in told.get("NodeResizeError", "")

    await until("the claim to be told why", is_told)
    await world.event_that(second, "VolumeResizeFailed", "has seen an error")
    await world.log_that(second, lambda text: text.split() == ["first", "second"], "to tell who wrote")
    assert int((await world.execute(second, "df -k /data | tail -1")).split()[1]) < 32 << 10
    await ends(second)
    await repair("e2fsck", "-f", "-p")
    third = name_of(await world.running(user("third")))
    await until("the claim to have grown", lambda: _has_grown(world, claim))
    assert int((await world.execute(third, "df -k /data | tail -1")).split()[1]) > 32 << 10
    await world.delete("Pod", third)
    await world.delete("PersistentVolumeClaim", claim)


async def _grow(world: World, claim: str) -> None:
    """Ask for more, and wait until the volume is larger than its file system."""
    await world.patch("PersistentVolumeClaim", claim, LARGER)

    async def is_to_grow() -> Any:
        return (await world.get("PersistentVolumeClaim", claim))["status"].get("conditions")

    await until("the volume to be larger than its file system", is_to_grow)


async def _has_grown(world: World, claim: str) -> bool:
    status = (await world.get("PersistentVolumeClaim", claim))["status"]
    return bool(status["capacity"]["storage"] == "48Mi" and not status.get("conditions"))


async def _is_running(world: World, name: str) -> bool:
    try:
        found = await world.get("Pod", name)
    except ApiError:  # It is about to be made.
        return False
    return bool(found["status"].get("phase") == "Running")


async def _lines(world: World, pod: str, count: int) -> Any:
    code, text, _ = await world.run(pod, "cat", "/data/starts")
    return code == 0 and len(text.split()) == count


test_claims = CASES.test()
