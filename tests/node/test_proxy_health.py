"""What load balancers are told: at a Service's own port, and of the node as a whole."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest
from tests.ports import free_port

from kontinuum.foundation.clock import VirtualClock
from kontinuum.node.overlay.overlay import trim
from kontinuum.node.proxy.health import Figures, LocalHealth, LocalService, is_eligible


async def asked(port: int) -> tuple[int, dict[str, str], Any]:
    """Code, headers in lower case, and the JSON of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    status, *lines = head.split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


async def test_a_balancer_is_told_how_many_endpoints_are_here_also_as_a_weight() -> None:
    figures, port = Figures(VirtualClock()), free_port()
    health = LocalHealth(lambda: not figures.is_failing)
    try:
        for endpoints, code in ((2, HTTPStatus.OK), (0, HTTPStatus.SERVICE_UNAVAILABLE)):
            await health.show({port: LocalService("ns", "web", endpoints)})
            found, headers, body = await asked(port)
            assert (found, headers["x-load-balancing-endpoint-weight"]) == (code, str(endpoints))
            assert body == {
                "service": {"namespace": "ns", "name": "web"}, "localEndpoints": endpoints, "serviceProxyHealthy": True,
            }  # fmt: skip
        await health.show({port: LocalService("ns", "web", 2)})
        figures.failed()
        found, _, body = await asked(port)
        assert found == HTTPStatus.SERVICE_UNAVAILABLE and not body["serviceProxyHealthy"]
    finally:
        await health.close()


@pytest.mark.parametrize(
    ("node", "eligible"),
    [
        ({"metadata": {}, "spec": {"taints": [{"key": "node.kubernetes.io/not-ready"}]}}, True),
        ({"metadata": {}, "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
    ],
)
async def test_balancers_are_sent_away_from_a_node_that_is_about_to_go_but_nobody_restarts_us(
    node: Any, eligible: bool
) -> None:
    figures = Figures(VirtualClock())
    figures.is_eligible = is_eligible(trim(node))
    answer, alive = figures.answer("/healthz"), figures.answer("/livez")
    assert (answer.code == HTTPStatus.OK, json.loads(answer.body)["nodeEligible"]) == (eligible, eligible)
    assert alive.code == HTTPStatus.OK and "nodeEligible" not in json.loads(alive.body)
