"""Every operation that OpenAPI tells of is answered, whatever its parameters and its body are.

No 500 ever; every refusal is a Status in Kubernetes' form. The generator is seeded, so that a failure can be repeated.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from tests.apiserver.every_kind import SAMPLES
from tests.apiserver.serving import Answer, Certificates, serving

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.apiserver import dispatch
from kontinuum.apiserver.openapi import OpenApi
from kontinuum.store.memory.store import MemoryStore

TEXTS = (
    "", "0", "1", "-1", "7", "99999999999999999999", "1e3", "true", "false", "All", "Strict", "abc", "a=b", "a!=b",
    "a in (b", "metadata.name=x", "metadata.name=x,metadata.name=y", "spec.x=1", "!", ",", "Exact", "NotOlderThan",
    "Foreground", "Orphan", "null", "\x00", "ä", "x" * 300, "%", "/", "..", "[]", "{}", "eyJ2IjoibWV0YSJ9",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, 0, -1, 2**63, 1.5, True, "", "x", "x" * 300, "\x00", "ä", [], [None], [[]], {}, {"": None}, {"a": {"b": []}},
)  # fmt: skip
BODIES = (b"", b"null", b"[]", b"{}", b"1", b'"x"', b"{", b"\xff", b'{"kind":1}', b'{"metadata":[]}', b'{"spec":null}')
ACCEPTS = (
    "application/json", "application/yaml", "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "text/html",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf", ";;q=,",
)  # fmt: skip
# These go on until somebody leaves, or need a node.
GOES_ON = ("connect", "watch", "watchlist")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation); parameters of the path are among the operation's."""
    document = OpenApi(RESOURCES, dispatch.verbs, KINDS.__getitem__).find("/openapi/v2", "application/json")
    assert document is not None
    for path, item in orjson.loads(document.plain())["paths"].items():
        for method, operation in item.items():
            if method == "parameters" or operation.get("x-kubernetes-action") in GOES_ON or path.endswith("/log"):
                continue
            operation["parameters"] += item.get("parameters", [])
            yield method.upper(), path, operation


OPERATIONS = list(operations())


class Generator:
    """Requests by chance."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def request(self, method: str, path: str, operation: dict[str, Any]) -> tuple[str, bytes | None, dict[str, str]]:
        """(target, body, headers)."""
        chance = self._chance
        name = chance.choice(["sample", "sample", "none", "x" * 300, "ä", "a b", "%"])
        filled = path.replace("{namespace}", chance.choice(["default"] * 4 + ["none", "ä"])).replace("{name}", name)
        names = [one["name"] for one in operation["parameters"] if one["in"] == "query" and one["name"] != "watch"]
        chosen = chance.sample(names, min(len(names), chance.randint(0, 3)))
        query = urlencode({one: chance.choice(TEXTS) for one in chosen})
        target = quote(filled, safe="/") + (f"?{query}" if query else "")
        headers = {"accept": chance.choice(ACCEPTS)}
        if not any(one["in"] == "body" for one in operation["parameters"]):
            return target, None, headers
        headers["content_type"] = chance.choice(self._media(operation))
        return target, self._body(operation), headers

    def _media(self, operation: dict[str, Any]) -> list[str]:
        media = [one for one in operation["consumes"] if one != "*/*"]
        return [*(media or ["application/json"] * 4), "application/yaml", "text/plain"]

    def _body(self, operation: dict[str, Any]) -> bytes | None:
        chance = self._chance
        sample = sample_of(operation)
        if sample is None or chance.random() < 0.2:
            return chance.choice(BODIES)
        for _ in range(chance.randint(0, 2)):
            self._spoil(sample)
        return orjson.dumps(sample)

    def _spoil(self, value: Any) -> None:
        """Put something else in some place of an object."""
        chance = self._chance
        while True:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            if not keys:
                return
            key = chance.choice(keys)
            inner = value[key]
            if isinstance(inner, (dict, list)) and inner and chance.random() < 0.7:
                value = inner
                continue
            value[key] = copy.deepcopy(chance.choice(VALUES))
            return


def sample_of(operation: dict[str, Any]) -> Any:
    named = operation["x-kubernetes-group-version-kind"]
    for resource in RESOURCES:
        if (resource.group, resource.version, resource.kind) == (named["group"], named["version"], named["kind"]):
            sample = SAMPLES.get(resource.qualified)
            if sample is not None:
                text = orjson.dumps(sample.body).replace(b'"NS"', b'"default"')
                return {"metadata": {"name": sample.name, "labels": {"a": "b"}}} | orjson.loads(text)
    return None


@pytest.mark.parametrize("seed", range(3))
async def test_no_operation_breaks(certificates: Certificates, seed: int) -> None:
    generator = Generator(seed)
    async with serving(MemoryStore(), certificates, read_wait_seconds=0.01) as api:
        for method, path, operation in OPERATIONS:
            target, body, headers = generator.request(method, path, operation)
            answer = await api.call(method, target, body, **headers)
            check(answer, f"{method} {target} {headers} {body!r}", operation)


def check(answer: Answer, request: str, operation: dict[str, Any]) -> None:
    if answer.code >= 500:
        # A revision that has not come yet, and a server without a key for tokens.
        causes = [one.get("reason") for one in answer.body["details"].get("causes", [])]
        is_expected = causes == ["ResourceVersionTooLarge"] or "issues no tokens" in answer.body["message"]
        assert is_expected, f"{request}: {answer.body}"
    elif answer.code >= 400:
        body = answer.body
        assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", answer.code), request
        assert body["message"], f"{request}: {body}"
    else:
        assert str(answer.code) in operation["responses"], f"{request}: {answer.code}"
