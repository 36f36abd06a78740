"""The JSONPath of printer columns: fields, quoted keys, indexes, slices, wildcards, and filters that compare.

.spec.replicas    .metadata.annotations['a/b']    .status.conditions[?(@.type=="Ready")].status    .spec.hosts[*]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from kontinuum.foundation.errors import Refused

Step = Callable[[Any], Iterable[Any]]
TOKEN = re.compile(
    r"""\.\.(?P<deep>(?:\\.|[^.\[\]])+)
    |\.(?P<field>(?:\\.|[^.\[\]])+)
    |\[\s*'(?P<single>(?:\\.|[^'])*)'\s*\]|\[\s*"(?P<double>(?:\\.|[^"])*)"\s*\]
    |\[\s*(?P<all>\*)\s*\]
    |\[\s*(?P<from>-?\d*)\s*:\s*(?P<to>-?\d*)\s*\]
    |\[\s*(?P<index>-?\d+(?:\s*,\s*-?\d+)*)\s*\]
    |\[\s*\?\s*\((?P<filter>(?:"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|[^)"'])*)\)\s*\]""",
    re.VERBOSE,
)
COMPARISON = re.compile(r"\s*@(?P<path>.*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?)\s*)?", re.DOTALL)
MISSING = object()


class BadPath(Refused):
    """The path cannot be read."""


def compile_path(text: str) -> Step:
    """From a decoded value to everything that the path finds in it, in order. Raises BadPath."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    if text.startswith("$"):
        text = text[1:]
    if text in ("", "."):
        return lambda value: [value]
    if text[0] not in ".[":
        text = "." + text
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise BadPath(f"unrecognized character in {text!r} at {at}")
        steps.append(_step(found))
        at = found.end()
    return lambda value: _walk(value, steps)


def _walk(value: Any, steps: list[Step]) -> list[Any]:
    found = [value]
    for step in steps:
        found = [below for one in found for below in step(one)]
    return found


def _step(found: re.Match[str]) -> Step:
    parts = found.groupdict()
    if parts["field"] is not None or parts["single"] is not None or parts["double"] is not None:
        name = re.sub(r"\\(.)", r"\1", parts["field"] or parts["single"] or parts["double"] or "")
        return _all if name == "*" and parts["field"] else lambda value: _field(value, name)
    if parts["deep"] is not None:
        name = re.sub(r"\\(.)", r"\1", parts["deep"])
        return lambda value: _deep(value, name)
    if parts["all"]:
        return _all
    if parts["index"] is not None:
        places = [int(one) for one in parts["index"].split(",")]
        return lambda value: _places(value, places)
    if parts["filter"] is not None:
        return _filter(parts["filter"])
    begin, end = (int(one) if one else None for one in (parts["from"], parts["to"]))
    return lambda value: value[begin:end] if isinstance(value, list) else ()


def _field(value: Any, name: str) -> Iterable[Any]:
    return (value[name],) if isinstance(value, dict) and name in value else ()


def _all(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _deep(value: Any, name: str) -> Iterable[Any]:
    yield from _field(value, name)
    for below in _all(value):
        yield from _deep(below, name)


def _places(value: Any, places: list[int]) -> Iterable[Any]:
    if not isinstance(value, list):
        return
    for place in places:
        if -len(value) <= place < len(value):
            yield value[place]


def _filter(text: str) -> Step:
    found = COMPARISON.fullmatch(text)
    if found is None:
        raise BadPath(f"unrecognized filter {text!r}")
    path = compile_path(found["path"]) if found["path"].strip() else lambda value: [value]
    operator = found["operator"]
    wanted = _literal(found["value"]) if operator else None

    def matches(one: Any) -> bool:
        have = next(iter(path(one)), MISSING)
        if have is MISSING:
            return False
        return True if operator is None else _compare(have, operator, wanted)

    return lambda value: [one for one in value if matches(one)] if isinstance(value, list) else ()


def _literal(text: str) -> Any:
    if text[0] in "\"'" and text[-1] == text[0] and len(text) > 1:
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise BadPath(f"unrecognized value {text!r}") from None


def _compare(have: Any, operator: str, wanted: Any) -> bool:
    if operator in ("==", "!="):
        return bool(have == wanted) == (operator == "==")
    try:
        if operator in ("<", "<="):
            return bool(have < wanted) or (operator == "<=" and bool(have == wanted))
        return bool(have > wanted) or (operator == ">=" and bool(have == wanted))
    except TypeError:
        return False
