"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

The rules are those of k8s.io/apimachinery ``strategicpatch``. Directives inside a patch:

    $patch: replace | delete | merge       for the map (or list element) it stands in
    $retainKeys: [a, b]                    of the original map, keep only these keys
    $setElementOrder/FIELD: [...]          the order of the list FIELD after the merge
    $deleteFromPrimitiveList/FIELD: [...]  values to take out of the plain list FIELD
"""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from kontinuum.api.kubernetes.schema import Definition, Type
from kontinuum.api.machinery.merging import go_text
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import bad_request

DIRECTIVE, RETAIN = "$patch", "$retainKeys"
ORDER, DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"
NO_FIELDS: dict[str, Type] = {}


def strategic_merge(doc: Object, patch: Any, definition: Definition) -> Object:
    """``doc`` after ``patch``; both are left alone. Raises ApiError 400 for a patch that contradicts itself."""
    if not isinstance(patch, dict):
        raise bad_request("invalid JSON document")
    return _merge_map(copy(doc), copy(patch), definition.fields)


def _merge_map(original: Object, patch: Object, fields: dict[str, Type]) -> Object:
    directive = patch.pop(DIRECTIVE, "merge")
    if directive == "replace":
        replaced: Object = _without_directives(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive != "merge":
        raise bad_request(f"unknown patch type: {directive} in map: {go_text({DIRECTIVE: directive, **patch})}")
    _retain(original, patch)
    _delete_from_lists(original, patch)
    orders = _orders(patch, fields)
    for key, value in patch.items():
        if value is None:
            original.pop(key, None)
        else:
            original[key] = _merge_value(original.get(key), value, fields.get(key), order=orders.pop(key, None))
    for key, order in orders.items():
        if isinstance(original.get(key), list):
            before = original[key]
            original[key] = _reorder(before, order, before, _merge_key(fields.get(key), key))
    return original


def _retain(original: Object, patch: Object) -> None:
    kept = patch.pop(RETAIN, None)
    if kept is None:
        return
    is_list = isinstance(kept, list) and all(isinstance(key, str) for key in kept)
    added = {key for key, value in patch.items() if value is not None and not key.startswith("$")}
    if not is_list or not added <= set(kept):
        raise bad_request("invalid patch format of retainKeys")
    for key in [key for key in original if key not in kept]:
        del original[key]


def _delete_from_lists(original: Object, patch: Object) -> None:
    for key in [key for key in patch if key.startswith(DELETE)]:
        unwanted, field = patch.pop(key), key.removeprefix(DELETE)
        if not isinstance(unwanted, list):
            raise bad_request("invalid patch format of primitive list")
        if isinstance(original.get(field), list):
            original[field] = [one for one in original[field] if one not in unwanted]


def _orders(patch: Object, fields: dict[str, Type]) -> dict[str, list[Any]]:
    """The orders that the patch sets, taken out of it, by field. What it merges must be in them, in the same order."""
    found = {}
    for key in [key for key in patch if key.startswith(ORDER)]:
        order, field = patch.pop(key), key.removeprefix(ORDER)
        if not isinstance(order, list):
            raise bad_request("invalid patch format of setElementOrder list")
        elements = patch.get(field)
        if isinstance(elements, list):
            _check_order(elements, order, fields.get(field), field)
        found[field] = order
    return found


def _check_order(elements: list[Any], order: list[Any], kind: Type | None, field: str) -> None:
    name_of = _merge_key(kind, field)
    kept = [one for one in elements if not (isinstance(one, dict) and DIRECTIVE in one)]
    wanted = iter([_name(one, name_of) for one in order])
    # Asking an iterator whether it holds something moves it on, so this holds only if the order is the same.
    if not all(_name(one, name_of) in wanted for one in kept):
        raise bad_request(
            f"The order in patch list:\n{go_text(kept)}\n doesn't match {ORDER[:-1]} list:\n{go_text(order)}\n"
        )


def _merge_value(original: Any, patch: Any, kind: Type | None, *, order: list[Any] | None) -> Any:
    """One field's value. What has nothing of its type to merge into is taken as it is."""
    if isinstance(patch, dict) and isinstance(original, dict):
        if kind is not None and "replace" in kind.strategies:
            return _without_directives(patch)
        return _merge_map(original, patch, _fields(kind))
    if isinstance(patch, list) and kind is not None and "merge" in kind.strategies:
        before = original if isinstance(original, list) else []
        key = kind.merge_key if any(isinstance(one, dict) for one in [*before, *patch]) else ""
        merged = _merge_list(before, patch, kind, key) if isinstance(original, list) else _without_directives(patch)
        return merged if order is None else _reorder(merged, order, before, key)
    return _without_directives(patch)


def _merge_list(original: list[Any], patch: list[Any], kind: Type, key: str) -> list[Any]:
    if not key:
        merged = list({_token(one, ""): one for one in [*original, *patch]}.values())
        return _reorder(merged, patch, original, key)
    for one in patch:
        if not isinstance(one, dict):
            raise bad_request(f"map: {go_text(one)} does not contain declared merge key: {key}")
        if one.get(DIRECTIVE) == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        if one.get(DIRECTIVE, "delete") not in ("delete", "replace"):
            raise bad_request(f"unknown patch type: {one[DIRECTIVE]} in map: {go_text(one)}")
    plain = [one for one in patch if DIRECTIVE not in one]
    if any(one.get(DIRECTIVE) == "replace" for one in patch):
        return [_without_directives(one) for one in plain]
    deleted = {_token(one, key) for one in patch if one.get(DIRECTIVE) == "delete"}
    # Two elements may have one key: the ports of a name server, one for TCP and one for UDP. The first is merged into.
    merged = [one for one in original if _token(one, key) not in deleted]
    places = _places(merged, key)
    for one in plain:
        place = places.setdefault(_token(one, key), len(merged))
        if place < len(merged):
            merged[place] = _merge_map(merged[place], one, _fields(kind.element))
        else:
            merged.append(_without_directives(one))
    return _reorder(merged, plain, original, key)


def _reorder(merged: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """Elements named by ``order`` follow it; the others keep their place relative to those known ``before``."""
    wanted = _places(order, key)
    known = _places(before, key)
    tokens = [(_token(one, key), one) for one in merged]
    listed = deque(sorted((one for one in tokens if one[0] in wanted), key=lambda one: wanted[one[0]]))
    others = deque(one for one in tokens if one[0] not in wanted)
    result = []
    while listed and others:
        left, right = known.get(others[0][0]), known.get(listed[0][0])
        is_before = left is not None and right is not None and left < right
        result.append((others if is_before else listed).popleft()[1])
    return result + [one for _, one in (*others, *listed)]


def _places(elements: list[Any], key: str) -> dict[Any, int]:
    """Where each element is first named."""
    return {_token(one, key): place for place, one in reversed(list(enumerate(elements)))}


def _token(element: Any, key: str) -> Any:
    """What tells an element from the others, as a key of a mapping."""
    name = _name(element, key)
    return name if isinstance(name, str) else orjson.dumps(name, option=orjson.OPT_SORT_KEYS)


def _merge_key(kind: Type | None, field: str) -> str:
    if kind is None or "merge" not in kind.strategies:
        raise bad_request(f"invalid patch format of setElementOrder list: {field} is no list that merges")
    return kind.merge_key


def _name(element: Any, key: str) -> Any:
    """What tells an element from the others: its merge key's value, or for plain values the value itself."""
    if not key:
        return element
    if not isinstance(element, dict) or key not in element:
        raise bad_request(f"map: {go_text(element)} does not contain declared merge key: {key}")
    return element[key]


def _fields(kind: Type | None) -> dict[str, Type]:
    """The fields below a value of this type. In a map every key leads to the same type, which never merges lists."""
    return kind.fields if kind is not None else NO_FIELDS


def _without_directives(value: Any) -> Any:
    """A value that replaces another whole: directives and nulls in it have nothing to act on."""
    if isinstance(value, dict):
        return {
            key: _without_directives(one) for key, one in value.items() if one is not None and not _is_directive(key)
        }
    if isinstance(value, list):
        kept = [one for one in value if not (isinstance(one, dict) and one.get(DIRECTIVE) == "delete")]
        return [_without_directives(one) for one in kept]
    return value


def _is_directive(key: str) -> bool:
    return key in (DIRECTIVE, RETAIN) or key.startswith((ORDER, DELETE))
