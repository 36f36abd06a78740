"""What is configured to be encrypted is never stored in the clear, and is read with any of the keys that there are."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, configmap, serving
from tests.store.etcd import Cluster, etcd

from kontinuum.apiserver.encryption import encryption
from kontinuum.apiserver.encryption.ciphers import AesGcm, Ciphers, Identity, Undecryptable
from kontinuum.apiserver.encryption.configuration import BadConfiguration, configuration_of, read_configuration
from kontinuum.apiserver.encryption.store import EncryptedStore
from kontinuum.foundation.clock import RealClock
from kontinuum.store.etcd.store import EtcdStore
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Compacted
from kontinuum.store.sqlite.store import SqliteStore

SECRETS = "/api/v1/namespaces/default/secrets"
KEY = "/registry/core/secrets/default/"
PLAIN = "the-cat-is-in-the-bag"
ONE, TWO = os.urandom(32), os.urandom(16)


def aesgcm(*keys: tuple[str, bytes]) -> dict[str, Any]:
    return {"aesgcm": {"keys": [{"name": name, "secret": base64.b64encode(key).decode()} for name, key in keys]}}


def configured(*providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": list(providers)}],
    }  # fmt: skip


def written(directory: Path, *providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> Path:
    file = directory / "encryption.yaml"
    file.write_text(yaml.safe_dump(configured(*providers, resources=resources)))
    # Written twice within a clock tick, a file would seem unchanged.
    os.utime(file, ns=(time.time_ns(), time.time_ns()))
    return file


def secret(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "stringData": {"password": PLAIN}}


def hidden(name: str = PLAIN) -> bytes:
    return base64.b64encode(name.encode())


async def change_everything(api: Api) -> None:
    """Every way in which a Secret gets into the store."""
    made = await api.create(SECRETS, secret("made"))
    assert made.code == 201 and made.body["data"]["password"] == hidden().decode()
    await api.update(f"{SECRETS}/made", {**made.body, "data": {**made.body["data"], "more": hidden().decode()}})
    await api.patch(f"{SECRETS}/made", {"stringData": {"third": PLAIN}})
    applied = {"apiVersion": "v1", "kind": "Secret", **secret("applied")}
    assert (await api.patch(f"{SECRETS}/applied?fieldManager=me", applied, "apply")).code == 201
    await api.create(SECRETS, secret("gone"))
    await api.delete(f"{SECRETS}/gone")
    await api.create(CONFIGMAPS, configmap("open", text="nothing-to-hide"))


async def test_sqlite_never_holds_a_secret_in_the_clear(certificates: Certificates, tmp_path: Path) -> None:
    file = written(tmp_path, aesgcm(("one", ONE)))
    store = await SqliteStore.open(tmp_path / "store.db")
    async with serving(store, certificates, encryption=file) as api:
        async with api.watch(SECRETS, "resourceVersion=1") as watch:
            await change_everything(api)
            event = await watch.next()
            assert event["object"]["data"]["password"] == hidden().decode()
        listed = (await api.get(SECRETS)).body["items"]
        assert {one["metadata"]["name"] for one in listed} == {"made", "applied"}
        everything = b"".join(one.read_bytes() for one in tmp_path.glob("store.db*"))
    await store.close()
    everything += b"".join(one.read_bytes() for one in tmp_path.glob("store.db*"))
    assert b"nothing-to-hide" in everything and b"k8s:enc:aesgcm:v1:one:" in everything
    assert hidden() not in everything and PLAIN.encode() not in everything
    again = await SqliteStore.open(tmp_path / "store.db")
    async with serving(again, certificates, encryption=file) as api:
        assert (await api.get(f"{SECRETS}/made")).body["data"]["third"] == hidden().decode()
    await again.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with etcd() as one:
        yield one


async def test_etcd_never_holds_a_secret_in_the_clear(
    certificates: Certificates, tmp_path: Path, cluster: Cluster
) -> None:
    store = await EtcdStore.open(cluster.access())
    async with serving(store, certificates, encryption=written(tmp_path, aesgcm(("one", ONE)))) as api:
        await change_everything(api)
        assert (await api.get(f"{SECRETS}/made")).body["data"]["third"] == hidden().decode()
    await store.close()
    files = [one for one in cluster.directory.rglob("*") if one.is_file()]
    everything = b"".join(one.read_bytes() for one in files)
    assert b"nothing-to-hide" in everything and b"k8s:enc:aesgcm:v1:one:" in everything
    assert hidden() not in everything and PLAIN.encode() not in everything


async def stored(store: MemoryStore, name: str) -> bytes:
    record = await store.get(KEY + name)
    assert record is not None
    return record.value


async def test_replacing_everything_encrypts_what_was_stored_before_and_rotates_keys(
    certificates: Certificates, tmp_path: Path
) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await api.create(SECRETS, secret("s"))
    steps = (
        ((aesgcm(("one", ONE)), {"identity": {}}), b"k8s:enc:aesgcm:v1:one:"),
        ((aesgcm(("two", TWO), ("one", ONE)),), b"k8s:enc:aesgcm:v1:two:"),
        (({"identity": {}}, aesgcm(("two", TWO))), b'{"kind":"Secret"'),
    )
    for providers, prefix in steps:
        async with serving(store, certificates, encryption=written(tmp_path, *providers)) as api:
            before = await stored(store, "s")
            assert not before.startswith(prefix)
            found = (await api.get(f"{SECRETS}/s")).body
            assert found["data"]["password"] == hidden().decode()
            assert (await api.update(f"{SECRETS}/s", found)).code == 200
            after = await stored(store, "s")
            assert after.startswith(prefix)
            again = (await api.get(f"{SECRETS}/s")).body
            assert again["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
            assert (await api.update(f"{SECRETS}/s", again)).body == again


async def test_changed_keys_are_taken_up_unless_something_could_not_be_read(tmp_path: Path) -> None:
    inner = MemoryStore()
    file = written(tmp_path, aesgcm(("one", ONE)))
    store = encryption.wrapped(inner, file)
    assert isinstance(store, EncryptedStore)
    await store.create(KEY + "a", b"{}")
    following = asyncio.create_task(encryption.follow_configuration(store, file, _Hurried()))
    try:
        await asyncio.sleep(0.05)
        written(tmp_path, aesgcm(("two", TWO)))
        await asyncio.sleep(0.1)
        assert not await store.is_stale(KEY + "a")
        written(tmp_path, aesgcm(("two", TWO), ("one", ONE)))
        async with asyncio.timeout(60):
            while not await store.is_stale(KEY + "a"):
                await asyncio.sleep(0.01)
        file.write_text("nonsense")
        await asyncio.sleep(0.05)
        assert (await store.get(KEY + "a")).value == b"{}"  # type: ignore[union-attr]
    finally:
        following.cancel()


class _Hurried(RealClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


async def test_a_server_without_the_keys_does_not_start(certificates: Certificates, tmp_path: Path) -> None:
    store = MemoryStore()
    async with serving(store, certificates, encryption=written(tmp_path, aesgcm(("one", ONE)))) as api:
        await api.create(SECRETS, secret("s"))
    with pytest.raises(Undecryptable, match="no matching prefix found"):
        async with serving(store, certificates, encryption=written(tmp_path, aesgcm(("two", TWO)))):
            pass
    with pytest.raises(Undecryptable, match=r"set server\.encryption"):
        async with serving(store, certificates):
            pass


async def test_history_under_a_key_that_is_gone_is_forgotten_history() -> None:
    inner = MemoryStore()
    old = EncryptedStore(inner, configuration_of(configured(aesgcm(("one", ONE)))))
    made = await old.create(KEY + "a", b"{}")
    both = EncryptedStore(inner, configuration_of(configured(aesgcm(("two", TWO), ("one", ONE)))))
    await both.update(KEY + "a", b"{}", expected=made.revision)
    new = EncryptedStore(inner, configuration_of(configured(aesgcm(("two", TWO)))))
    assert (await new.list(KEY)).records[0].value == b"{}"
    with pytest.raises(Compacted):
        await new.list(KEY, revision=made.revision)
    with pytest.raises(Compacted):
        async for _ in new.watch("/registry/", after=0):
            pass


async def test_what_is_not_configured_any_more_is_still_read() -> None:
    inner = MemoryStore()
    before = EncryptedStore(inner, configuration_of(configured(aesgcm(("one", ONE)), resources=("secrets", "pods"))))
    await before.create("/registry/core/pods/default/p", b"{}")
    after = EncryptedStore(inner, configuration_of(configured(aesgcm(("one", ONE)))))
    assert (await after.get("/registry/core/pods/default/p")).value == b"{}"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pattern", "group", "plural", "matches"),
    [
        ("secrets", "", "secrets", True), ("secrets", "apps", "secrets", False),
        ("deployments.apps", "apps", "deployments", True), ("*.apps", "apps", "deployments", True),
        ("*.apps", "", "pods", False), ("*.", "", "pods", True), ("*.", "apps", "deployments", False),
        ("*.*", "apps", "deployments", True), ("gadgets.example.com", "example.com", "gadgets", True),
    ],
)  # fmt: skip
def test_resources_are_named_as_in_kubernetes(pattern: str, group: str, plural: str, matches: bool) -> None:
    configuration = configuration_of(configured(aesgcm(("one", ONE)), resources=(pattern,)))
    assert (configuration.ciphers_of(group, plural) is not None) == matches


@given(st.binary(max_size=2000), st.text(max_size=50))
def test_what_is_encrypted_is_read_back_and_only_under_its_own_key(value: bytes, key: str) -> None:
    cipher = AesGcm("one", ONE)
    sealed = cipher.encrypt(key, value)
    assert cipher.decrypt(key, sealed) == value and cipher.encrypt(key, value) != sealed
    with pytest.raises(Undecryptable):
        cipher.decrypt(f"{key}x", sealed)
    with pytest.raises(Undecryptable):
        cipher.decrypt(key, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(Undecryptable):
        AesGcm("one", TWO).decrypt(key, sealed)


@given(st.binary(max_size=200))
def test_what_is_no_ciphertext_is_refused_and_nothing_else_happens(stored: bytes) -> None:
    ciphers = Ciphers([AesGcm("one", ONE), Identity()])
    try:
        assert ciphers.decrypt("k", stored) == stored
    except Undecryptable:
        assert stored.startswith(b"k8s:enc:")
    with pytest.raises(Undecryptable):
        ciphers.decrypt("k", b"k8s:enc:aesgcm:v1:one:" + stored)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "expected an EncryptionConfiguration"), ({"kind": "X"}, "expected an EncryptionConfiguration"),
        (configured(), "resources[0].providers: Required value"),
        (configured({"identity": {}}, resources=()), "resources[0].resources: Required value"),
        (configured({"identity": {}}, resources=("*",)), "use '*.' for the core group"),
        (configured({"identity": {}}, resources=("Secrets",)), "in small letters"),
        (configured({"identity": {}}, resources=("pods.*",)), "a group may be '*' only in '*.*'"),
        (configured({"secretbox": {}}), "secretbox: not supported: use aesgcm"),
        (configured({"kms": {}}), "kms: not supported"), (configured({"rot13": {}}), "there is no such provider"),
        (configured({"identity": {}, "aesgcm": {}}), "expected exactly one provider"),
        (configured({"aesgcm": {}}), "keys: Required value"), (configured(aesgcm(("a", b"short"))), "16, 24 or 32"),
        (configured(aesgcm(("a:b", ONE))), "expected a name without colons"),
        (configured(aesgcm(("a", ONE), ("a", TWO))), "the same name"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_is_refused(document: Any, problem: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        configuration_of(document)
    assert problem in str(refused.value)


def test_a_refusal_never_shows_a_key(tmp_path: Path) -> None:
    file = written(tmp_path, aesgcm(("a", b"almost-a-key")))
    with pytest.raises(BadConfiguration) as refused:
        read_configuration(file)
    assert str(file) in str(refused.value)
    assert base64.b64encode(b"almost-a-key").decode() not in str(refused.value)
