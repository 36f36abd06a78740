"""Volumes that are the pod's alone, or an image's: scratch space, the files of images, and parts of a volume."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from tests import registries
from tests.images.archives import Image, member, tar
from tests.machines.pods.cases import Cases, World, is_ready, mounted, phase_of, statuses, until

from kontinuum.api.machinery.objects import Object

CASES = Cases("Volumes: scratch space, images, parts")


# -- scratch space


@CASES.add(
    pytest.mark.behaviour(
        "EmptyDir volumes pod should support shared volumes between containers",
        "EmptyDir volumes volume on default medium should have the correct mode",
        "EmptyDir volumes volume on tmpfs should have the correct mode",
        "EmptyDir volumes should support (root,0644,default)",
        "EmptyDir volumes should support (root,0644,tmpfs)",
        "EmptyDir volumes should support (root,0666,default)",
        "EmptyDir volumes should support (root,0666,tmpfs)",
        "EmptyDir volumes should support (root,0777,default)",
        "EmptyDir volumes should support (root,0777,tmpfs)",
        "EmptyDir volumes should support (non-root,0644,default)",
        "EmptyDir volumes should support (non-root,0644,tmpfs)",
        "EmptyDir volumes should support (non-root,0666,default)",
        "EmptyDir volumes should support (non-root,0666,tmpfs)",
        "EmptyDir volumes should support (non-root,0777,default)",
        "EmptyDir volumes should support (non-root,0777,tmpfs)",
    )
)
async def scratch_space_is_shared_and_everybody_s(world: World) -> None:
    script = (
        'me=$(id -u); for volume in /disk /memory; do stat -c "%a %n" $volume; for mode in 0644 0666 0777; do '
        'file=$volume/$me-$mode; echo "mount-tester new file" > $file; chmod $mode $file; '
        'stat -c "%a %u" $file; cat $file; done; done; grep -c " /memory $MEMORY " /proc/mounts'
    )
    # gVisor shows whatever the host has by a protocol of its own.
    shown = "9p" if world.isolation_class == "sandbox" else "tmpfs"
    volumes = [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
    mounts = [mounted("disk", "/disk"), mounted("memory", "/memory")]
    pod = world.pod(script, volumes=volumes, container={"volumeMounts": mounts}, restartPolicy="Never")
    root = pod["spec"]["containers"][0]
    root["env"] = [{"name": "MEMORY", "value": shown}]
    reader = "until [ -s /disk/0-0644 ] && [ -s /disk/1001-0777 ]; do sleep 0.2; done; cat /disk/0-0644 /disk/1001-0777"
    pod["spec"]["containers"] += [
        {**root, "name": "user", "securityContext": {"runAsUser": 1001}},
        {**root, "name": "reader", "command": ["/bin/sh", "-c", reader], "volumeMounts": mounts[:1]},
    ]
    name = (await world.ended(pod))["metadata"]["name"]
    for container, user in (("main", 0), ("user", 1001)):
        files = [line for mode in ("644", "666", "777") for line in (f"{mode} {user}", "mount-tester new file")]
        lines = (await world.logs(name, container)).splitlines()
        assert lines == ["777 /disk", *files, "777 /memory", *files, "1"]
    assert (await world.logs(name, "reader")).splitlines() == ["mount-tester new file"] * 2


@CASES.add()
async def scratch_space_in_memory_holds_no_more_than_its_size_limit(world: World) -> None:
    script = "dd if=/dev/zero of=/memory/x bs=1M count=8 2>/dev/null && echo fitted || echo full; stat -c %s /memory/x"
    volume = {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "5Mi"}}
    pod = world.pod(script, volumes=[volume], container={"volumeMounts": [mounted("memory", "/memory")]})
    assert await world.printed(pod) == ["full", str(5 << 20)]


@CASES.add()
async def parts_of_a_volume_are_shared_in_whatever_order_they_are_mounted(world: World) -> None:
    """One writes into a directory that another has as its own, and that a third, started later, has too."""
    volumes = [{"name": "v", "emptyDir": {}}]
    first = "cd /v/made && echo one > by-first; until [ -f by-second ]; do sleep 0.2; done; cat *"
    second = "until [ -f /part/by-first ]; do sleep 0.2; done; echo two > /part/by-second; sleep 1"
    init = "mkdir -p /v/made; echo zero > /v/made/by-init"
    pod = world.pod(first, volumes=volumes, container={"volumeMounts": [mounted("v", "/v")]}, restartPolicy="Never")
    main = pod["spec"]["containers"][0]
    pod["spec"]["initContainers"] = [{**main, "name": "init", "command": ["/bin/sh", "-c", init]}]
    pod["spec"]["containers"].append(
        {**main, "name": "second", "command": ["/bin/sh", "-c", second],
         "volumeMounts": [mounted("v", "/part", subPath="made")]}
    )  # fmt: skip
    assert await world.printed(pod) == ["one", "zero", "two"]


# -- images as volumes


@CASES.add()
async def the_files_of_an_image_are_a_volume(world: World) -> None:
    """Whole and in part; nobody can write there, and the next pod sees the same."""
    script = "cat /image/etc/nginx/nginx.conf | head -c 5 >/dev/null && echo whole; ls /part | grep -c nginx.conf; " \
             "touch /image/x 2>/dev/null && echo written || echo refused"  # fmt: skip
    volume = {"name": "image", "image": {"reference": "localhost/nginx:1", "pullPolicy": "IfNotPresent"}}
    mounts = [mounted("image", "/image"), mounted("image", "/part", subPath="etc/nginx")]
    for number in range(2):
        pod = world.pod(script, name=str(number), volumes=[volume], container={"volumeMounts": mounts})
        assert await world.printed(pod) == ["whole", "1", "refused"]
        await world.delete("Pod", pod["metadata"]["name"])
        await world.gone("Pod", pod["metadata"]["name"])


@CASES.add(pytest.mark.behaviour("ImageVolume should succeed with pod and pull policy of Always"))
async def an_images_volume_is_pulled_from_its_registry(world: World) -> None:
    image = Image(tar(member("dir/", type=b"5", mode=0o755), member("dir/file", b"from afar\n")))
    with tempfile.TemporaryDirectory(prefix="kontinuum-registry-") as directory:
        async with registries.registry(Path(directory)) as registry:
            place = world.kubeconfig.parent / "containerd" / "certs.d" / registry.host
            place.mkdir(parents=True)
            (place / "hosts.toml").write_text(f'server = "http://{registry.host}"\n')
            name = f"{registry.host}/files:1"
            await registries.put(registry, name, image)
            volume = {"name": "image", "image": {"reference": name, "pullPolicy": "Always"}}
            mounts = [mounted("image", "/volume"), mounted("image", "/part", subPath="dir")]
            pod = world.pod("cat /volume/dir/file /part/file", volumes=[volume], container={"volumeMounts": mounts})
            assert await world.printed(pod) == ["from afar", "from afar"]
            shutil.rmtree(place)


@CASES.add()
async def an_image_that_cannot_be_had_keeps_the_pod_waiting_and_says_why(world: World) -> None:
    volume = {"name": "image", "image": {"reference": "localhost/none:1", "pullPolicy": "Never"}}
    pod = await world.start(world.pod(volumes=[volume], container={"volumeMounts": [mounted("image", "/image")]}))
    name = pod["metadata"]["name"]

    async def told() -> bool:
        said = [one["message"] for one in await world.events(name) if one["reason"] == "FailedMount"]
        return any("not present with pull policy of Never" in one for one in said)

    await until("the reason to be told", told)
    assert phase_of(await world.get("Pod", name)) == "Pending"
    await world.delete("Pod", name)
    await world.gone("Pod", name)


# -- paths below volumes


@CASES.add(
    pytest.mark.behaviour(
        "Variable Expansion should allow substituting values in a volume subpath",
        "Variable Expansion should succeed in writing subpaths in container",
    )
)
async def variables_name_a_directory_of_a_volume(world: World) -> None:
    env = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ANNOTATION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}},
    ]
    mounts = [mounted("v", "/sub", subPathExpr="$(ANNOTATION)/$(POD_NAME)"), mounted("v", "/all")]
    pod = world.pod(
        "echo written > /sub/file; cat /all/mypath/$POD_NAME/file; stat -c %a /all /all/mypath /sub",
        metadata={"annotations": {"mysubpath": "mypath"}},
        volumes=[{"name": "v", "emptyDir": {}}],
        container={"env": env, "volumeMounts": mounts, "securityContext": {"runAsUser": 1000}},
    )
    # Whoever may write into the volume may write into what was made of it.
    assert await world.printed(pod) == ["written", "777", "777", "777"]


@CASES.add(
    pytest.mark.behaviour(
        "Variable Expansion should fail substituting values in a volume subpath with absolute path",
        "Variable Expansion should fail substituting values in a volume subpath with backticks",
        "Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a "
        "container",
    )
)
async def a_bad_directory_is_refused_until_it_is_a_good_one(world: World) -> None:
    """Each container of one pod has its own, by an annotation that is changed while the pod waits."""
    pod = world.pod(
        metadata={"annotations": {"where-absolute": "/tmp", "where-above": ".."}},
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    names = ("absolute", "above", "absent")
    (template,) = pod["spec"]["containers"]
    pod["spec"]["containers"] = [
        {
            **template,
            "name": name,
            "env": [{"name": "W", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['where-{name}']"}}}],
            "volumeMounts": [mounted("v", "/v", subPathExpr="$(W)")],
        }
        for name in names
    ]
    name = (await world.start(pod))["metadata"]["name"]

    def are_refused(one: Object) -> bool:
        waiting = [statuses(one).get(container, {}).get("state", {}).get("waiting", {}) for container in names]
        return {told.get("reason") for told in waiting} == {"CreateContainerConfigError"}

    await world.pod_that(name, are_refused, "to be refused")
    good = {f"where-{container}": "mysubpath" for container in names}
    await world.patch("Pod", name, {"metadata": {"annotations": good}})
    await world.pod_that(name, is_ready, "to be ready")
    await world.delete("Pod", name)


test_volumes = CASES.test()
