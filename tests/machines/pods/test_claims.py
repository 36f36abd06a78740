"""Claims of pods that really run: what they write is there again, and ends when it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.machines.pods.cases import Cases, World, mounted, until

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError

CASES = Cases()
CONTAINERS = ("container",)
STORE = "echo $HOSTNAME >> /data/starts; sleep 100000"


def a_claim() -> Object:
    """What a user of a fresh cluster writes: no class is named."""
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}


async def volume_of(world: World, claim: str) -> Object:
    bound = await world.get("PersistentVolumeClaim", claim)
    return await world.client.get(world.resource("PersistentVolume"), bound["spec"]["volumeName"])


@CASES.add(classes=CONTAINERS)
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
    assert (directory / "starts").read_text().split() == [f"{name}-0"] * 2
    await world.delete("PersistentVolumeClaim", f"data-{name}-0")
    await world.gone("PersistentVolume", name_of(volume))
    assert not directory.exists()


@CASES.add(classes=CONTAINERS)
async def an_ephemeral_volume_belongs_to_whoever_the_pod_is_and_ends_with_it(world: World) -> None:
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": a_claim()}}}]
    pod = world.pod(
        "touch /scratch/mine && stat -c %u:%g /scratch/mine && exec sleep 100000",
        volumes=volumes,
        securityContext={"runAsUser": 1000, "fsGroup": 2000},
        container={"volumeMounts": [mounted("scratch", "/scratch")]},
    )
    name = name_of(await world.running(pod))
    assert await world.log_that(name, lambda text: text.strip() == "1000:2000", "to say whose the file is")
    await world.delete("Pod", name)
    await world.gone("PersistentVolumeClaim", f"{name}-scratch")


@CASES.add(classes=("microvm",))
async def a_machine_refuses_a_claim_rather_than_lose_what_it_writes(world: World) -> None:
    await world.create("PersistentVolumeClaim", world.name(), spec=a_claim())
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": world.name()}}]
    pod = world.pod(volumes=volumes, container={"volumeMounts": [mounted("data", "/data")]})
    await world.start(pod)

    async def refused() -> bool:
        told = await world.events(name_of(pod))
        return any("microvm has no persistent volumes yet" in one["message"] for one in told)

    await until("the pod to be refused", refused)
    await world.delete("Pod", name_of(pod), grace_seconds=0)
    await world.delete("PersistentVolumeClaim", world.name())


async def _is_running(world: World, name: str) -> bool:
    try:
        found = await world.get("Pod", name)
    except ApiError:  # It is about to be made.
        return False
    return bool(found["status"].get("phase") == "Running")


async def _lines(world: World, pod: str, count: int) -> Any:
    code, text, _ = await world.kubectl("exec", pod, "--", "cat", "/data/starts", check=False)
    return code == 0 and len(text.split()) == count


test_claims = CASES.test()
