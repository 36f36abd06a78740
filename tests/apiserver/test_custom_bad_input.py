"""Definitions and objects that nobody means: refused in words or served, never a 500 and never a hang."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from tests.apiserver.custom import (
    DEFINITIONS,
    PONDS,
    causes,
    define,
    definition,
    good,
    pond,
    redefine,
    schema,
    until_gone,
    version,
)
from tests.apiserver.serving import Api

JUNK: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 1e308, "", " ", "a", "v1", "(", "\x00", "é", "a" * 300, [], [[]], [None],
    ["a", "a"], {}, {"a": {}}, {"": ""}, {"type": "object"}, {"type": "array"}, {"$ref": "#"}, ".spec", ".spec.a[0]",
    "$", "self", "self.x == self.x", "{{}}", "https://[", "None", "Webhook", "Cluster", [{}], [{"rule": "self"}],
    {"properties": {"metadata": {"type": "object", "default": {}}}}, {"x-kubernetes-validations": [{}]}, {"type": 3},
]  # fmt: skip
WHOLE = definition(
    version(
        openapi=schema(
            {
                "type": "object", "required": ["litres"], "minProperties": 1,
                "properties": {
                    "litres": {"type": "integer", "default": 1, "minimum": 0, "multipleOf": 1},
                    "name": {"type": "string", "pattern": "^a", "enum": ["a"], "format": "uri", "maxLength": 3},
                    "list": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}},
                    },
                    "free": {"type": "object", "additionalProperties": {"type": "string"}},
                    "either": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                },
                "x-kubernetes-validations": [{"rule": "self.litres >= 0", "messageExpression": "'x'"}],
            }
        ),
        subresources={"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
        additionalPrinterColumns=[{"name": "L", "type": "integer", "jsonPath": ".spec.litres", "priority": 1}],
        selectableFields=[{"jsonPath": ".spec.name"}],
        deprecated=True,
        deprecationWarning="old",
    ),
    version("v2", storage=False),
    names={"shortNames": ["pd"], "categories": ["all"], "singular": "pond", "listKind": "PondList"},
    conversion={"strategy": "None"},
)  # fmt: skip
ANSWERS = {201, 400, 413, 422}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def spoiled(body: Any, chance: random.Random) -> Any:
    """A copy in which one to three values are something else, or gone, or have something beside them."""
    made = copy.deepcopy(body)
    for _ in range(chance.randint(1, 3)):
        found = [(container, key) for container, key in places(made["spec"])]
        container, key = chance.choice(found)
        match chance.randint(0, 3):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, dict):
                container[chance.choice(KEYS)] = copy.deepcopy(chance.choice(JUNK))
            case _:
                container[key] = copy.deepcopy(chance.choice(JUNK))
    return made


KEYS = [
    "not", "allOf", "oneOf", "default", "nullable", "items", "properties", "additionalProperties", "enum", "required",
    "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", "definitions",
    "patternProperties", "dependencies", "x-kubernetes-map-type", "externalDocs", "maximum", "exclusiveMaximum",
    "webhook",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_spoiled_definitions_are_refused_in_words_or_served(api: Api, seed: int) -> None:
    chance = random.Random(seed)
    accepted = 0
    for _ in range(150):
        body = spoiled(WHOLE, chance)
        made = await api.create(DEFINITIONS, body)
        assert made.code in ANSWERS, (made.body, body)
        if made.code != 201:
            continue
        accepted += 1
        names = made.body["spec"]["names"]
        path = f"/apis/{made.body['spec']['group']}/v1/namespaces/default/{names['plural']}"
        obj = {"metadata": {"name": "a"}, "spec": chance.choice([{"litres": 1, "name": "a"}, *JUNK])}
        for answer in (await api.create(path, obj), await api.get(path), await api.get("/openapi/v3")):
            assert answer.code < 500, (answer.body, body)
        assert (await api.get("/openapi/v3/apis/ponds.example/v1")).code in (200, 404)
        name = made.body["metadata"]["name"]
        await api.delete(f"{DEFINITIONS}/{name}")
        await until_gone(api, f"{DEFINITIONS}/{name}")
    assert accepted, "some of what is spoiled is still a definition"


async def test_spoiled_objects_are_refused_in_words_or_stored(api: Api) -> None:
    chance = random.Random(7)
    await define(api, WHOLE)
    whole = {
        "apiVersion": "ponds.example/v1", "kind": "Pond", "metadata": {"name": "a", "labels": {"a": "b"}},
        "spec": {"litres": 1, "name": "a", "list": [{"k": "x"}], "free": {"a": "b"}, "either": 1},
    }  # fmt: skip
    for number in range(200):
        body = spoiled(whole, chance)
        body["metadata"]["name"] = f"n{number}"
        path = f"{PONDS}/n{number}?fieldManager=me"
        for answer in (
            await api.create(f"{PONDS}?dryRun=All", body), await api.patch(path, body, "apply"),
            await api.patch(path, {"spec": body.get("spec")}), await api.get(f"{PONDS}/n{number}/scale"),
        ):  # fmt: skip
            # An object that does not say how many replicas it wants has no scale: Kubernetes says so with a 500.
            is_scale = answer.code == 500 and "replicas" in answer.body["message"]
            assert answer.code in (*ANSWERS, 200, 404, 409) or is_scale, (answer.body, body)


@pytest.mark.parametrize("kind", ["properties", "items", "additionalProperties"])
@pytest.mark.parametrize("depth", [50, 400, 5000])
async def test_schemas_nested_too_deeply_are_refused(api: Api, kind: str, depth: int) -> None:
    text = definition(version(openapi=schema({"type": "object"})))
    spec = text["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    spec["spec"] = "DEEP"
    inner = b'{"type":"string"}'
    for _ in range(depth):
        inner = {
            "properties": b'{"type":"object","properties":{"a":' + inner + b"}}",
            "items": b'{"type":"array","items":' + inner + b"}",
            "additionalProperties": b'{"type":"object","additionalProperties":' + inner + b"}",
        }[kind]
    answer = await api.create(DEFINITIONS, orjson.dumps(text).replace(b'"DEEP"', inner))
    assert answer.code == (201 if depth == 50 else 400), answer.body
    if depth == 50:
        assert (await api.get(PONDS)).code == 200


async def test_patterns_that_would_run_for_ever_elsewhere_answer_at_once(api: Api) -> None:
    spec = {"type": "object", "properties": {"title": {"type": "string", "pattern": "^(a+)+$"}}}
    await define(api, definition(version(openapi=schema(spec))))
    refused = await api.create(PONDS, pond("a", title="a" * 100_000 + "!"))
    assert causes(refused)[0][0] == "spec.title"
    back = schema({"type": "object", "properties": {"name": {"type": "string", "pattern": r"(a)\1"}}})
    change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": back}]
    assert "must be a valid regular expression" in causes(await api.patch(
        f"{DEFINITIONS}/ponds.ponds.example", change, "json"))[0][1]  # fmt: skip


async def test_objects_that_a_new_schema_would_refuse_can_still_be_read_and_deleted(api: Api) -> None:
    await define(api, definition(version(openapi={"type": "object", "x-kubernetes-preserve-unknown-fields": True})))
    odd = [pond("a", litres="many"), pond("b") | {"spec": [1]}, pond("c") | {"spec": 3, "status": "x"}]
    for body in odd:
        good(await api.create(PONDS, body), 201)
    strict = schema({"type": "object", "properties": {"litres": {"type": "integer", "default": 2}}})
    change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": strict}]
    await redefine(api, "ponds.ponds.example", change, "json")
    listed = good(await api.get(PONDS))["items"]
    assert [one["spec"] for one in listed] == [{"litres": "many"}, [1], 3]
    good(await api.patch(f"{PONDS}/a", {"metadata": {"labels": {"x": "y"}}}))
    for name in "abc":
        good(await api.delete(f"{PONDS}/{name}"))
