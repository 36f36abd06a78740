"""Webhooks and policies see each other's work as in Kubernetes: policies first, and again after a webhook's change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.hooks import (
    MUTATING,
    VALIDATING,
    HookServer,
    allow,
    configure,
    hook_server,
    patched,
    patching,
)
from tests.apiserver.policies import mutating, put_in_force, said, validating
from tests.apiserver.serving import CONFIGMAPS, Api, configmap

# What a policy or webhook has seen, it counts.
COUNTING = (
    'Object{metadata: Object.metadata{annotations: {"seen": '
    'string(object.data.size()) + (has(object.metadata.annotations) ? object.metadata.annotations["seen"] : "")}}}'
)


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path) as hooks:
        yield hooks


@pytest.mark.parametrize(("reinvocation", "seen"), [("IfNeeded", "21"), ("Never", "1")])
async def test_a_policy_looks_again_at_what_a_webhook_has_changed(
    api: Api, hooks: HookServer, reinvocation: str, seen: str
) -> None:
    await put_in_force(api, mutating("count", COUNTING, reinvocationPolicy=reinvocation))
    hooks.at("/x", patching({"op": "add", "path": "/data/more", "value": "1"}))
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    made = await api.create(CONFIGMAPS, configmap("x", a="1"))
    assert made.body["metadata"]["annotations"] == {"seen": seen}
    assert hooks.asked[0].request["object"]["metadata"]["annotations"] == {"seen": "1"}


@pytest.mark.parametrize(("reinvocation", "times"), [("IfNeeded", 2), ("Never", 1)])
async def test_a_webhook_is_asked_again_if_a_policy_changes_its_work_in_the_second_round(
    api: Api, hooks: HookServer, reinvocation: str, times: int
) -> None:
    await put_in_force(api, mutating("count", COUNTING, reinvocationPolicy="IfNeeded"))

    def once(review: Any) -> Any:
        if "more" in review["request"]["object"]["data"]:
            return allow(review)
        return patched(review, {"op": "add", "path": "/data/more", "value": "1"})

    hooks.at("/x", once)
    await configure(api, MUTATING, "x", hooks.webhook("/x", reinvocationPolicy=reinvocation))
    made = await api.create(CONFIGMAPS, configmap("x", a="1"))
    assert made.body["metadata"]["annotations"] == {"seen": "21"}
    assert len(hooks.asked) == times


async def test_a_policy_refuses_what_a_webhook_makes_before_other_webhooks_are_asked(
    api: Api, hooks: HookServer
) -> None:
    hooks.at("/change", patching({"op": "add", "path": "/data/more", "value": "1"}))
    hooks.at("/judge", allow)
    await put_in_force(api, validating("few", "object.data.size() < 2"))
    await configure(api, MUTATING, "x", hooks.webhook("/change"))
    await configure(api, VALIDATING, "x", hooks.webhook("/judge"))
    refused = await api.create(CONFIGMAPS, configmap("x", a="1"))
    assert refused.code == 422
    assert said(refused).startswith("failed expression: object.data.size() < 2")
    assert [one.path.partition("?")[0] for one in hooks.asked] == ["/change"]
