"""The way to containerd: a busy one is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from kontinuum.api.cri.messages import CALLS, NUMBERS
from kontinuum.node.cri import CriClient
from kontinuum.node.observed import CONTAINER_NAME, Sandbox, User
from kontinuum.node.port import Features, RuntimeFailed


async def test_a_runtime_that_is_slow_to_greet_is_not_taken_for_one_that_is_away(tmp_path: Path) -> None:
    """As containerd is where every processor is busy: it accepts a call, and says no word for a while."""
    server = grpc.aio.server()
    server.add_insecure_port(f"unix://{tmp_path / 'busy'}")
    await server.start()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Longer than grpc waits at least, whatever it is told (0.1 s).
        await asyncio.sleep(1.0)
        theirs, ours = await asyncio.open_unix_connection(tmp_path / "busy")
        await asyncio.gather(pour(reader, ours), pour(theirs, writer))

    async with await asyncio.start_unix_server(relay, tmp_path / "socket"), CriClient(tmp_path / "socket") as client:
        with pytest.raises(RuntimeFailed, match="Method not found"):
            await client.version()
    await server.stop(None)


@contextlib.asynccontextmanager
async def answering(
    socket: Path, answers: dict[str, dict[str, Any]], *, undivided: Collection[str] = ()
) -> AsyncIterator[CriClient]:
    """A client of a runtime that answers calls, by their names, with these fields."""
    handlers = {
        CALLS[name].path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
            lambda request, context, name=name: CALLS[name].response(**answers[name]),
            request_deserializer=CALLS[name].request.FromString,
            response_serializer=CALLS[name].response.SerializeToString,
        )
        for name in answers
    }
    server = grpc.aio.server()
    service = CALLS["Status"].path.split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"unix://{socket}")
    await server.start()
    async with CriClient(socket, undivided=undivided) as client:
        yield client
    await server.stop(None)


CONDITIONS = {"conditions": [{"type": "RuntimeReady", "status": True}]}


async def test_a_runtime_before_containerd_2_tells_of_no_features(tmp_path: Path) -> None:
    async with answering(tmp_path / "socket", {"Status": {"status": CONDITIONS}}) as client:
        assert await client.features() == Features()


async def test_what_a_runtime_like_containerd_2_can_do_is_told_by_its_status(tmp_path: Path) -> None:
    able = {"recursive_read_only_mounts": True, "user_namespaces": True}
    # As 2.1 answers, but for the handler between: it names all that it knows, and of some says nothing.
    handlers = [{"features": able}, {"name": "container", "features": able}, {"name": "microvm"},
                {"name": "other", "features": {"recursive_read_only_mounts": True}}]  # fmt: skip
    status = {
        "status": CONDITIONS,
        "runtime_handlers": handlers,
        "features": {"supplemental_groups_policy": True},
    }
    async with answering(tmp_path / "socket", {"Status": status}) as client:
        assert await client.features() == Features(
            user_namespaces=frozenset({"", "container"}),
            recursive_read_only_mounts=frozenset({"", "container", "other"}),
            supplemental_groups_policy=True,
        )


async def test_a_container_is_known_with_its_user_and_what_it_cannot_write_to(tmp_path: Path) -> None:
    mounts = [{"container_path": "/a", "readonly": True, "recursive_read_only": True}, {"container_path": "/b"}]
    seen = {"id": "c", "state": NUMBERS["CONTAINER_RUNNING"], "mounts": mounts}
    user = {"linux": {"uid": 1000, "gid": 2000, "supplemental_groups": [2000, 5000]}}
    answers = {
        "ListPodSandbox": {},
        "ListContainers": {"containers": [{"id": "c"}]},
        "ContainerStatus": {"status": {**seen, "user": user}},
    }
    async with answering(tmp_path / "socket", answers) as client:
        (found,) = (await client.observe("uid")).containers
        assert (found.user, found.only_read_below) == (User(1000, 2000, (2000, 5000)), {"/a"})
        answers["ContainerStatus"]["status"] = seen
        (found,) = (await client.observe("uid")).containers
        assert found.user is None


async def test_containers_of_which_only_the_sum_is_known_use_an_equal_part_of_it(tmp_path: Path) -> None:
    def used(name: str, **memory: Any) -> dict[str, Any]:
        return {"attributes": {"id": name, "labels": {CONTAINER_NAME: name}}, **memory}

    memory = {"memory": {"working_set_bytes": {"value": 8 << 20}}}
    answers = {"ListContainerStats": {"stats": [used("a", **memory), used("b", **memory), used("just-begun")]}}
    async with answering(tmp_path / "socket", answers, undivided=["sandbox"]) as client:
        for handler, part in (("container", 8 << 20), ("sandbox", 4 << 20)):
            sandbox = Sandbox("s", "uid", "default", "p", 0, is_ready=True, created_at=0, handler=handler)
            assert await client.memory(sandbox) == {"a": part, "b": part}


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
