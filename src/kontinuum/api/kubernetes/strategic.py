"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

The rules are those of k8s.io/apimachinery ``strategicpatch``. Directives inside a patch:

    $patch: replace | delete | merge       for the map (or list element) it stands in
    $retainKeys: [a, b]                    of the original map, keep only these keys
    $setElementOrder/FIELD: [...]          the order of the list FIELD after the merge
    $deleteFromPrimitiveList/FIELD: [...]  values to take out of the plain list FIELD
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.schema import Definition, Type
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import bad_request

DIRECTIVE, RETAIN = "$patch", "$retainKeys"
ORDER, DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"
NO_FIELDS: dict[str, Type] = {}


def strategic_merge(doc: Object, patch: Any, definition: Definition) -> Object:
    """``doc`` after ``patch``; both are left alone. Raises ApiError 400 for a patch that contradicts itself."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is an object")
    return _merge_map(copy(doc), copy(patch), definition.fields)


def _merge_map(original: Object, patch: Object, fields: dict[str, Type]) -> Object:
    directive = patch.pop(DIRECTIVE, "merge")
    if directive == "replace":
        replaced: Object = _without_directives(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive != "merge":
        raise bad_request(f"invalid value for $patch: {directive}")
    _retain(original, patch)
    _delete_from_lists(original, patch)
    orders = {key.removeprefix(ORDER): patch.pop(key) for key in list(patch) if key.startswith(ORDER)}
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
    unlisted = [key for key, value in patch.items() if key not in kept and value is not None and key[0] != "$"]
    if unlisted:
        raise bad_request(f"$retainKeys does not list {', '.join(unlisted)}, which the patch sets")
    for key in [key for key in original if key not in kept]:
        del original[key]


def _delete_from_lists(original: Object, patch: Object) -> None:
    for key in [key for key in patch if key.startswith(DELETE)]:
        unwanted, field = patch.pop(key), key.removeprefix(DELETE)
        if isinstance(original.get(field), list):
            original[field] = [one for one in original[field] if one not in unwanted]


def _merge_value(original: Any, patch: Any, kind: Type | None, *, order: list[Any] | None) -> Any:
    """One field's value. Whatever the types of the two sides do not allow to merge is replaced."""
    if isinstance(patch, dict):
        if not isinstance(original, dict):
            original = {}
        if kind is not None and "replace" in kind.strategies:
            return _without_directives(patch)
        return _merge_map(original, patch, _fields(kind))
    if isinstance(patch, list) and kind is not None and "merge" in kind.strategies:
        before = original if isinstance(original, list) else []
        key = kind.merge_key if any(isinstance(one, dict) for one in [*before, *patch]) else ""
        merged = _merge_list(before, patch, kind, key)
        return merged if order is None else _reorder(merged, order, before, key)
    return _without_directives(patch)


def _merge_list(original: list[Any], patch: list[Any], kind: Type, key: str) -> list[Any]:
    if not key:
        merged = original + [one for index, one in enumerate(patch) if one not in original + patch[:index]]
        return _reorder(merged, patch, original, key)
    plain = [one for one in patch if DIRECTIVE not in one]
    if any(one.get(DIRECTIVE) == "replace" for one in patch):
        return [_without_directives(one) for one in plain]
    merged = list(original)
    for one in patch:
        name = _name(one, key)
        at = next((index for index, have in enumerate(merged) if have.get(key) == name), None)
        if one.get(DIRECTIVE) == "delete":
            merged = [have for have in merged if have.get(key) != name]
        elif at is None:
            merged.append(_merge_map({}, one, _fields(kind.element)))
        else:
            merged[at] = _merge_map(merged[at], one, _fields(kind.element))
    return _reorder(merged, plain, original, key)


def _reorder(merged: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """Elements named by ``order`` follow it; the others keep their place relative to those known ``before``."""
    wanted = [_name(one, key) for one in order]
    known = [_name(one, key) for one in before]
    listed = [one for one in merged if _name(one, key) in wanted]
    listed.sort(key=lambda one: wanted.index(_name(one, key)))
    others = [one for one in merged if _name(one, key) not in wanted]
    result = []
    while listed and others:
        left, right = _name(others[0], key), _name(listed[0], key)
        is_before = left in known and right in known and known.index(left) < known.index(right)
        result.append((others if is_before else listed).pop(0))
    return result + others + listed


def _merge_key(kind: Type | None, field: str) -> str:
    if kind is None or "merge" not in kind.strategies:
        raise bad_request(f"$setElementOrder is for lists that merge, and {field} does not")
    return kind.merge_key


def _name(element: Any, key: str) -> Any:
    """What tells an element from the others: its merge key's value, or for plain values the value itself."""
    if not key:
        return element
    if not isinstance(element, dict) or key not in element:
        raise bad_request(f"map: {element} does not contain declared merge key: {key}")
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
