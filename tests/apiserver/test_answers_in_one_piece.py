"""One object is answered in one piece where that can be; the bytes are those of any other answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, client_tls, configmap, serving
from tests.apiserver.test_slow_clients_are_cut_off import Streams, connected, everything

from kontinuum.store.memory.store import MemoryStore

PATH = f"{CONFIGMAPS}/c".encode()


@pytest.fixture
async def streams(certificates: Certificates) -> AsyncIterator[Streams]:
    async with serving(MemoryStore(), certificates) as api:
        await api.create(CONFIGMAPS, configmap("c", key="value"))
        async with connected(api, client_tls(certificates)) as streams:
            yield streams


def asked(*, method: bytes = b"GET", version: bytes = b"1.1", headers: bytes = b"") -> bytes:
    return b"%b %b HTTP/%b\r\nHost: localhost\r\n%b\r\n" % (method, PATH, version, headers)


async def read(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """The first line, the headers and the body of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
    headers: dict[bytes, bytes] = dict(line.split(b": ", 1) for line in lines)  # type: ignore[misc]
    return first, headers, await reader.readexactly(int(headers[b"Content-Length"]))


async def test_its_headers_are_those_of_every_answer(streams: Streams) -> None:
    reader, writer = streams
    writer.write(asked(headers=b"Audit-ID: mine\r\n") + asked(headers=b"Accept: application/yaml\r\n"))
    first, headers, body = await read(reader)
    assert first == b"HTTP/1.1 200 OK"
    assert headers[b"Audit-Id"] == b"mine" and headers[b"Content-Type"] == b"application/json"
    assert headers[b"Cache-Control"] == b"no-cache, private"
    assert orjson.loads(body)["data"] == {"key": "value"}
    # YAML takes the other way.
    other = (await read(reader))[1]
    assert headers.keys() == other.keys() - {b"Server"}
    for uid in (b"X-Kubernetes-PF-FlowSchema-UID", b"X-Kubernetes-PF-PriorityLevel-UID"):
        assert headers[uid] == other[uid] != b""


async def test_requests_that_come_together_are_answered_in_order(streams: Streams) -> None:
    reader, writer = streams
    names = [b"a%d" % number for number in range(20)]
    writer.write(b"".join(asked(headers=b"Audit-ID: %b\r\n" % name) for name in names))
    assert [(await read(reader))[1][b"Audit-Id"] for _ in names] == names


@pytest.mark.parametrize(
    "request_", [asked(version=b"1.0"), asked(headers=b"Connection: close\r\n"), asked(method=b"HEAD", version=b"1.0")]
)
async def test_a_connection_that_is_to_end_ends(streams: Streams, request_: bytes) -> None:
    reader, writer = streams
    writer.write(request_)
    head, _, body = (await everything(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.") and b" 200 OK" in head
    assert bool(body) == (not request_.startswith(b"HEAD"))


async def test_a_head_has_no_body(streams: Streams) -> None:
    reader, writer = streams
    writer.write(asked(method=b"HEAD") + asked())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert orjson.loads((await read(reader))[2])["data"] == {"key": "value"}


async def test_an_audit_id_writes_no_headers(streams: Streams) -> None:
    reader, writer = streams
    for sent in (b"caf\xc3\xa9", b"a\tb", b"\xff\xfe"):
        writer.write(asked(headers=b"Audit-ID: %b\r\n" % sent))
        first, headers, _ = await read(reader)
        assert first.startswith(b"HTTP/1.1 ") and b"Content-Type" in headers
        if headers.get(b"Connection") == b"close":
            break


async def test_created_objects_and_refusals_say_what_they_are(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates) as api:
        assert isinstance(api, Api)
        assert (await api.create(CONFIGMAPS, configmap("n"))).code == 201
        assert (await api.create(CONFIGMAPS, configmap("n"))).code == 409
        indented = await api.get(f"{CONFIGMAPS}/n?pretty=true")
        assert indented.code == 200 and indented.body["metadata"]["name"] == "n"
