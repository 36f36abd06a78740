"""Pods tolerate a silent node for five minutes, unless they say otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, pod

from kontinuum.apiserver.admission.default_tolerations import KEYS, add_tolerations


def seconds(spec: dict[str, Any]) -> dict[str, Any]:
    return {one.get("key", ""): one.get("tolerationSeconds") for one in spec["tolerations"]}


async def test_a_pod_gets_both_tolerations_when_it_is_created(api: Api) -> None:
    made = await api.create(PODS, pod("web"))
    assert seconds(made.body["spec"]) == dict.fromkeys(KEYS, 300)


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": KEYS[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
         {KEYS[0]: 5, KEYS[1]: 300}),
        ({"key": KEYS[1], "operator": "Exists"}, {KEYS[1]: None, KEYS[0]: 300}),
        ({"operator": "Exists"}, {"": None}),
        ({"key": KEYS[0], "operator": "Exists", "effect": "NoSchedule"}, {KEYS[0]: 300, KEYS[1]: 300}),
    ],
)  # fmt: skip
def test_what_a_pod_says_itself_stands(toleration: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = {"tolerations": [toleration]}
    add_tolerations(spec)
    assert seconds(spec) == expected
    before = list(spec["tolerations"])
    add_tolerations(spec)
    assert spec["tolerations"] == before


@pytest.mark.behaviour(
    "Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update"
)
async def test_who_replaces_a_pods_tolerations_does_not_take_these_away(api: Api) -> None:
    made = (await api.create(PODS, pod("web"))).body
    made["spec"]["tolerations"] = [{"key": "own", "operator": "Equal", "value": "x", "effect": "NoSchedule"}]
    changed = await api.update(f"{PODS}/web", made)
    assert changed.code == 200, changed.body
    assert seconds(changed.body["spec"]) == {"own": None, **dict.fromkeys(KEYS, 300)}
    assert changed.body["metadata"]["generation"] == made["metadata"]["generation"] + 1
