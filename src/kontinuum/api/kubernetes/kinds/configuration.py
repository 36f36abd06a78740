"""ConfigMaps, Secrets and ServiceAccounts: data that pods are given."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any

import orjson

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MAXIMUM = 1024 * 1024
"""Bytes of all values together."""
ACCOUNT = "kubernetes.io/service-account.name"
REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
JSON_TYPES = ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson")
FIXED = "field is immutable when `immutable` is set"


class ConfigMap(Kind):
    columns = (NAME, Column("Data", description="Number of entries."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        errors = _keys(data, "data") + _keys(binary, "binaryData")
        for key in data.keys() & binary.keys():
            errors.append(fields.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size = sum(len(value.encode()) for value in data.values()) + _decoded_size(binary)
        return errors + ([fields.too_long("", MAXIMUM)] if size > MAXIMUM else [])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + _fixed(obj, old, "data", "binaryData")

    def cells(self, obj: Object, now: float) -> list[Any]:
        count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
        return [obj["metadata"].get("name", ""), count, age(obj["metadata"].get("creationTimestamp"), now)]


class Secret(Kind):
    columns = (
        NAME,
        Column("Type", description="Used to facilitate programmatic handling of secret data."),
        Column("Data", description="Number of entries."),
        AGE,
    )
    selectable = ("type",)

    def default(self, obj: Object) -> None:
        """``stringData`` is a way to write ``data``; it is never stored."""
        if not obj.get("type"):
            obj["type"] = "Opaque"
        plain = obj.pop("stringData", None)
        if plain:
            encoded = {key: b64encode(value.encode()).decode() for key, value in plain.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}

    def validate_spec(self, obj: Object) -> list[FieldError]:
        data, kind = obj.get("data") or {}, obj["type"]
        errors = _keys(data, "data")
        if _decoded_size(data) > MAXIMUM:
            errors.append(fields.too_long("data", MAXIMUM))
        missing = [key for key in REQUIRED_KEYS.get(kind, ()) if key not in data]
        errors += [fields.required(f"data[{key}]") for key in missing]
        if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
            errors += [fields.required("data[username]"), fields.required("data[password]")]
        named = (obj["metadata"].get("annotations") or {}).get(ACCOUNT)
        if kind == "kubernetes.io/service-account-token" and not named:
            errors.append(fields.required(f"metadata.annotations[{ACCOUNT}]"))
        if kind in JSON_TYPES and not missing:
            errors += _json(data[REQUIRED_KEYS[kind][0]], f"data[{REQUIRED_KEYS[kind][0]}]")
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj) + _fixed(obj, old, "data")
        if obj["type"] != old.get("type", "Opaque"):
            errors.append(fields.invalid("type", obj["type"], "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        count = len(obj.get("data") or ())
        return [metadata.get("name", ""), obj.get("type", ""), count, age(metadata.get("creationTimestamp"), now)]


class ServiceAccount(Kind):
    columns = (NAME, Column("Secrets", description="Number of secrets it may use."), AGE)

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        return [metadata.get("name", ""), len(obj.get("secrets") or ()), age(metadata.get("creationTimestamp"), now)]


def _keys(data: Object, path: str) -> list[FieldError]:
    return [
        fields.invalid(f"{path}[{key}]", key, problem)
        for key in data
        if not re.fullmatch(r"[-a-zA-Z0-9_][-._a-zA-Z0-9]{0,252}", key)
        for problem in names.config_key(key)
    ]


def _decoded_size(data: Object) -> int:
    """Bytes that base64 texts stand for, without decoding them."""
    return sum(len(value) * 3 // 4 - value[-2:].count("=") for value in data.values())


def _json(encoded: str, path: str) -> list[FieldError]:
    try:
        orjson.loads(b64decode(encoded))
    except orjson.JSONDecodeError as problem:
        return [fields.invalid(path, "<secret contents redacted>", str(problem))]
    return []


def _fixed(obj: Object, old: Object, *names_of_data: str) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    errors = [] if obj.get("immutable") else [fields.forbidden("immutable", FIXED)]
    for name in names_of_data:
        if (obj.get(name) or {}) != (old.get(name) or {}):
            errors.append(fields.forbidden(name, FIXED))
    return errors
