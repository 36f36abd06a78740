"""What the mutations of a policy make of an object: configurations laid over it, or JSON patches. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kontinuum.api.machinery import merging, patches
from kontinuum.api.machinery.cel import EvaluationError
from kontinuum.api.machinery.cel.programs import Constructed
from kontinuum.api.machinery.cel.values import Record, to_json
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.shapes import LIST, MAP, Shape
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.policies.parameters import Misconfigured


def applied(obj: Object, configuration: Any, shape: Shape) -> Object:
    """``obj`` with what an ApplyConfiguration expression has made laid over it. Raises Misconfigured."""
    check_names(configuration, configuration.type.name)
    config = {**_json(configuration), "apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    try:
        merging.check(config, shape)
    except merging.Malformed as error:
        raise Misconfigured(f"error applying patch: failed to convert patch object to typed object: {error}") from error
    atomics = list(atomic_parts(config, shape))
    if atomics:
        problem = f"may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        raise Misconfigured(f"error applying patch: invalid ApplyConfiguration: {problem}")
    merged: Object = patches.copy(merging.merge(obj, config, shape))
    return merged


def atomic_parts(value: Any, shape: Shape, path: str = "") -> Iterable[str]:
    """The parts that would replace as a whole what is there: an author means to change some of it, and would not."""
    shape = shape.of(value)
    if shape.form == MAP and isinstance(value, dict):
        if shape.is_atomic:
            yield path
        for key, one in value.items():
            if key in shape.fields:
                yield from atomic_parts(one, shape.fields[key], f"{path}.{key}")
    elif shape.form == LIST and isinstance(value, list):
        if shape.is_atomic:
            yield path
        for index, one in enumerate(value):
            if shape.element is not None:
                yield from atomic_parts(one, shape.element, f"{path}[{index}]")


def patched(obj: Object, operations: Any) -> Object | None:
    """``obj`` after the operations that a JSONPatch expression has made; None if one of its tests fails.

    Raises Misconfigured.
    """
    try:
        found = patches.json_patch(obj, [_operation(one) for one in operations])
    except patches.TestFailed:
        return None
    except ApiError as error:
        causes = error.details.get("causes") or [{"message": error.message}]
        raise Misconfigured(f"JSONPath: {causes[0]['message']}") from error
    if not isinstance(found, dict):
        raise Misconfigured("JSONPath: the patch leaves no object")
    return found


def _operation(made: Record) -> Object:
    operation: Object = {"op": "", "path": ""}
    for name in ("op", "path", "from", "value"):
        if made.has(name):
            operation[name] = made.select(name)
    if "value" in operation:
        value = operation["value"]
        if isinstance(value, Constructed):
            check_names(value, value.type.name)
        operation["value"] = _json(value)
    return operation


def check_names(value: Any, path: str) -> None:
    """Each object within an object is of the type that its place says. Raises Misconfigured."""
    if isinstance(value, Constructed):
        name = value.type.name
        if name != path:
            raise Misconfigured(
                f'type mismatch: unexpected type name "{name}", expected "{path}", which matches field name path from '
                "root Object type"
            )
        for key, one in value.fields.items():
            check_names(one, f"{path}.{key}")
    elif isinstance(value, list):
        for one in value:
            check_names(one, path)


def _json(value: Any) -> Any:
    try:
        return to_json(value)
    except EvaluationError as error:
        raise Misconfigured(
            f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
        ) from error
