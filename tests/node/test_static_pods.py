"""Static pods: what a file may say, and its life as file, pod and mirror."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.node.fake_runtime import Program
from tests.node.world import World, play

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.node.static.folder import Folder
from kontinuum.node.static.keeper import StaticPods
from kontinuum.node.static.manifest import BadManifest, read

MIRROR = "kubernetes.io/config.mirror"
TEXT = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 5
  containers: [{name: app, image: "app:1"}]
"""


def manifest(**spec: Any) -> bytes:
    containers = [{"name": "app", "image": "app:1"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers, **spec}}
    return json.dumps(pod).encode()


# Files


def test_a_file_is_a_pod_of_this_node_with_every_default() -> None:
    pod = read(TEXT.encode(), "/etc/pods/web.yaml", "n1")
    meta, spec = pod["metadata"], pod["spec"]
    assert (meta["name"], meta["namespace"], meta["labels"]) == ("web-n1", "default", {"app": "web"})
    assert meta["annotations"] == {"kubernetes.io/config.source": "file", "kubernetes.io/config.hash": meta["uid"]}
    assert (spec["nodeName"], spec["restartPolicy"], spec["dnsPolicy"]) == ("n1", "Always", "ClusterFirst")
    assert spec["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_the_uid_is_of_what_is_said_where_and_on_which_node() -> None:
    def uid(content: bytes, path: str = "/a", node: str = "n1") -> str:
        found: str = read(content, path, node)["metadata"]["uid"]
        return found

    assert uid(manifest()) == uid(manifest().replace(b" ", b"  "))
    assert (
        len({uid(manifest()), uid(manifest(hostNetwork=True)), uid(manifest(), "/b"), uid(manifest(), node="n2")}) == 4
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "error decoding YAML"),
        (b"- 1", "no object"),
        (b"{apiVersion: apps/v1, kind: Deployment}", "it holds apps/v1 Deployment, and must hold one v1 Pod"),
        (b"{apiVersion: v1, kind: Pod, metadata: {}, spec: {}}", "metadata.name: Required value"),
        (b"{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {}}", "spec.containers: Required value"),
        (manifest(containres=[]), 'unknown field "spec.containres"'),
        (manifest(containers=3), "cannot be handled as a Pod"),
        (manifest(serviceAccountName="x"), "static pods may not reference serviceaccounts"),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "static pods may not reference secrets"),
        (manifest(volumes=[{"name": "v", "configMap": {"name": "s"}}]), "static pods may not reference configmaps"),
        (manifest(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]), "persistentvolumeclaims"),
        (manifest(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
         "static pods may not reference service account tokens"),
        (manifest(imagePullSecrets=[{"name": "s"}]), "static pods may not reference secrets"),
    ],
)  # fmt: skip
def test_what_cannot_run_says_why(content: bytes, problem: str) -> None:
    with pytest.raises(BadManifest) as caught:
        read(content, "/p", "n1")
    assert problem in str(caught.value)


def test_a_folder_holds_files_and_one_bad_one_spoils_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "pods", "n1")
    assert folder.look() == []
    (tmp_path / "pods" / "below").mkdir(parents=True)
    files = {"b.yaml": TEXT.encode(), "a.json": b"{", ".hidden.yaml": manifest(), "c.yaml": manifest()}
    for name, content in files.items():
        (tmp_path / "pods" / name).write_bytes(content)
    (pod,) = folder.look()
    assert pod["metadata"]["labels"] == {"app": "web"}  # the first of the two of that name
    assert folder.look()[0] is pod
    assert [one["metadata"]["name"] for one in Folder(tmp_path / "pods" / "b.yaml", "n1").look()] == ["web-n1"]
    (tmp_path / "pods" / "b.yaml").unlink()
    assert "labels" not in folder.look()[0]["metadata"]


# Lives


def live(directory: Path, story: Any) -> World:
    async def around(world: World) -> None:
        await world.stop()
        (directory / "pods").mkdir()
        await story(world, directory / "pods")

    return play(directory, around)


async def mirror(world: World) -> Object:
    return await world.get("web-n1")


def test_a_static_pod_runs_without_an_api_and_is_shown_when_it_comes_back(tmp_path: Path) -> None:
    async def story(world: World, folder: Path) -> None:
        (folder / "web.yaml").write_text(TEXT)
        world.faults.down = True
        await world.start(static=folder)
        await asyncio.sleep(30)
        assert world.runtime.starts["app"] == 1
        world.faults.down = False
        status = await world.wait(lambda one: one["phase"] == "Running", "web-n1")
        shown = await mirror(world)
        uid = next(iter(world.runtime.sandboxes.values())).pod_uid
        assert shown["metadata"]["annotations"][MIRROR] == uid
        assert shown["metadata"]["ownerReferences"][0]["name"] == "n1"
        # Nothing changes by itself.
        await asyncio.sleep(60)
        assert (await mirror(world))["status"] == status
        assert (await mirror(world))["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"]

    live(tmp_path, story)


def test_a_look_at_the_folder_that_falls_is_repeated_and_fells_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World, folder: Path) -> None:
        await world.start(static=folder)
        await asyncio.sleep(1)
        look, falls = StaticPods.look, iter([True, True])

        def fall(static: StaticPods) -> None:
            assert not next(falls, False), "nobody expects this of a look"
            look(static)

        monkeypatch.setattr(StaticPods, "look", fall)
        (folder / "web.yaml").write_text(TEXT)
        await world.wait(lambda one: one["phase"] == "Running", "web-n1", seconds=300)
        await world.stop()  # Raises what the agent fell for.

    live(tmp_path, story)


def test_a_mirror_that_is_deleted_comes_back_and_the_pod_does_not_notice(tmp_path: Path) -> None:
    async def story(world: World, folder: Path) -> None:
        (folder / "web.yaml").write_text(TEXT)
        await world.start(static=folder)
        await world.wait(lambda one: one["phase"] == "Running", "web-n1")
        before = (await mirror(world))["metadata"]["uid"]
        for grace in (0, 30):
            await world.delete("web-n1", grace=grace)
            await asyncio.sleep(5)
            await world.wait(lambda one: one["phase"] == "Running", "web-n1")
            after = (await mirror(world))["metadata"]["uid"]
            assert after != before
            before = after
        assert world.runtime.starts["app"] == 1

    live(tmp_path, story)


def test_a_changed_file_is_another_pod_after_the_first_has_ended(tmp_path: Path) -> None:
    async def story(world: World, folder: Path) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        (folder / "web.yaml").write_text(TEXT)
        await world.start(static=folder)
        await world.wait(lambda one: one["phase"] == "Running", "web-n1")
        first = (await mirror(world))["metadata"]["annotations"][MIRROR]
        (folder / "web.yaml").write_text(TEXT.replace("app: web", "app: other"))
        # The five seconds that it asks for are kept, and nothing begins before.
        await asyncio.sleep(5)
        assert world.runtime.starts["app"] == 1
        await asyncio.sleep(10)
        assert world.runtime.starts["app"] == 2
        shown = await mirror(world)
        assert shown["metadata"]["labels"] == {"app": "other"}
        assert shown["metadata"]["annotations"][MIRROR] != first
        assert {one.pod_uid for one in world.runtime.sandboxes.values()} == {shown["metadata"]["annotations"][MIRROR]}
        (folder / "web.yaml").unlink()
        await asyncio.sleep(15)
        assert not await world.exists("web-n1")
        assert not world.runtime.sandboxes
        # The same file once more is the same pod once more.
        (folder / "web.yaml").write_text(TEXT)
        await asyncio.sleep(10)
        assert (await mirror(world))["metadata"]["annotations"][MIRROR] == first

    live(tmp_path, story)


def test_an_agent_that_begins_anew_takes_static_pods_over(tmp_path: Path) -> None:
    async def story(world: World, folder: Path) -> None:
        (folder / "web.yaml").write_text(TEXT)
        await world.start(static=folder)
        await world.wait(lambda one: one["phase"] == "Running", "web-n1")
        await world.stop()
        world.faults.down = True
        await world.start(static=folder)
        await asyncio.sleep(20)
        world.faults.down = False
        await asyncio.sleep(20)
        assert world.runtime.starts["app"] == 1
        # Without its file the mirror is nobody's picture, and goes.
        await world.stop()
        (folder / "web.yaml").unlink()
        await world.start(static=folder)
        await asyncio.sleep(20)
        assert not await world.exists("web-n1")
        assert not world.runtime.sandboxes

    live(tmp_path, story)


def test_pods_that_the_api_was_never_asked_about_wait_for_its_word(tmp_path: Path) -> None:
    async def story(world: World, folder: Path) -> None:
        await world.start(static=folder)
        await world.create({**json.loads(manifest(nodeName="n1")), "metadata": {"name": "p", "namespace": "default"}})
        await world.wait(lambda one: one["phase"] == "Running")
        await world.stop()
        world.faults.down = True
        await world.start(static=folder)
        await asyncio.sleep(60)
        assert world.runtime.starts["app"] == 1
        assert all(one.is_running for _, one in world.runtime.containers.values())
        world.faults.down = False
        await asyncio.sleep(20)
        assert (await world.client.list(PODS)).items[0]["status"]["phase"] == "Running"
        assert world.runtime.starts["app"] == 1

    live(tmp_path, story)
