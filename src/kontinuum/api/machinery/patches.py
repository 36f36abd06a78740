"""Patches that carry their own meaning: JSON patch (RFC 6902) and JSON merge patch (RFC 7386).

Both leave the document they are given alone and return another one that shares nothing with it, so that old and new
can be compared after later steps have changed the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from kontinuum.api.machinery.status import ApiError, bad_request, too_large


class TestFailed(ApiError):
    """A ``test`` operation found something else than it expects."""


MOST_OPERATIONS = 10_000
MOST_COPIED = 3 * 1024 * 1024
"""Bytes that the ``copy`` operations of one patch may add."""


Json = TypeVar("Json")


def copy(value: Json) -> Json:
    """A deep copy of a JSON value; ten times quicker than ``copy.deepcopy``."""
    copied: Json = orjson.loads(orjson.dumps(value))
    return copied


def merge_patch(doc: Any, patch: Any) -> Any:
    """``doc`` after an RFC 7386 patch: objects merge, null removes, everything else replaces."""
    return merge_into(copy(doc), copy(patch))


def merge_into(doc: Any, patch: Any) -> Any:
    """As ``merge_patch``, in place; the result takes parts of ``patch``."""
    if not isinstance(patch, dict):
        return patch
    target = doc if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_into(target.get(key), value) if isinstance(value, dict) else value
    return target


def json_patch(doc: Any, operations: Any) -> Any:
    """``doc`` after a list of RFC 6902 operations, with the liberties that Kubernetes takes: a negative index counts
    from the end of a list.

    Raises ApiError: 400 for something that is no JSON patch, 413 for one with too many operations, 422 for one that
    does not apply to ``doc``.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        problem = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}"
        raise too_large(problem)
    document = _Document(copy(doc))
    for operation in operations:
        kind = operation.get("op")
        apply = OPERATIONS.get(kind) if isinstance(kind, str) else None
        if apply is None:
            raise _rejected(f"Unexpected kind: {kind if isinstance(kind, str) else 'unknown'}")
        apply(document, operation)
    if "" not in document.root:
        raise _rejected("the patch removes the document itself: missing value")
    return document.root[""]


class _Document:
    """What operations change: ``root`` is one level above the document, so that all of it can be replaced."""

    def __init__(self, doc: Any) -> None:
        self.root = {"": doc}
        self.copied = 0


def _add(document: _Document, operation: Any) -> None:
    parent, last = _parent(document, operation, "path", 'add operation does not apply: doc is missing path: "{}"')
    _insert(parent, last, copy(_value(operation)), f"error in add for path: '{operation['path']}'")


def _remove(document: _Document, operation: Any) -> None:
    parent, last = _parent(document, operation, "path", 'remove operation does not apply: doc is missing path: "{}"')
    _take(parent, last, f"error in remove for path: '{operation['path']}'")


def _replace(document: _Document, operation: Any) -> None:
    parent, last = _parent(document, operation, "path", "replace operation does not apply: doc is missing path: {}")
    _get(parent, last, f"replace operation does not apply: doc is missing key: {operation['path']}")
    parent[_index(parent, last, "")] = copy(_value(operation))


def _move(document: _Document, operation: Any) -> None:
    source, target = _pointer(operation, "from"), _pointer(operation, "path")
    if target[: len(source)] == source and target != source:
        raise _rejected(f"cannot move {operation['from']} below itself")
    parent, last = _parent(document, operation, "from", "move operation does not apply: doc is missing from path: {}")
    taken = _take(parent, last, f"error in move for path: '{operation['path']}'")
    parent, last = _parent(
        document, operation, "path", "move operation does not apply: doc is missing destination path: {}"
    )
    _insert(parent, last, taken, f"error in move for path: '{operation['path']}'")


def _copy(document: _Document, operation: Any) -> None:
    parent, last = _parent(document, operation, "from", "copy operation does not apply: doc is missing from path: {}")
    raw = orjson.dumps(_get(parent, last, f"error in copy for from: '{operation['from']}'"))
    document.copied += len(raw)
    if document.copied > MOST_COPIED:
        raise _rejected(
            "Unable to complete the copy, the accumulated size increase of copy is "
            f"{document.copied}, exceeding the limit {MOST_COPIED}"
        )
    missing = "copy operation does not apply: doc is missing destination path: {}"
    parent, last = _parent(document, operation, "path", missing)
    _insert(parent, last, orjson.loads(raw), f"error while adding value during copy: '{operation['path']}'")


def _test(document: _Document, operation: Any) -> None:
    parent, last = _parent(document, operation, "path", "test operation does not apply: is missing path: {}")
    path = operation["path"]
    present = parent.get(last) if isinstance(parent, dict) else _get(parent, last, f"error in test for path: '{path}'")
    if not _is_equal(present, operation.get("value")):
        error = _rejected(f"testing value {path} failed: test failed")
        raise TestFailed(error.code, error.reason, error.message, error.details)


def _is_equal(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, at any depth."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


OPERATIONS: dict[str, Callable[[_Document, Any], None]] = {
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


def _parent(document: _Document, operation: Any, field: str, missing: str) -> tuple[Any, str]:
    """The object or list that a pointer's last step is taken in, and that step; ``missing`` if there is none."""
    steps = _pointer(operation, field)
    problem = missing.format(operation[field])
    found: Any = document.root
    for step in steps[:-1]:
        found = _get(found, step, problem)
    if not isinstance(found, dict | list):
        raise _rejected(f"{problem}: missing value")
    return found, steps[-1]


def _get(parent: Any, step: str, problem: str) -> Any:
    try:
        return parent[_index(parent, step, problem)]
    except IndexError:
        raise _rejected(f"{problem}: Unable to access invalid index: {step}: invalid index referenced") from None
    except (KeyError, TypeError):
        raise _rejected(f"{problem}: missing value") from None


def _insert(parent: Any, step: str, value: Any, problem: str) -> None:
    if isinstance(parent, dict):
        parent[step] = value
        return
    size = len(parent)
    index = size if step == "-" else _index(parent, step, problem)
    if index < 0:
        index += size + 1
    if not 0 <= index <= size:
        raise _rejected(f"{problem}: Unable to access invalid index: {step}: invalid index referenced")
    parent.insert(index, value)


def _take(parent: Any, step: str, problem: str) -> Any:
    if isinstance(parent, dict) and step not in parent:
        raise _rejected(f"{problem}: unable to remove nonexistent key: {step}: missing value")
    found = _get(parent, step, problem)
    del parent[_index(parent, step, problem)]
    return found


def _index(parent: Any, step: str, problem: str) -> Any:
    """The key or the list index that a step means."""
    if not isinstance(parent, list):
        return step
    if not step.isascii() or not step.removeprefix("-").isdigit():
        raise _rejected(f'{problem}: strconv.Atoi: parsing "{step}": invalid syntax')
    return int(step)


def _rejected(problem: str) -> ApiError:
    """Kubernetes answers a patch that does not apply with a general 422 and names the problem in a cause."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(
        422, "Invalid", message, {"causes": [{"reason": "UnexpectedServerResponse", "message": problem}]}
    )  # fmt: skip
