"""Images on a real containerd: brought in, made, seen by the CRI, run, and gone again."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
from collections.abc import AsyncIterator, Collection
from functools import partial
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2
from tests import registries
from tests.images.archives import Image, layout, member, simple, tar
from tests.images.memory_store import MemoryStore
from tests.machines.node import TestedNode, pod, running_node
from tools import go_descriptors

from kontinuum.api.kubernetes.resources import PODS, SECRETS
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import RealClock
from kontinuum.images import archives, listing, oci, services
from kontinuum.images.archives import Wish, import_archive
from kontinuum.images.containerd import PINNED
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import BadImage, Platform
from kontinuum.images.references import parse
from kontinuum.images.registry import transfer
from kontinuum.images.registry.credentials import Credentials
from kontinuum.images.registry.errors import AccessDenied, NotInRegistry
from kontinuum.images.registry.transfer import Registry, pull, push
from kontinuum.images.services import Containerd
from kontinuum.images.store import BadContent, pinned
from kontinuum.node.image_collection import Disk, ImageCollector

pytestmark = [pytest.mark.machine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[TestedNode]:
    async with running_node(pod_cidr="10.208.0.0/24") as node:
        yield node


@pytest_asyncio.fixture(loop_scope="module")
async def store(node: TestedNode) -> AsyncIterator[Containerd]:
    async with Containerd(node.settings.socket, RealClock()) as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(node: TestedNode, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[registries.Registry]:
    """One for all tests; containerd is told that it speaks plain HTTP."""
    async with registries.registry(tmp_path_factory.mktemp("registry"), users=True) as running:
        place = node.settings.data / "containerd" / "certs.d" / running.host
        place.mkdir(parents=True)
        (place / "hosts.toml").write_text(f'server = "http://{running.host}"\n')
        yield running


def reached(user: str = registries.USER, password: str = registries.PASSWORD) -> Registry:
    return Registry(RealClock(), credentials=Credentials(user, password))


def quiet(*_: object) -> None:
    return None


async def test_every_field_we_name_has_containerds_number() -> None:
    theirs: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for file in go_descriptors.embedded(Path("/usr/bin/containerd")):
        theirs[file.package + file.name] = file
    messages = {f".{file.package}.{one.name}": one for file in theirs.values() for one in file.message_type}
    methods = {
        f"/{file.package}.{service.name}/{method.name}": method
        for file in theirs.values()
        for service in file.service
        for method in service.method
    }

    def compare(ours: descriptor_pb2.DescriptorProto, other: str) -> None:
        if ours.name in ("Empty", "Mask", "Moment"):
            return
        fields = {field.name: field for field in messages[other].field}
        for field in ours.field:
            found = fields[field.name]
            assert (field.number, field.type, field.label) == (found.number, found.type, found.label), other
            nested = by_name.get(field.type_name.rsplit(".")[-1])
            if nested is not None and field.type == field.TYPE_MESSAGE:
                compare(nested, found.type_name)

    by_name = {
        one.name: one
        for one in services.protobuf_table.file_descriptor(services.PACKAGE, services.read_table()).message_type
    }
    for call in services.CALLS.values():
        compare(by_name[call.request.DESCRIPTOR.name], methods[call.path].input_type)
        compare(by_name[call.response.DESCRIPTOR.name], methods[call.path].output_type)


async def test_an_image_of_a_directory_runs_with_its_links_and_whiteouts(
    node: TestedNode, store: Containerd, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").hardlink_to(root / "bin/busybox")
    (root / "word").write_text("built\n")
    config = oci.ImageConfig(entrypoint=("/bin/sh",), command=("-c", "echo $WHO in $PWD; exit 3"),
                             environment=("WHO=me",), directory="/bin")  # fmt: skip
    name = "registry.test/built:1"
    first = await oci.build(store, root, name, config, platform=Platform.here())
    again = await oci.build(store, root, name, config, platform=Platform.here())
    assert first.target.digest == again.target.digest
    await node.create(pod("built", restartPolicy="Never", container={"image": name, "command": None}))
    done = await node.wait("built", lambda one: one["status"]["phase"] == "Failed")
    assert done["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert await node.logs("built") == "me in /bin\n"
    picture = await listing.picture(store, await listing.find(store, name), Platform.here())
    assert not picture.problem and picture.size < 2 << 20
    # The CRI, and so `crictl`, knows it by the same id.
    [status] = [one for one in await node.cri.present_images() if name in one.names]
    assert status.id == picture.id
    await node.delete("built", grace=0)


async def test_layers_of_every_compression_are_laid_over_each_other(node: TestedNode, store: Containerd) -> None:
    busybox = Path("/usr/bin/busybox").read_bytes()
    below = tar(
        member("bin/", type=b"5", mode=0o755), member("bin/sh", busybox, mode=0o755),
        member("gone", b"x"), member("d/", type=b"5", mode=0o755), member("d/old", b"x"),
    )  # fmt: skip
    above = tar(
        member(".wh.gone"), member("d/", type=b"5", mode=0o755), member("d/.wh..wh..opq"), member("d/new", b"y"),
    )  # fmt: skip
    for kind in ("plain", "gzip", "zstd"):
        compression = kind.removeprefix("plain")
        image = Image(below, above, compression=compression, config={"config": {"Entrypoint": ["/bin/sh", "-c"]}})
        archive = io.BytesIO(layout({f"registry.test/layers:{kind}": image.root}, image.blobs))
        await import_archive(store, archive, Wish(Platform.here()), Limits(), quiet)
        container = {"image": f"registry.test/layers:{kind}", "command": None, "args": ["echo /* /d/*"]}
        await node.create(pod(f"layers-{kind}", restartPolicy="Never", container=container))
    for kind in ("plain", "gzip", "zstd"):
        await node.wait(f"layers-{kind}", lambda one: one["status"]["phase"] == "Succeeded")
        said = await node.logs(f"layers-{kind}")
        assert "/gone" not in said and said.split()[-1] == "/d/new", said
        await node.delete(f"layers-{kind}", grace=0)


async def test_what_was_refused_is_not_in_containerd(node: TestedNode, store: Containerd) -> None:
    bad = Image(tar(member("only-here", b"never seen before")),
                config={"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}})  # fmt: skip
    archive = layout({"registry.test/bad:1": bad.root}, bad.blobs)
    with pytest.raises(BadImage):
        await import_archive(store, io.BytesIO(archive), Wish(Platform.here()), Limits(), quiet)
    assert await store.image("registry.test/bad:1") is None
    for digest in bad.blobs:
        assert await store.size(digest) is None
    with pytest.raises(BadContent):
        async with store.writer("test-lie", digest="sha256:" + "2" * 64, size=3) as writer:
            await writer.write(b"abc")
            await writer.commit({})


async def test_an_image_goes_to_a_registry_and_comes_back(
    store: Containerd, registry: registries.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PIECE", 1 << 20)
    root = tmp_path / "root"
    root.mkdir()
    (root / "noise").write_bytes(random.Random(1).randbytes(2_500_000))
    name = f"{registry.host}/team/noise:1"
    built = await oci.build(store, root, name, oci.ImageConfig(), platform=Platform.here())
    with pytest.raises(AccessDenied, match="gives no token to 'nobody'"):
        await push(store, built, parse(name), reached("nobody", "x"), quiet)
    await push(store, built, parse(name), reached(), quiet)
    assert "repository:team/noise:pull,push" in registry.scopes
    copy = f"{registry.host}/copy:2"
    before = set((registry.data / "docker/registry/v2/repositories").rglob("_uploads/*"))
    await push(store, built, parse(copy), reached(), quiet)
    # The layer was mounted: nothing was uploaded for the second repository.
    assert "repository:team/noise:pull" in registry.scopes
    assert set((registry.data / "docker/registry/v2/repositories").rglob("_uploads/*")) == before
    await listing.remove(store, built)
    assert await store.size(built.target.digest) is None
    with pytest.raises(AccessDenied, match="no credentials were given"):
        await pull(store, parse(copy), Registry(RealClock()), Wish(Platform.here()), Limits(), quiet)
    pulled = await pull(store, parse(copy), reached(), Wish(Platform.here()), Limits(), quiet)
    assert pulled.target.digest == built.target.digest
    by_digest = parse(f"{registry.host}/copy@{pulled.target.digest}")
    await pull(store, by_digest, reached(), Wish(Platform.here()), Limits(), quiet)
    with pytest.raises(NotInRegistry, match="manifest unknown"):
        await pull(store, parse(f"{registry.host}/copy:3"), reached(), Wish(Platform.here()), Limits(), quiet)


async def test_pods_pull_with_the_secret_that_fits_and_say_why_they_cannot(
    node: TestedNode, registry: registries.Registry
) -> None:
    """All at once: the waiting for back-offs overlaps."""
    other = MemoryStore()
    name = f"{registry.host}/private:1"
    below = tar(
        member("bin/", type=b"5", mode=0o755), member("bin/sh", Path("/usr/bin/busybox").read_bytes(), mode=0o755)
    )
    image = Image(below, config={"config": {"Entrypoint": ["/bin/sh", "-c", "echo hi; sleep 1000"]}})
    source = io.BytesIO(layout({name: image.root}, image.blobs))
    [imported] = await import_archive(other, source, Wish(Platform.here()), Limits(), quiet)
    await push(other, imported, parse(name), reached(), quiet)
    data = {".dockerconfigjson": base64.b64encode(registry.config_json.encode()).decode()}
    wrong = {".dockerconfigjson": base64.b64encode(
        json.dumps({"auths": {registry.host: {"username": "nobody", "password": "x"}}}).encode()).decode()}  # fmt: skip
    for secret, content in (("right", data), ("wrong", wrong)):
        metadata = {"name": secret, "namespace": "default", "uid": secret}
        await node.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "data": content, "metadata": metadata})

    def one(pod_name: str, image_name: str, *secrets: str, policy: str = "IfNotPresent") -> Object:
        container = {"image": image_name, "command": None, "imagePullPolicy": policy}
        return pod(pod_name, container=container, imagePullSecrets=[{"name": secret} for secret in secrets])

    waits = {
        "no-secret": (one("no-secret", name), "ImagePullBackOff"),
        "wrong-secret": (one("wrong-secret", name, "wrong"), "ImagePullBackOff"),
        "nowhere": (one("nowhere", f"{registry.host}/nowhere:1", "right"), "ImagePullBackOff"),
        "never": (one("never", f"{registry.host}/nowhere:2", policy="Never"), "ErrImageNeverPull"),
        "bad-name": (one("bad-name", "NOT/A/Name"), "InvalidImageName"),
    }
    for obj, _ in waits.values():
        await node.create(obj)
    await node.create(one("owner", name, "wrong", "right"))
    await node.wait("owner", lambda found: found["status"]["phase"] == "Running")
    told = dict(await node.events("owner"))
    assert told["Pulling"] == f'Pulling image "{name}"'
    assert re.fullmatch(
        rf'Successfully pulled image "{name}" in \S+ \(\S+ including waiting\)\. Image size: \d+ bytes\.',
        told["Pulled"],
    )
    for pod_name, (_, reason) in waits.items():
        await node.wait(pod_name, lambda found, reason=reason: waiting_reason(found) == reason)
    assert "BackOff" in dict(await node.events("no-secret"))
    told = dict(await node.events("nowhere"))
    assert "not found" in told["Failed"] or "Error: " in told["Failed"]
    # It is here now, but not for those who have not shown that they may have it.
    await node.create(one("thief", name))
    await node.wait("thief", lambda found: waiting_reason(found) == "ImagePullBackOff")
    await node.create(one("again", name, "right"))
    await node.wait("again", lambda found: found["status"]["phase"] == "Running")
    assert dict(await node.events("again"))["Pulled"].endswith(
        "already present on machine and can be accessed by the pod"
    )
    for pod_name in (*waits, "owner", "thief", "again"):
        await node.client.delete(PODS, pod_name, namespace="default", grace_seconds=0)


def waiting_reason(found: Object) -> str:
    state = found["status"]["containerStatuses"][0]["state"]
    return str((state.get("waiting") or {}).get("reason"))


async def test_an_image_goes_with_its_last_name(node: TestedNode, store: Containerd, tmp_path: Path) -> None:
    [image] = await import_archive(store, io.BytesIO(simple("registry.test/one:1")), Wish(Platform.here()), Limits(),
                                   quiet)  # fmt: skip
    other = await listing.tag(store, image, "registry.test/two:1")
    await archives.export(store, [image], tmp_path / "out.tar", quiet)
    await listing.remove(store, image)
    assert await store.size(image.target.digest)
    await listing.remove(store, other)
    assert await store.size(image.target.digest) is None
    names = [one.name for one in await store.images()]
    assert not [name for name in names if "registry.test/one" in name or "registry.test/two" in name]
    with (tmp_path / "out.tar").open("rb") as file:
        await import_archive(store, file, Wish(Platform.here()), Limits(), quiet)
    assert await store.image("registry.test/one:1")


async def test_only_images_that_nobody_needs_are_collected(node: TestedNode, store: Containerd) -> None:
    """Last: it takes whatever the tests before it have left."""
    for name, labels in (("kept", {PINNED: "pinned"}), ("named", {}), ("spare", {})):
        source = io.BytesIO(simple(f"registry.test/{name}:1", files={name: name.encode()}))
        await import_archive(store, source, Wish(Platform.here(), labels=labels), Limits(), quiet)
    await node.create(pod("user", "sleep", "1000"))
    await node.wait("user", lambda found: found["status"]["phase"] == "Running")
    left: list[Collection[str]] = []
    collector = ImageCollector(
        node.cri, RealClock(), msgspec.structs.replace(node.settings, image_minimum_gc_age=0),
        named=lambda: ["registry.test/named:1"], pinned=partial(pinned, store), tell=quiet, kept=left.append,
        disk=lambda _: Disk(100, 10),
    )  # fmt: skip
    async with asyncio.timeout(20):
        # The CRI learns of images a moment after they have their names.
        while not await store.image("registry.test/spare:1") or "registry.test/spare:1" not in {
            name for one in await node.cri.present_images() for name in one.names
        }:
            await asyncio.sleep(0.05)
    assert await collector.collect_images(all_unused=True) > 0
    names = {one.name for one in await store.images()}
    assert {"registry.test/kept:1", "registry.test/named:1", "localhost/busybox:1", "localhost/pause:1"} <= names
    assert "registry.test/spare:1" not in names
    assert left and all(one.startswith("sha256:") for one in left[-1])
    await node.delete("user", grace=0)
