"""Images come from registries and go there whole, though connections break and answers lie."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.images.archives import Image, digest, index, member, tar
from tests.images.fake_registry import FakeRegistry
from tests.images.memory_store import MemoryStore

from kontinuum.foundation.clock import RealClock
from kontinuum.images.archives import Wish
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import BadImage, NotAnImage, Platform
from kontinuum.images.references import parse
from kontinuum.images.registry import challenge, credentials, hosts, transfer
from kontinuum.images.registry.errors import AccessDenied, NotInRegistry, RegistryFailed, RegistryRefused
from kontinuum.images.registry.transfer import Registry, pull, push
from kontinuum.images.store import StoredImage

WISH = Wish(Platform("linux", "amd64"))
BIG = random.Random(1).randbytes(300_000)


class HastyClock(RealClock):
    """Waiting between attempts is not what these tests are about."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.001))


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry().serving() as running:
        running.add("app", "1", Image(tar(member("a", BIG)), tar(member("b", b"x" * 5000)), compression=""))
        yield running


async def bring(store: MemoryStore, registry: FakeRegistry, name: str = "app:1", **wish: Any) -> StoredImage:
    wanted = Wish(Platform("linux", "amd64"), **wish)
    reached = Registry(HastyClock())
    return await pull(store, parse(f"{registry.host}/{name}"), reached, wanted, Limits(), lambda *_: None)


def layer(registry: FakeRegistry) -> str:
    return max(registry.blobs, key=lambda one: len(registry.blobs[one]))


async def test_an_image_comes_with_everything_and_is_checked_and_unpacked(registry: FakeRegistry) -> None:
    store = MemoryStore()
    image = await bring(store, registry)
    assert store.named[f"{registry.host}/app:1"] == image or image.name in store.named
    assert len(store.content) == 4 and len(store.unpacked) == 2
    assert store.content_labels[layer(registry)][f"{transfer.SOURCE}{registry.host}"] == "app"
    before = len(registry.requests)
    await bring(store, registry)
    assert registry.requests[before:] == ["GET manifest"]  # everything else is here


async def test_a_blob_that_breaks_off_is_gone_on_with(registry: FakeRegistry) -> None:
    store = MemoryStore()
    registry.cut[layer(registry)] = 3
    await bring(store, registry)
    assert len(registry.ranges) == 3 and registry.ranges[-1] > "bytes=2"
    assert len(store.content) == 4


async def test_a_server_without_ranges_is_gone_on_with_too(registry: FakeRegistry) -> None:
    store = MemoryStore()
    registry.knows_ranges = False
    registry.cut[layer(registry)] = 2
    await bring(store, registry)
    assert len(store.content) == 4


async def test_half_a_blob_of_a_command_that_was_killed_is_not_fetched_again(registry: FakeRegistry) -> None:
    store = MemoryStore()
    store.ingests[f"layer-{layer(registry)}"] = bytearray(registry.blobs[layer(registry)][:200_000])
    await bring(store, registry)
    assert registry.ranges == ["bytes=200000-"]


async def test_half_a_blob_that_is_wrong_is_fetched_anew(registry: FakeRegistry) -> None:
    store = MemoryStore()
    store.ingests[f"layer-{layer(registry)}"] = bytearray(b"\0" * 200_000)
    await bring(store, registry)
    assert store.content[layer(registry)] == registry.blobs[layer(registry)]


async def test_what_a_registry_lies_about_never_gets_a_name(registry: FakeRegistry) -> None:
    store = MemoryStore()
    registry.lies[layer(registry)] = bytes(len(registry.blobs[layer(registry)]))
    with pytest.raises(RegistryFailed, match="something else came"):
        await bring(store, registry)
    assert not store.named and not store.content and not store.ingests


async def test_more_than_was_promised_is_not_taken(registry: FakeRegistry) -> None:
    store = MemoryStore()
    registry.lies[layer(registry)] = registry.blobs[layer(registry)] + b"x"
    with pytest.raises(RegistryRefused, match="more comes than"):
        await bring(store, registry)
    assert not store.named and not store.content


async def test_a_registry_that_is_unwell_is_asked_again(registry: FakeRegistry) -> None:
    store = MemoryStore()
    registry.fail.update({"GET manifest": 3, "GET blob": 4})
    await bring(store, registry)
    assert len(store.content) == 4


async def test_what_is_not_there_is_said_at_once(registry: FakeRegistry) -> None:
    with pytest.raises(NotInRegistry, match="MANIFEST_UNKNOWN: manifest unknown"):
        await bring(MemoryStore(), registry, "app:2")
    assert registry.requests == ["GET manifest"]


async def test_blobs_come_side_by_side_but_not_all(registry: FakeRegistry) -> None:
    registry.slow = 0.02
    registry.add("many", "1", Image(*(tar(member(str(number), b"x")) for number in range(9))))
    await bring(MemoryStore(), registry, "many:1")
    assert registry.most == 3


async def test_of_an_index_one_platform_comes_or_all(registry: FakeRegistry) -> None:
    images = [Image(tar(member(name, b"x")), platform=f"linux/{name}") for name in ("amd64", "arm64")]
    root, content = index(images)
    for one in images:
        registry.add("both", one.root["digest"], one)
    registry.manifests["both 1"] = registry.manifests[f"both {root['digest']}"] = (root["mediaType"], content)
    store = MemoryStore()
    await bring(store, registry, "both:1")
    assert len(store.content) == 4
    await bring(store, registry, "both:1", all_platforms=True)
    assert len(store.content) == 7
    other = FakeRegistry()
    async with other.serving():
        name = parse(f"{other.host}/copy:1")
        await push(store, store.named[f"{registry.host}/both:1"], name, Registry(HastyClock()), lambda *_: None)
        assert other.manifests["copy 1"] == (root["mediaType"], content)
    half = MemoryStore()
    await bring(half, registry, "both:1")
    before = len(registry.requests)
    with pytest.raises(BadImage, match="linux/arm64: this platform's image is not here"):
        name = parse(f"{registry.host}/half:1")
        await push(half, half.named[f"{registry.host}/both:1"], name, Registry(HastyClock()), lambda *_: None)
    assert len(registry.requests) == before


async def test_a_chart_is_refused_by_its_type(registry: FakeRegistry) -> None:
    config = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2}
    body = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    registry.manifests["chart 1"] = ("application/vnd.oci.image.manifest.v1+json", body)
    with pytest.raises(NotAnImage, match=r"artifact of type application/vnd\.cncf\.helm"):
        await bring(MemoryStore(), registry, "chart:1")


async def test_a_foreign_layer_comes_from_its_own_address(registry: FakeRegistry) -> None:
    content = tar(member("theirs", b"x"))
    registry.blobs[digest(content)] = content
    elsewhere = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": digest(content),
        "size": len(content), "urls": ["ftp://nowhere/x", f"http://{registry.host}/v2/other/blobs/{digest(content)}"],
    }  # fmt: skip
    image = Image(
        config={"rootfs": {"type": "layers", "diff_ids": [digest(content)]}}, manifest={"layers": [elsewhere]}
    )
    registry.add("foreign", "1", image)
    store = MemoryStore()
    pulled = await bring(store, registry, "foreign:1")
    assert digest(content) in store.content
    other = FakeRegistry()
    async with other.serving():
        await push(store, pulled, parse(f"{other.host}/f:1"), Registry(HastyClock()), lambda *_: None)
        assert digest(content) not in other.blobs  # its maker does not want that


async def test_pushing_sends_what_is_not_there_and_mounts_what_another_repository_has(registry: FakeRegistry) -> None:
    store = MemoryStore()
    image = await bring(store, registry)
    before = len(registry.requests)
    await push(store, image, parse(f"{registry.host}/app:2"), Registry(HastyClock()), lambda *_: None)
    assert set(registry.requests[before:]) == {"HEAD blob", "PUT manifest"}
    other = FakeRegistry()
    async with other.serving():
        target = parse(f"{other.host}/deep/copy:1")
        await push(store, image, target, Registry(HastyClock()), lambda *_: None)
        assert other.manifests["deep/copy 1"] == registry.manifests["app 1"]
        assert other.blobs == registry.blobs
        del other.blobs[layer(registry)]
        copy = MemoryStore()
        copy.content, copy.content_labels, copy.named = store.content, store.content_labels, store.named
        other.blobs |= {"": b""}
        await push(copy, image, target, Registry(HastyClock()), lambda *_: None)
        assert layer(registry) in other.blobs


@pytest.mark.parametrize("seed", range(6))
async def test_an_upload_goes_on_whatever_is_lost(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(transfer, "PIECE", 40_000)
    chance = random.Random(seed)
    store = MemoryStore()
    image = await bring(store, registry)
    other = FakeRegistry()
    async with other.serving():
        other.lose.update({"PATCH upload": chance.randrange(4), "PUT upload": chance.randrange(3)})
        other.fail.update({f"{one} upload": chance.randrange(3) for one in ("PATCH", "POST", "GET", "PUT")})
        await push(store, image, parse(f"{other.host}/copy:1"), Registry(HastyClock()), lambda *_: None)
        assert other.blobs == registry.blobs


def test_a_registrys_hosts_are_asked_in_containerds_order(tmp_path: Path) -> None:
    place = tmp_path / "registry.test:5000"
    place.mkdir()
    (place / "hosts.toml").write_text("""
server = "https://registry.test:5000"
[host."http://mirror.test"]
  capabilities = ["pull", "resolve"]
  header = {X-Team = ["a", "b"]}
[host."https://other.test/path/v2"]
  override_path = true
  skip_verify = true
  ca = "ca.pem"
  client = [["c.pem", "k.pem"]]
""")
    first, second, own = hosts.endpoints("registry.test:5000", tmp_path)
    assert (first.base, first.capabilities, first.headers) == (
        "http://mirror.test/v2", {"pull", "resolve"}, {"X-Team": "a, b"},
    )  # fmt: skip
    assert second.base == "https://other.test/path/v2" and second.skip_verify
    assert second.authorities == (place / "ca.pem",) and second.clients == ((place / "c.pem", place / "k.pem"),)
    assert own.base == "https://registry.test:5000/v2" and not own.skip_verify
    assert transfer.default_hosts("registry.test:5000", [first, second, own]) == [own]


@pytest.mark.parametrize(
    ("registry", "base"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"), ("r.test", "https://r.test/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"), ("localhost:5000", "http://localhost:5000/v2"),
        ("localhost.test", "https://localhost.test/v2"),
    ],
)  # fmt: skip
def test_without_a_file_a_registry_is_where_its_name_says(registry: str, base: str, tmp_path: Path) -> None:
    assert [one.base for one in hosts.endpoints(registry, tmp_path)] == [base]
    assert [one.base for one in hosts.endpoints(registry, None)] == [base]


@pytest.mark.parametrize("text", ["[", 'host = "x"', '[host."a"]\ncapabilities = ["fly"]', '[host."a"]\nca = 3'])
def test_a_hosts_file_that_cannot_be_meant_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default/hosts.toml").write_text(text)
    with pytest.raises(hosts.BadHosts, match=r"hosts\.toml"):
        hosts.endpoints("r.test", tmp_path)


async def test_a_mirror_is_asked_first_and_need_not_have_everything(registry: FakeRegistry, tmp_path: Path) -> None:
    mirror = FakeRegistry()
    async with mirror.serving():
        (tmp_path / "r.test").mkdir()
        (tmp_path / "r.test/hosts.toml").write_text(
            f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\n[host."http://127.0.0.1:1"]\n'
        )
        reached = Registry(HastyClock(), tmp_path)
        store = MemoryStore()
        mirror.blobs[layer(registry)] = registry.blobs[layer(registry)]
        await pull(store, parse("r.test/app:1"), reached, WISH, Limits(), lambda *_: None)
        assert len(store.content) == 4
        assert mirror.requests.count("GET blob") == 3 and registry.requests.count("GET blob") == 2


AUTHS = {
    "auths": {
        "r.test": {"auth": base64.b64encode(b"user:pass:word").decode()},
        "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
        "r.test/team": {"username": "team", "password": "p"},
        "token.test": {"auth": "", "identitytoken": "t"},
    }
}


async def test_credentials_are_those_of_docker_login(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    assert await credentials.stored("r.test", file) is None
    file.write_text(json.dumps(AUTHS))
    assert await credentials.stored("r.test", file) == credentials.Credentials("user", "pass:word")
    assert await credentials.stored("docker.io", file) == credentials.Credentials("hub", "p")
    assert await credentials.stored("token.test", file) == credentials.Credentials(identity_token="t")
    assert await credentials.stored("other.test", file) is None
    assert credentials.matching(AUTHS["auths"], "team/app", "r.test") == credentials.Credentials("team", "p")
    file.write_text("{")
    with pytest.raises(credentials.BadCredentials, match=r"config\.json"):
        await credentials.stored("r.test", file)


async def test_credentials_may_come_from_a_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-drawer"
    helper.write_text(
        "#!/bin/sh\nread key\n[ $key = r.test ] || { echo credentials not found; exit 1; }\n"
        'echo \'{"Username": "u", "Secret": "s"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"credsStore": "drawer"}))
    assert await credentials.stored("r.test", file) == credentials.Credentials("u", "s")
    assert await credentials.stored("other.test", file) is None


def test_a_challenge_is_read_as_it_is_written() -> None:
    header = 'Bearer realm="https://a.test/t",service="r, \\"x\\"",scope="repository:a/b:pull,push"'
    found = challenge.parse(['Basic realm="x"', header])
    assert found == challenge.Challenge("bearer", "https://a.test/t", 'r, "x"', "repository:a/b:pull,push")
    assert challenge.scopes(found, ["repository:c:pull"]) == ("repository:a/b:pull,push", "repository:c:pull")
    assert challenge.parse(['Basic realm="x"']) == challenge.Challenge("basic", "x")
    assert challenge.parse(["Negotiate", 'Bearer error="x"']) is None


@given(st.text())
def test_no_challenge_makes_us_stumble(text: str) -> None:
    challenge.parse([text])


async def test_a_password_is_not_sent_unencrypted_where_the_registry_is_not() -> None:
    from kontinuum.images.registry.client import Repository

    place = hosts.Endpoint("https://r.test/v2")
    async with Repository(place, "app", credentials.Credentials("u", "p")) as repository:
        with pytest.raises(AccessDenied, match="without encryption"):
            await repository._token(challenge.Challenge("bearer", "http://evil.test/token"), ())
