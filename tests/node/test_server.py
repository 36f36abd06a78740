"""The node's server refuses in sentences, the same with and without an upgrade: the API server asks again for them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import pytest
from tests.node.fake_runtime import FakeRuntime

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.channels import PROTOCOLS, REFUSAL_HEADER
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.node.observed import Observed
from kontinuum.node.server import NodeServer
from kontinuum.node.settings import NodeSettings

WAITING_POD: Object = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c"}]}}
COMMAND = "?command=id&stdout=true"


@dataclass
class Known:
    """A pod whose container does not run at the moment."""

    pod: Object = field(default_factory=lambda: WAITING_POD)
    observed: Observed = field(default_factory=Observed)


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    clock = RealClock()
    authority = Authority.ensure(tmp_path / "pki", clock)
    own = authority.ensure_server("node-server", common_name="node", hosts=["127.0.0.1"])
    api_server = authority.ensure_client("api-server", user="kube-apiserver-kubelet-client")
    settings = NodeSettings(
        listen="127.0.0.1:0", certificate=str(own.certificate), key=str(own.key), client_ca=str(authority.certificate)
    )
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(api_server.certificate, api_server.key)
    pods = {("default", "p"): Known()}
    async with (
        NodeServer(settings, FakeRuntime(clock), clock, find_pod=lambda *key: pods.get(key)) as server,
        aiohttp.ClientSession(
            f"https://127.0.0.1:{server.port}", connector=aiohttp.TCPConnector(ssl=context)
        ) as session,
    ):
        yield session


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/exec/default/p/c", 'container not found ("c")'),
        ("/attach/default/p/c", 'container not found ("c")'),
        ("/exec/default/p/other", "container other is not valid for pod p"),
        ("/exec/default/absent/c", 'pod "absent" not found in namespace "default"'),
    ],
)
async def test_why_there_is_no_stream_can_be_asked_without_one(
    session: aiohttp.ClientSession, path: str, words: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(path + COMMAND, protocols=PROTOCOLS)
    async with session.get(path + COMMAND) as answer:
        assert (answer.status, await answer.text()) == (refused.value.status, words) == (404, words)
    assert refused.value.headers is not None and unquote(refused.value.headers[REFUSAL_HEADER]) == words
