"""Build hook: turns the published schemas of Kubernetes 1.36 into the two compact files that the api package reads.

    generated/schemas.json.zlib   every definition (types, lists, patch metadata) without its prose: for serving
    generated/texts.json.zlib     the prose alone: what ``kubectl explain`` shows, read only when somebody asks

The source is the build requirement ``kubernetes-validate`` (its ``_definitions.json``), so that nothing generated is
committed and the package needs neither at run time. Runs for wheels and for ``pip install -e .`` alike.
"""

from __future__ import annotations

import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RELEASE = "v1.36.0"
TARGET = Path("src/kontinuum/api/kubernetes/generated")
INT_OR_STRING = {"type": "string", "format": "int-or-string"}
QUANTITY = {"type": "string"}


class SchemaHook(BuildHookInterface):  # type: ignore[misc]
    """Writes the generated files and adds them to the build, since git ignores them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = Path(self.root) / TARGET
        write(definitions(), target)
        build_data["artifacts"].append(f"/{TARGET}/*.zlib")


def definitions() -> dict[str, Any]:
    """The definitions as kubernetes-validate ships them: JSON Schema with ``null`` allowed everywhere."""
    shipped = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    source = shipped / f"{RELEASE}-local" / "_definitions.json"
    found: dict[str, Any] = orjson.loads(source.read_bytes())["$defs"]
    return found


def write(shipped: dict[str, Any], target: Path) -> None:
    schemas, texts = {}, {}
    for name, definition in shipped.items():
        schemas[name] = plain(definition)
        prose = {key: value["description"] for key, value in properties(definition).items() if "description" in value}
        texts[name] = {"": definition.get("description", "")} | prose
    target.mkdir(parents=True, exist_ok=True)
    for file, content in (("schemas", schemas), ("texts", texts)):
        packed = zlib.compress(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), 9)
        (target / f"{file}.json.zlib").write_bytes(packed)


def properties(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition.get("properties") or {}
    return found


def plain(schema: Any) -> Any:
    """The schema as Kubernetes publishes it: no prose, no added nulls, no added enums, references in swagger's form."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "oneOf" in schema:
        kinds = {kind for option in schema["oneOf"] for kind in option["type"]}
        return INT_OR_STRING if "integer" in kinds else QUANTITY
    result = {}
    for key, value in schema.items():
        if key == "type":
            result[key] = next(one for one in value if one != "null") if isinstance(value, list) else value
        elif key == "$ref":
            result[key] = value.rpartition("/")[2]
        elif key == "properties":
            result[key] = {name: plain(one) for name, one in value.items()}
        elif key not in ("description", "enum"):
            result[key] = plain(value)
    return result
