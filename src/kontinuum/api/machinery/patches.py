"""Patches that carry their own meaning: JSON patch (RFC 6902) and JSON merge patch (RFC 7386).

Both leave the document they are given alone and return another one that shares nothing with it, so that old and new
can be compared after later steps have changed the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from kontinuum.api.machinery.status import ApiError, bad_request


def copy(value: Any) -> Any:
    """A deep copy of a JSON value; ten times quicker than ``copy.deepcopy``."""
    return orjson.loads(orjson.dumps(value))


def merge_patch(doc: Any, patch: Any) -> Any:
    """``doc`` after an RFC 7386 patch: objects merge, null removes, everything else replaces."""
    return _merge(copy(doc), copy(patch))


def _merge(doc: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    target = doc if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merge(target.get(key), value)
    return target


def json_patch(doc: Any, operations: Any) -> Any:
    """``doc`` after a list of RFC 6902 operations.

    Raises ApiError: 400 for something that is no JSON patch, 422 for one that does not apply to ``doc``.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    root = {"": copy(doc)}  # one level above the document, so that replacing all of it is no special case
    for operation in operations:
        apply = OPERATIONS.get(operation.get("op", ""))
        if apply is None:
            raise _rejected(f"Unexpected kind: {operation.get('op')}")
        apply(root, operation)
    return root[""]


def _add(root: Any, operation: Any) -> None:
    parent, last = _parent(root, _pointer(operation, "path"))
    _insert(parent, last, copy(_value(operation)))


def _remove(root: Any, operation: Any) -> None:
    _take(*_parent(root, _pointer(operation, "path")))


def _replace(root: Any, operation: Any) -> None:
    parent, last = _parent(root, _pointer(operation, "path"))
    _get(parent, last)
    parent[_index(parent, last)] = copy(_value(operation))


def _move(root: Any, operation: Any) -> None:
    source, target = _pointer(operation, "from"), _pointer(operation, "path")
    if target[: len(source)] == source and target != source:
        raise _rejected(f"cannot move {operation['from']} below itself")
    taken = _take(*_parent(root, source))
    _insert(*_parent(root, target), taken)


def _copy(root: Any, operation: Any) -> None:
    found = _get(*_parent(root, _pointer(operation, "from")))
    _insert(*_parent(root, _pointer(operation, "path")), copy(found))


def _test(root: Any, operation: Any) -> None:
    parent, last = _parent(root, _pointer(operation, "path"))
    present = parent.get(last) if isinstance(parent, dict) else _get(parent, last)
    if present != operation.get("value") or isinstance(present, bool) != isinstance(operation.get("value"), bool):
        raise _rejected(f"testing value {operation['path']} failed: test failed")


OPERATIONS: dict[str, Callable[[Any, Any], None]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def _pointer(operation: Any, field: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901), the document itself being the step ""."""
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _rejected(f"operation '{operation.get('op')}' needs a JSON pointer in '{field}'")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")]


def _value(operation: Any) -> Any:
    if "value" not in operation:
        raise _rejected(f"operation '{operation['op']}' needs a 'value'")
    return operation["value"]


def _parent(root: Any, steps: list[str]) -> tuple[Any, str]:
    found = root
    for step in steps[:-1]:
        found = _get(found, step)
    if not isinstance(found, dict | list):
        raise _rejected(f"there is nothing below a plain value: {'/'.join(steps)}")
    return found, steps[-1]


def _get(parent: Any, step: str) -> Any:
    try:
        return parent[_index(parent, step)]
    except (KeyError, IndexError, TypeError):
        raise _rejected(f"missing path: no value at '{step}'") from None


def _insert(parent: Any, step: str, value: Any) -> None:
    if isinstance(parent, dict):
        parent[step] = value
        return
    index = len(parent) if step == "-" else _index(parent, step)
    if index > len(parent):
        raise _rejected(f"index {step} is beyond the end of the list")
    parent.insert(index, value)


def _take(parent: Any, step: str) -> Any:
    found = _get(parent, step)
    del parent[_index(parent, step)]
    return found


def _index(parent: Any, step: str) -> Any:
    """The key or the list index that a step means; a list has no negative indices here."""
    if not isinstance(parent, list):
        return step
    if not step.isascii() or not step.isdigit() or (step[0] == "0" and step != "0"):
        raise _rejected(f"'{step}' is no index of a list")
    return int(step)


def _rejected(problem: str) -> ApiError:
    """Kubernetes answers a patch that does not apply with a general 422 and names the problem in a cause."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(
        422, "Invalid", message, {"causes": [{"reason": "UnexpectedServerResponse", "message": problem}]}
    )  # fmt: skip
