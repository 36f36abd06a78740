"""CustomResourceDefinitions for tests, and what the tests wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.apiserver.serving import Answer, Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PONDS = "/apis/ponds.example/v1/namespaces/default/ponds"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SPEC = {
    "type": "object",
    "properties": {"litres": {"type": "integer", "minimum": 0}, "fish": {"type": "array", "items": {"type": "string"}}},
}


def schema(spec: dict[str, Any] = SPEC, **more: Any) -> dict[str, Any]:
    """A whole object's schema; ``status`` keeps whatever is written."""
    return {"type": "object", "properties": {"spec": spec, "status": OPEN}, **more}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> dict[str, Any]:
    """An entry of ``spec.versions``; ``openapi`` is its schema."""
    source = more.pop("openapi", None) or schema()
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": source}, **more}


def definition(*versions: dict[str, Any], kind: str = "Pond", group: str = "ponds.example", **spec: Any) -> Any:
    """``ponds.ponds.example``, namespaced, with one version ``v1`` unless others are given."""
    names = {"kind": kind, "plural": f"{kind.lower()}s", **spec.pop("names", {})}
    metadata = {"name": f"{names['plural']}.{group}", **spec.pop("metadata", {})}
    served = list(versions or [version()])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": served,
            **spec,
        },
    }


def pond(name: str, api_version: str = "ponds.example/v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Pond", "metadata": {"name": name}, "spec": spec}


async def define(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Create a definition and wait until it is established."""
    answer = await api.create(DEFINITIONS, body)
    assert answer.code == 201, answer.body
    return await until_condition(api, body["metadata"]["name"], "Established", "True")


async def redefine(api: Api, name: str, patch: Any, kind: str = "merge") -> dict[str, Any]:
    """Patch a definition; the server serves what it says when the next unknown path, or discovery, is asked for."""
    answer = await api.patch(f"{DEFINITIONS}/{name}", patch, kind)
    assert answer.code == 200, answer.body
    await api.get("/apis")
    return dict(answer.body)


async def until_condition(api: Api, name: str, kind: str, status: str) -> dict[str, Any]:
    """The definition, once its condition has that status."""
    async with asyncio.timeout(20):
        while True:
            found = (await api.get(f"{DEFINITIONS}/{name}")).body
            conditions = {one["type"]: one["status"] for one in found["status"].get("conditions") or ()}
            if conditions.get(kind) == status:
                return dict(found)
            await asyncio.sleep(0.01)


async def until_gone(api: Api, path: str) -> None:
    async with asyncio.timeout(20):
        while (await api.get(path)).code != 404:
            await asyncio.sleep(0.01)


def good(answer: Answer, code: int = 200) -> Any:
    assert answer.code == code, answer.body
    return answer.body


def causes(answer: Answer) -> list[tuple[str, str]]:
    """(field, message) of each cause of an Invalid status."""
    assert answer.code == 422, answer.body
    return [(one["field"], one["message"]) for one in answer.body["details"]["causes"]]
