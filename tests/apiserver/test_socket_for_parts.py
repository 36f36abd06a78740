"""This machine's own parts speak to the server over a socket: who they are, who else may connect, and what they may."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.apiserver.serving import Api, Certificates, configmap, serving

from kontinuum.api.kubernetes.resources import CONFIGMAPS, NODES, SELFSUBJECTREVIEWS, TOKENREVIEWS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import connections
from kontinuum.apiserver.audit.settings import AuditSettings
from kontinuum.client.connect import connect
from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.foundation.sockets import dial_unix
from kontinuum.store.memory.store import MemoryStore

TOKENS = 'r00t,kubernetes-admin,,system:masters\nplaces,system:kube-scheduler,,\nruns,system:node:a,,"system:nodes"\n'
NOBODY = 65534


@dataclass
class Beside:
    """A server that listens on a socket too."""

    api: Api
    socket: Path

    @contextlib.asynccontextmanager
    async def client(self, token: str = "") -> AsyncIterator[Client]:
        client = connect(Connection(self.api.address, socket=self.socket, token=token))
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
async def beside(certificates: Certificates, tmp_path: Path) -> AsyncIterator[Beside]:
    async with serving_beside(certificates, tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def serving_beside(certificates: Certificates, directory: Path, **settings: Any) -> AsyncIterator[Beside]:
    socket, tokens = directory / "api.sock", directory / "tokens.csv"
    tokens.write_text(TOKENS)
    async with serving(MemoryStore(), certificates, socket=socket, socket_tokens=tokens, **settings) as api:
        yield Beside(api, socket)


async def whoami(client: Client) -> Object:
    answer = await client.create(SELFSUBJECTREVIEWS, {"metadata": {}})
    user: Object = answer["status"]["userInfo"]
    return user


@pytest.mark.parametrize(
    ("token", "name", "groups"),
    [
        ("r00t", "kubernetes-admin", ["system:masters", "system:authenticated"]),
        ("places", "system:kube-scheduler", ["system:authenticated"]),
        ("runs", "system:node:a", ["system:nodes", "system:authenticated"]),
    ],
)
async def test_a_part_is_who_its_token_says(beside: Beside, token: str, name: str, groups: list[str]) -> None:
    async with beside.client(token) as client:
        assert await whoami(client) == {"username": name, "groups": groups}


@pytest.mark.parametrize("token", ["", "guessed", "system:kube-scheduler"])
async def test_who_can_open_the_socket_is_nobody_without_a_token(beside: Beside, token: str) -> None:
    """Not even root, as whom these tests run, and whom the socket lets in."""
    async with beside.client(token) as client:
        with pytest.raises(ApiError) as refused:
            await client.list(CONFIGMAPS)
        assert refused.value.code == 401


async def test_a_parts_token_is_good_nowhere_else(beside: Beside, certificates: Certificates) -> None:
    client = connect(Connection(beside.api.address, certificates.authority, token="r00t"))
    try:
        with pytest.raises(ApiError) as refused:
            await client.list(CONFIGMAPS)
        assert refused.value.code == 401
    finally:
        await client.close()
    review = {"metadata": {}, "spec": {"token": "r00t"}}
    async with beside.client("r00t") as client:
        assert not (await client.create(TOKENREVIEWS, review))["status"].get("authenticated")


async def test_what_a_part_may_do_is_what_its_user_may(beside: Beside) -> None:
    async with beside.client("places") as client:
        assert (await client.list(NODES)).items == []
        with pytest.raises(ApiError) as refused:
            await client.create(CONFIGMAPS, configmap("c"), namespace="default")
        assert refused.value.code == 403
        assert "system:kube-scheduler" in refused.value.message


async def test_headers_of_a_front_proxy_make_nobody_of_a_part(beside: Beside) -> None:
    line = await dial_unix(beside.socket)
    reader, writer = await asyncio.open_unix_connection(sock=line)
    said = b"X-Remote-User: root\r\nX-Remote-Group: system:masters\r\n"
    writer.write(b"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\n" + said + b"\r\n")
    assert b" 401 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    await writer.wait_closed()


async def test_the_audit_log_names_the_part_and_this_machine(certificates: Certificates, tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    rules = [{"level": "Metadata"}]
    policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
    audit = AuditSettings(policy=policy, log=log)
    async with (
        serving_beside(certificates, tmp_path, audit=audit) as beside,
        beside.client("places") as client,
    ):
        await client.list(NODES)
        async with asyncio.timeout(60):
            while not (found := [one for one in _events(log) if one["user"]["username"] == "system:kube-scheduler"]):
                await asyncio.sleep(0.02)
    assert {(one["verb"], *one["sourceIPs"]) for one in found} == {("list", "127.0.0.1")}


def _events(log: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in log.read_bytes().splitlines()] if log.exists() else []


async def test_the_socket_is_its_owners_alone(beside: Beside) -> None:
    assert beside.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_another_user_cannot_connect(beside: Beside) -> None:
    beside.socket.parent.chmod(0o711)  # It is to be the socket itself that refuses.
    # From within the directory, since its own may be closed to others as well.
    script = (
        "import os, socket, sys\n"
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setresgid(*3 * [65534]); os.setresuid(*3 * [65534])\n"
        "socket.socket(socket.AF_UNIX).connect('api.sock')"
    )
    asked = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", script, str(beside.socket.parent), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asked.communicate()
    assert asked.returncode != 0
    assert b"PermissionError" in said


async def test_another_user_is_cut_off_whatever_the_sockets_mode(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "user_of_peer", lambda line: NOBODY)
    async with beside.client("r00t") as client:
        with pytest.raises(Unreachable):
            await client.list(NODES)


async def test_only_root_and_the_servers_own_user_may_be_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [connections.may_be_a_part(user) for user in (0, 1000, 1001, NOBODY)] == [True, True, False, False]


async def test_a_server_that_died_leaves_a_socket_that_the_next_one_replaces(
    certificates: Certificates, tmp_path: Path
) -> None:
    for _ in range(2):
        async with serving_beside(certificates, tmp_path) as beside, beside.client("runs") as client:
            assert (await whoami(client))["username"] == "system:node:a"
        assert beside.socket.exists()


async def test_a_watch_tells_and_a_large_answer_comes_whole(beside: Beside) -> None:
    async with beside.client("r00t") as client:
        made = await client.create(CONFIGMAPS, configmap("large", text="x" * 500_000), namespace="default")
        assert (await client.get(CONFIGMAPS, "large", namespace="default"))["data"] == made["data"]
        watch = client.watch(CONFIGMAPS, resource_version=made["metadata"]["resourceVersion"])
        async with contextlib.aclosing(watch), asyncio.timeout(60):
            await client.create(CONFIGMAPS, configmap("next"), namespace="default")
            assert (await anext(watch)).object["metadata"]["name"] == "next"
