"""Logs, exec and attach as the API server asks the node for them, with a real containerd below."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.machines.node import TestedNode, running_node, sh

pytestmark = pytest.mark.machine

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


class Ended:
    """A remote command's end: what came out on each channel."""

    def __init__(self) -> None:
        self.channels = dict.fromkeys(range(5), b"")

    @property
    def stdout(self) -> str:
        return self.channels[1].decode()

    @property
    def stderr(self) -> str:
        return self.channels[2].decode()

    @property
    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.channels[3])
        return found


async def remote(
    node: TestedNode, path: str, query: list[tuple[str, str]], sent: list[bytes], *, protocol: str = V5
) -> Ended:
    ended = Ended()
    async with (
        asyncio.timeout(20),
        node.session() as session,
        session.ws_connect(path, params=query, protocols=(protocol,), max_msg_size=0) as socket,
    ):
        assert socket.protocol == protocol
        for message in sent:
            await socket.send_bytes(message)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                ended.channels[message.data[0]] += message.data[1:]
    return ended


def command(*words: str) -> list[tuple[str, str]]:
    return [("command", word) for word in words]


OUTPUT = [("stdout", "true"), ("stderr", "true")]
STDIN = [("stdin", "true")]
TTY = [("tty", "true")]


@pytest.fixture
async def node() -> AsyncIterator[TestedNode]:
    async with running_node() as node:
        yield node


async def test_exec_carries_output_exit_codes_input_and_terminals(node: TestedNode) -> None:
    await node.run(sh("p", "sleep 600"))
    exec_path = "/exec/default/p/c"

    ended = await remote(node, exec_path, [*command("sh", "-c", "echo out; echo err >&2; exit 7"), *OUTPUT], [])
    assert (ended.stdout, ended.stderr) == ("out\n", "err\n")
    assert ended.status["reason"] == "NonZeroExitCode"
    assert ended.status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]  # type: ignore[index]

    ended = await remote(node, exec_path, [*command("true"), *OUTPUT], [], protocol=V4)
    assert ended.status["status"] == "Success"

    # Half a close: cat ends because its input has ended, although we still listen.
    ended = await remote(node, exec_path, [*command("cat"), *OUTPUT, *STDIN], [b"\x00hi\n", b"\xff\x00"])
    assert ended.stdout == "hi\n"
    assert ended.status["status"] == "Success"

    size = b"\x04" + json.dumps({"Width": 101, "Height": 37}).encode()
    script = "sleep 0.5; stty size; read line; echo got $line"
    ended = await remote(node, exec_path, [*command("sh", "-c", script), *OUTPUT, *STDIN, *TTY], [size, b"\x00word\n"])
    assert "37 101" in ended.stdout
    assert "got word" in ended.stdout

    big = await remote(node, exec_path, [*command("sh", "-c", "yes | head -c 3000000"), *OUTPUT], [])
    assert len(big.channels[1]) == 3_000_000


async def test_exec_of_a_program_that_is_absent_says_so(node: TestedNode) -> None:
    await node.run(sh("p", "sleep 600"))
    ended = await remote(node, "/exec/default/p/c", [*command("no-such-program"), *OUTPUT], [])
    assert ended.status["status"] == "Failure"
    assert "no-such-program" in str(ended.status["message"])


async def test_attach_joins_the_running_process(node: TestedNode) -> None:
    await node.run(
        sh("p", "while read line; do echo got $line; done; echo over", container={"stdin": True, "stdinOnce": True})
    )
    ended = await remote(node, "/attach/default/p/c", [*OUTPUT, *STDIN], [b"\x00one\n", b"\x00two\n", b"\xff\x00"])
    assert ended.stdout == "got one\ngot two\nover\n"


async def test_logs_can_be_read_whole_cut_and_followed(node: TestedNode) -> None:
    await node.run(
        sh("p", "for i in 1 2 3 4 5; do echo line $i; done; until [ -e /go ]; do sleep 0.1; done; echo last",
           restartPolicy="Never")
    )  # fmt: skip
    await node.logs_with("p", "line 5")
    assert await node.logs("p", tailLines=2) == "line 4\nline 5\n"
    assert await node.logs("p", limitBytes=7) == "line 1\n"
    followed = asyncio.create_task(node.logs("p", follow="true"))
    await remote(node, "/exec/default/p/c", [*command("sh", "-c", "> /go"), *OUTPUT], [])
    assert (await followed).splitlines() == [*(f"line {i}" for i in range(1, 6)), "last"]
    stamped = await node.logs("p", timestamps="true", tailLines=1)
    assert stamped[:4].isdigit()
    assert stamped.endswith("Z last\n")


async def test_logs_of_the_attempt_before_are_there(node: TestedNode) -> None:
    await node.create(sh("p", "test -e /v/seen && { echo second; sleep 600; }; touch /v/seen; echo first; exit 3",
                         volumes=[{"name": "v", "emptyDir": {}}],
                         container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))  # fmt: skip
    again = await node.wait("p", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1
                            and "running" in pod["status"]["containerStatuses"][0]["state"])  # fmt: skip
    assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    assert await node.logs("p", previous="true") == "first\n"
    assert await node.logs_with("p", "second") == "second\n"


async def test_only_the_api_server_is_answered(node: TestedNode) -> None:
    from kontinuum.foundation.clock import RealClock
    from kontinuum.foundation.pki import Authority

    await node.run(sh("p", "echo secret; sleep 600"))
    authority = Authority.ensure(node.settings.data.parent / "pki", RealClock())
    stranger = authority.ensure_client("stranger", user="somebody", groups=["developers"])
    async with node.session(pair=stranger) as session, session.get("/containerLogs/default/p/c") as answer:
        assert answer.status == 403
    async with node.session(anonymous=True) as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get("/pods"):
                pass
