"""A configuration laid over an object, and parts taken out of it again, part by part as the types say.

The three steps of an apply that touch values (structured-merge-diff's ``typed``): is the configuration well-formed,
what does the object look like with it, and what does it look like without the paths that nobody wants any more.
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.comparing import NoStep, by_step, step_of
from kontinuum.api.machinery.fieldsets import HERE, MEMBER, Fields, is_member, step_text
from kontinuum.api.machinery.shapes import LIST, MAP, SCALAR, Shape

Values = dict[str, Any]


class Malformed(ValueError):
    """A configuration that its type cannot hold; the text is structured-merge-diff's."""


def check(value: Any, shape: Shape) -> None:
    """Raises Malformed with every problem."""
    problems = list(_problems(value, shape, ""))
    if problems:
        raise Malformed(
            problems[0] if len(problems) == 1 else "\n".join(["errors:", *(f"  {one}" for one in problems)])
        )


def _problems(value: Any, shape: Shape, path: str) -> list[str]:
    if value is None:
        return []
    shape = shape.of(value)
    prefix = f"{path}: " if path else ""
    if shape.form == SCALAR:
        problem = _scalar_problem(value, shape.scalar)
        return [prefix + problem] if problem else []
    if shape.form == MAP:
        if not isinstance(value, dict):
            return [f"{prefix}expected map, got {_shown(value)}"]
        return _map_problems(value, shape, path)
    if shape.form == LIST:
        if not isinstance(value, list):
            return [f"{prefix}expected list, got {_shown(value)}"]
        return _list_problems(value, shape, path)
    return []


def _map_problems(value: Values, shape: Shape, path: str) -> list[str]:
    found = []
    for key, one in value.items():
        here = f"{path}.{key}"
        kind = shape.fields.get(key) or shape.element
        if kind is None:
            found.append(f"{here}: field not declared in schema")
        else:
            found += _problems(one, kind, here)
    return found


def _list_problems(value: list[Any], shape: Shape, path: str) -> list[str]:
    found, seen = [], set()
    prefix = f"{path}: " if path else ""
    assert shape.element is not None
    for index, element in enumerate(value):
        step = f"i:{index}"
        if not shape.is_atomic:
            try:
                step = step_of(shape, element)
            except NoStep as problem:
                found.append(f"{prefix}element {index}: {problem}")
                continue
            if step in seen:
                found.append(f"{prefix}duplicate entries for key {step_text(step)}")
            seen.add(step)
        found += _problems(element, shape.element, path + step_text(step))
    return found


def _scalar_problem(value: Any, kind: str) -> str:
    if kind == "numeric" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {_go_type(value)}"
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{go_text(value)}}}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got {_shown(value)}"
    return f"expected any scalar, got {_shown(value)}" if isinstance(value, dict | list) else ""


def _shown(value: Any) -> str:
    return f"&{{{go_text(value)}}}"


def go_text(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
    return names.get(type(value), "<nil>")


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """``live`` with ``config`` laid over it; neither is changed, but the result shares parts with both."""
    shape = shape.of(live if config is None else config)
    if shape.is_whole:
        return config
    if shape.form == MAP:
        if not live or not isinstance(live, dict):
            return config
        return _merge_maps(live, config, shape) if isinstance(config, dict) else live
    if not live or not isinstance(live, list):
        return config
    return _merge_lists(live, config, shape) if isinstance(config, list) else live


def _merge_maps(live: Values, config: Values, shape: Shape) -> Values:
    merged = dict(live)
    for key, value in config.items():
        merged[key] = merge(live[key], value, shape.below(key)) if key in live else value
    return merged


def _merge_lists(live: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Elements of both keep the configuration's order; the object's own stay where they are between them."""
    element = shape.element
    assert element is not None
    ours, theirs = by_step(shape, live), by_step(shape, config)
    shared = [step for step in theirs if step in ours]
    merged: list[Any] = []
    waiting = iter(theirs)

    def take_up_to(last: str | None) -> None:
        """Everything of the configuration up to and with ``last``; with None, all that is left."""
        for step in waiting:
            mine = ours.get(step, ())
            merged.append(merge(mine[0], theirs[step][0], element) if len(mine) == 1 else theirs[step][0])
            if step == last:
                return

    following = iter(shared)
    expected = next(following, None)
    for step, elements in ours.items():
        if step not in theirs:
            merged += elements
        elif step == expected:
            take_up_to(step)
            expected = next(following, None)
    take_up_to(None)
    return merged


def remove(value: Any, unwanted: Fields, shape: Shape) -> Any:
    """``value`` without the parts whose path is a member; None if a map or list loses its last part so."""
    shape = shape.of(value)
    if shape.form == SCALAR or not value:
        return value
    if shape.is_atomic:
        return None
    if shape.form == MAP and isinstance(value, dict):
        return _remove_from_map(value, unwanted, shape)
    return _remove_from_list(value, unwanted, shape) if isinstance(value, list) else value


def _remove_from_map(value: Values, unwanted: Fields, shape: Shape) -> Values | None:
    left = {}
    for key, one in value.items():
        below = unwanted.get("f:" + key)
        if below is None:
            left[key] = one
        elif not is_member(below):
            left[key] = remove(one, below, shape.below(key))
    return left or None


def _remove_from_list(value: list[Any], unwanted: Fields, shape: Shape) -> list[Any] | None:
    left = []
    assert shape.element is not None
    for element in value:
        try:
            below = unwanted.get(step_of(shape, element))
        except NoStep:
            below = None
        if below is None:
            left.append(element)
        elif not is_member(below):
            left.append(remove(element, below, shape.element))
    return left or None


def with_named_fields(fields: Fields, shape: Shape) -> Fields:
    """The set with every field that is only a way to members as a member itself, as far as the type names it.

    So that taking one set from another takes whole structs, which nobody owns as such.
    """
    found: Fields = {}
    for step, below in fields.items():
        if not below:
            found[step] = below
            continue
        kind = shape.element if step[0] != "f" else shape.below(step[2:])
        deeper = with_named_fields(below, kind) if kind is not None else below
        is_named = step[0] == "f" and step[2:] in shape.fields
        found[step] = {HERE: MEMBER, **deeper} if is_named else deeper
    return found
