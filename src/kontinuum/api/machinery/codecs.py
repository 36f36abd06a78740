"""Request bodies: JSON, YAML and Kubernetes' protobuf, by media type. Raises the API's own 400 and 415."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from kontinuum.api.machinery import protobuf
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import bad_request, unsupported_media_type

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)


def decode(body: bytes, media_type: str = JSON) -> Object:
    """The object in ``body``. ``media_type`` is without parameters; "" means JSON (the Python client sends none)."""
    found: Any
    if media_type in (JSON, ""):
        found = decode_json(body)
    elif media_type == YAML:
        found = _decode_yaml(body)
    elif media_type == PROTOBUF:
        try:
            found = protobuf.decode(body)
        except protobuf.BadProtobuf as error:
            raise bad_request(f"the body of the request cannot be decoded: {error}") from error
    else:
        raise unsupported_media_type(MEDIA_TYPES)
    if not isinstance(found, dict):
        raise bad_request("the body of the request cannot be decoded: it is no object")
    return found


def decode_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body of the request cannot be decoded: {error}") from error


def duplicate_fields_of(body: bytes, decoded: Any) -> list[str]:
    """As ``duplicate_fields``, for a body whose decoded value has not been changed since: quick where there are none.

    A field that is there twice is decoded once, so the colons after names become fewer.
    """
    colons = b'":'
    if body.count(colons) == orjson.dumps(decoded).count(colons):
        return []
    return duplicate_fields(body)


def duplicate_fields(body: bytes) -> list[str]:
    """The paths of JSON fields that occur twice in their object; of these the last one counts.

    orjson says nothing about them, so this reads the body once more, with the standard library. ``body`` is valid JSON.
    """
    found: list[str] = []
    _collect(json.loads(body, object_pairs_hook=_Pairs), "", found)
    return found


def field_places(body: bytes) -> dict[str, list[int]]:
    """Where in the document each field stands: its path → the places of its occurrences. ``body`` is valid JSON."""
    paths = list(_paths(json.loads(body, object_pairs_hook=_Pairs), ""))
    found: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        found.setdefault(path, []).append(place)
    return found


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        for key, below in value:
            here = f"{path}.{key}" if path else key
            yield here
            yield from _paths(below, here)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _paths(one, f"{path}[{index}]")


class _Pairs(list[tuple[str, Any]]):
    """An object before its fields become keys."""


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for key, below in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(here)
            seen.add(key)
            _collect(below, here, found)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _collect(one, f"{path}[{index}]", found)


def decode_configuration(body: bytes, *, strictly: bool) -> tuple[Object, str]:
    """A YAML or JSON object, and (if ``strictly``) a text that names its duplicate fields. Raises ApiError 400."""
    try:
        found = orjson.loads(body)
        paths = duplicate_fields_of(body, found) if strictly else []
        twice = ", ".join(f'duplicate field "{path}"' for path in paths)
    except orjson.JSONDecodeError:
        found, twice = _load_yaml(body, "error decoding YAML")
    if not isinstance(found, dict):
        raise bad_request("error decoding YAML: the configuration is no object")
    return found, twice


def _decode_yaml(body: bytes) -> Any:
    return _load_yaml(body, "error converting YAML to JSON")[0]


def _load_yaml(body: bytes, doing: str) -> tuple[Any, str]:
    from kontinuum.api.machinery import yaml_documents  # rare in requests, and slow to import

    try:
        return yaml_documents.decode(body)
    except yaml_documents.BadYaml as error:
        raise bad_request(f"{doing}: {error}") from error
