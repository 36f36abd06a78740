"""Sets of field paths, as ``metadata.managedFields`` writes them (``fieldsV1``), and their arithmetic.

A set is kept in the form in which it travels, so that nothing is parsed or built to compare, store or answer it:

    {"f:spec": {"f:replicas": {}, "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}

    f:NAME   a field of an object, or a key of a map       k:{...}  the list element with these key fields
    v:VALUE  the element of a set with this value          i:N      the element at an index
    .        the path that leads here is itself a member, beside what is below it

A path with nothing below it (``{}``) is a member; a path that is only a way to members has neither ``.`` nor ``{}``.
The functions leave their arguments alone; results may share parts with them. The rules are those of Kubernetes'
structured-merge-diff (``fieldpath``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

Fields = dict[str, Any]
"""A set of paths, or the part of one below a path. Never changed once made."""

MEMBER: Fields = {}
HERE = "."


class BadFields(ValueError):
    """Something that is no ``fieldsV1``."""


def is_member(fields: Fields) -> bool:
    """True if the path that leads to ``fields`` belongs to the set."""
    return not fields or HERE in fields


def union(one: Fields, other: Fields) -> Fields:
    """Every path of either. Both are whole sets, where ``{}`` is the empty one."""
    if not other:
        return one
    return _union(one, other) if one else other


def _union(one: Fields, other: Fields) -> Fields:
    joined = dict(one)
    for key, below in other.items():
        mine = joined.get(key)
        joined[key] = below if mine is None or mine is below else join(mine, below)
    return joined


def join(one: Fields, other: Fields) -> Fields:
    """The union of what is below the same path, where ``{}`` is the path itself."""
    if not one:
        return {HERE: MEMBER, **other} if other else MEMBER
    if not other:
        return one if HERE in one else {HERE: MEMBER, **one}
    return _union(one, other)


def difference(one: Fields, other: Fields) -> Fields:
    """The paths of ``one`` that ``other`` does not have. What is below a path that goes stays."""
    left: Fields = {}
    for key, below in one.items():
        theirs = other.get(key)
        if theirs is None:
            left[key] = below
        elif key != HERE:
            rest = _difference_below(below, theirs)
            if rest is not None:
                left[key] = rest
    return left


def _difference_below(mine: Fields, theirs: Fields) -> Fields | None:
    """None if nothing is left."""
    if not mine:
        return None if is_member(theirs) else MEMBER
    below = difference(mine, theirs)
    if not theirs:
        below.pop(HERE, None)
    return _closed(below)


def without(one: Fields, prefixes: Fields) -> Fields:
    """The paths of ``one`` that are not, and are not below, members of ``prefixes``."""
    left: Fields = {}
    for key, below in one.items():
        theirs = prefixes.get(key)
        if theirs is None:
            left[key] = below
        elif is_member(theirs):
            continue
        elif below:
            rest = _closed(without(below, theirs))
            if rest is not None:
                left[key] = rest
        else:
            left[key] = below
    return left


def intersection(one: Fields, other: Fields) -> Fields:
    """The paths that both have."""
    both: Fields = {}
    for key, below in one.items():
        theirs = other.get(key)
        if theirs is None:
            continue
        shared = _intersection_below(below, theirs)
        if shared is not None:
            both[key] = shared
    return both


def _intersection_below(mine: Fields, theirs: Fields) -> Fields | None:
    if not mine:
        return MEMBER if is_member(theirs) else None
    if not theirs:
        return MEMBER if HERE in mine else None
    return _closed(intersection(mine, theirs))


def _closed(below: Fields) -> Fields | None:
    """What an operation has left below a path, in the one form that each set has; None if it is nothing."""
    if not below:
        return None
    return MEMBER if len(below) == 1 and HERE in below else below


def paths(fields: Fields, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member, as the steps that lead to it."""
    for key, below in fields.items():
        if key == HERE:
            continue
        path = (*prefix, key)
        if is_member(below):
            yield path
        yield from paths(below, path)


def as_text(path: tuple[str, ...]) -> str:
    """A path as people read it: ``.spec.containers[name="main"].image``."""
    return "".join(map(step_text, path))


def step_text(step: str) -> str:
    kind, _, rest = step.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = orjson.loads(rest)
        return f"[{','.join(f'{name}={_value_text(keys[name])}' for name in sorted(keys))}]"
    return f"[={_value_text(orjson.loads(rest))}]" if kind == "v" else f"[{rest}]"


def _value_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def key_step(keys: dict[str, Any]) -> str:
    """The step to the list element with these key fields."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(maxsize=4096)
def named_step(key: str, value: str) -> str:
    """As ``key_step`` for one key: containers, variables and conditions of all objects are mostly called alike."""
    return key_step({key: value})


def value_step(value: Any) -> str:
    """The step to the element of a set."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def decode(raw: Any) -> Fields:
    """A set that somebody else wrote, in our form. Raises BadFields."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BadFields("fields must be an object")
    fields: Fields = {}
    for key, below in raw.items():
        if key == HERE:
            fields[HERE] = MEMBER
            continue
        decoded = decode(below)
        # Only "." below a path says the same as nothing.
        fields[_decode_step(key)] = _closed(decoded) or MEMBER
    return fields


def _decode_step(key: str) -> str:
    kind, colon, rest = key.partition(":")
    if not colon or kind not in ("f", "k", "v", "i"):
        raise BadFields(f"missing or unknown prefix in the path element {key!r}")
    if kind == "f":
        return key
    try:
        value = orjson.loads(rest)
    except orjson.JSONDecodeError:
        raise BadFields(f"the path element {key!r} is not valid JSON") from None
    if (kind == "k") != isinstance(value, dict) or (kind == "i" and type(value) is not int):
        raise BadFields(f"the path element {key!r} holds no {'object' if kind == 'k' else 'plain value'}")
    return f"{kind}:{orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()}"


def encode(fields: Fields) -> Fields:
    """The set with its steps in order, so that equal sets are equal bytes."""
    if len(fields) < 2:
        return {key: encode(below) if below else below for key, below in fields.items()}
    return {key: encode(below) if below else below for key, below in sorted(fields.items())}
