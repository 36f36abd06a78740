"""Watches by path (``/api/v1/watch/...``), as clients asked for them before there was a parameter."""

from __future__ import annotations

import orjson
from tests.apiserver.serving import CONFIGMAPS, SYSTEMS_OWN, Api, configmap


async def _names(api: Api, path: str) -> list[str]:
    answer = await api.get(f"/api/v1/watch{path}?timeoutSeconds=1&pretty=false", accept="application/json")
    return [orjson.loads(line)["object"]["metadata"]["name"] for line in answer.text.splitlines()]


async def test_a_path_watches_a_namespace_all_namespaces_or_one_object(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    await api.create(CONFIGMAPS, configmap("b"))
    await api.create("/api/v1/namespaces/kube-public/configmaps", configmap("c"))
    assert await _names(api, "/namespaces/default/configmaps") == ["a", "b"]
    assert await _names(api, "/configmaps") == ["a", "b", "c", SYSTEMS_OWN]
    assert await _names(api, "/namespaces/default/configmaps/b") == ["b"]
    assert await _names(api, "/namespaces/default") == ["default"]


async def test_nothing_but_reading_is_done_below_such_a_path(api: Api) -> None:
    assert (await api.create("/api/v1/watch/namespaces/default/configmaps", configmap("a"))).code == 405
    assert (await api.get("/api/v1/watch/namespaces/default/pods/p/log")).code == 404
