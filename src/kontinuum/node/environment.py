"""A container's environment and command line, with ``$(NAME)`` expanded as Kubernetes does."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.node import env_file
from kontinuum.node.fields import Surroundings, field_value, resource_value
from kontinuum.node.sources import SourceMissing, Sources

REFERENCE = re.compile(r"\$(\$|\(([^()$]*)\)|)")
KIND_NAMES = {"configmap": "ConfigMap", "secret": "Secret"}


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes the value, ``$$`` becomes ``$``; an unknown name stays as it is written."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        if found[2] is None:
            return found[0]
        return values.get(found[2], found[0])

    return REFERENCE.sub(replaced, text)


def references(text: str) -> list[str]:
    """The names to which ``text`` refers, in order."""
    return [found[2] for found in REFERENCE.finditer(text) if found[2] is not None]


def decoded(obj: Object | None, kind: str) -> dict[str, bytes]:
    """The entries of a ConfigMap or Secret as bytes; of None, nothing."""
    if obj is None:
        return {}
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in (obj.get("data") or {}).items()} | binary


async def environment(
    pod: Object,
    container: Object,
    sources: Sources,
    around: Surroundings,
    services: Mapping[str, str],
    volumes: Mapping[str, Path],
) -> dict[str, str]:
    """Every variable of ``container``; its own win over those of ``services``. ``volumes``: where they are, by name.

    Raises SourceMissing, NoSuchField and BadEnvFile.
    """
    values = dict(services)
    for source in container.get("envFrom") or ():
        values |= await _all_of(pod, source, sources)
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            if reference := variable["valueFrom"].get("fileKeyRef"):
                value = _of_file(reference, volumes)
            else:
                value = await _referenced(pod, container, variable["valueFrom"], sources, around)
            if value is not None:
                values[variable["name"]] = value
        else:
            values[variable["name"]] = expand(variable.get("value") or "", values)
    return values


async def _all_of(pod: Object, source: Object, sources: Sources) -> dict[str, str]:
    for field, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        reference = source.get(field)
        if reference:
            optional = bool(reference.get("optional"))
            obj = await sources.get(kind, pod["metadata"]["namespace"], reference["name"], optional=optional)
            prefix = source.get("prefix") or ""
            return {prefix + key: value.decode(errors="replace") for key, value in decoded(obj, kind).items()}
    return {}


async def _referenced(
    pod: Object, container: Object, source: Object, sources: Sources, around: Surroundings
) -> str | None:
    """The value that ``valueFrom`` names; None if it is optional and absent."""
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"], around)
    if source.get("resourceFieldRef"):
        return resource_value(pod, source["resourceFieldRef"], container["name"], around)
    for field, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
        reference = source.get(field)
        if reference:
            namespace, optional = pod["metadata"]["namespace"], bool(reference.get("optional"))
            entries = decoded(await sources.get(kind, namespace, reference["name"], optional=optional), kind)
            if reference["key"] in entries:
                return entries[reference["key"]].decode(errors="replace")
            if not optional:
                owner = f"{namespace}/{reference['name']}"
                raise SourceMissing(f"couldn't find key {reference['key']} in {KIND_NAMES[kind]} {owner}")
    return None


def _of_file(reference: Object, volumes: Mapping[str, Path]) -> str | None:
    """None if the file or its key is optional and absent."""
    path, key = reference["path"], reference["key"]
    values = env_file.read(volumes[reference["volumeName"]], path)
    if values is not None and key in values:
        return values[key]
    if reference.get("optional"):
        return None
    if values is None:
        raise SourceMissing(f"file {path} not found in volume {reference['volumeName']}")
    raise SourceMissing(f"environment variable key {key} not found in file {path}")
