"""Which paths a value has, and which of them differ between two values (structured-merge-diff's ``typed``).

Parts that are equal are never looked into: comparing two versions of an object costs what has changed in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kontinuum.api.machinery.fieldsets import HERE, MEMBER, Fields, key_step, named_step, union, value_step, without
from kontinuum.api.machinery.shapes import LIST, MAP, SCALAR, Shape
from kontinuum.foundation.familiar import Familiar

OFTEN_ALIKE = frozenset({"metadata", "spec"})
"""What objects from one template have alike: their labels, owner and all that is wanted of them."""
MOST_REMEMBERED = 256
"""Combinations of a type's fields whose paths are kept: real objects come in a few, only mischief in more."""


@dataclass(slots=True)
class Comparison:
    """The paths that only the new value has, that only the old one has, and that both have with another value."""

    added: Fields
    modified: Fields
    removed: Fields

    @property
    def is_same(self) -> bool:
        return not (self.added or self.modified or self.removed)

    @property
    def taken(self) -> Fields:
        """What whoever made the change owns now."""
        return union(self.added, self.modified)

    def ignoring(self, prefixes: Fields) -> Comparison:
        """The same without what is at or below ``prefixes``."""
        names = prefixes.keys()
        if names.isdisjoint(self.added) and names.isdisjoint(self.modified) and names.isdisjoint(self.removed):
            return self
        return Comparison(
            without(self.added, prefixes), without(self.modified, prefixes), without(self.removed, prefixes)
        )


class NoStep(ValueError):
    """A list element that nothing tells from the others."""


def step_of(shape: Shape, element: Any) -> str:
    """The step to an element of a list that is not atomic. Raises NoStep."""
    if len(shape.keys) == 1 and isinstance(element, dict) and type(name := element.get(shape.keys[0])) is str:
        return named_step(shape.keys[0], name)
    if not shape.keys:
        if isinstance(element, dict):
            raise NoStep("associative list without keys has an element that's a map type")
        if isinstance(element, list):
            raise NoStep("not supported: associative list with lists as elements")
        if element is None:
            raise NoStep("associative list without keys has an element that's an explicit null")
        return value_step(element)
    if element is None:
        raise NoStep("associative list with keys may not have a null element")
    if not isinstance(element, dict):
        raise NoStep("associative list with keys may not have non-map elements")
    found = {}
    for key in shape.keys:
        value = element[key] if key in element else shape.key_defaults.get(key)
        if value is not None or key in element:
            found[key] = value
    if not found:
        problem = f"associative list with keys has an element that omits all key fields {_go_strings(shape.keys)}"
        raise NoStep(f"{problem} (and doesn't have default values for any of them)")
    return key_step(found)


def _go_strings(texts: Sequence[str]) -> str:
    quoted = [f'"{text}"' for text in texts]
    return f"[{' '.join(quoted)}]"


def by_step(shape: Shape, elements: Sequence[Any] | None) -> dict[str, list[Any]]:
    """The elements by their steps, in order, without those that have none; more than one per step are duplicates."""
    found: dict[str, list[Any]] = {}
    for element in elements or ():
        try:
            found.setdefault(step_of(shape, element), []).append(element)
        except NoStep:
            continue
    return found


def everything(value: Any, shape: Shape) -> Fields:
    """Every path at and below a value that was not there before; ``{}`` is the value's own path."""
    if type(value) is dict and (known := shape.flat.get(tuple(value))) is not None:
        return known
    shape = shape.of(value)
    if not value or shape.is_whole:
        return MEMBER
    if shape.form == MAP and isinstance(value, dict):
        return _everything_in_map(value, shape)
    if shape.form == LIST and isinstance(value, list) and shape.element is not None:
        return _everything_in_list(value, shape, shape.element)
    return MEMBER


def _everything_in_list(value: list[Any], shape: Shape, element: Shape) -> Fields:
    found = {HERE: MEMBER}
    name = shape.keys[0] if len(shape.keys) == 1 else ""
    for one in value:
        try:
            # Nearly every list is one of objects with names.
            text = one.get(name) if name and type(one) is dict else None
            step = named_step(name, text) if type(text) is str else step_of(shape, one)
        except NoStep:
            continue
        # Of those that nothing tells apart nobody owns a part.
        found[step] = MEMBER if step in found else everything(one, element)
    return found


def _everything_in_map(value: dict[str, Any], shape: Shape) -> Fields:
    found: Fields = {HERE: MEMBER}
    fields, element = shape.fields, shape.element
    is_flat = bool(fields)  # Keys of a plain map are the user's, and without number.
    for key, below in value.items():
        kind = fields.get(key) or element
        if kind is not None and kind.form == SCALAR:
            found["f:" + key] = MEMBER
            is_flat = is_flat and key in fields
        else:
            is_flat = False
            found["f:" + key] = everything(below, kind or shape.below(key))
    if is_flat and len(shape.flat) < MOST_REMEMBERED:
        shape.flat[tuple(value)] = found
    return found


def applied(value: Any, shape: Shape) -> Fields | None:
    """The paths that somebody owns who applies ``value``: its leaves. None: no path, not even its own."""
    shape = shape.of(value)
    if value is None or shape.is_whole:
        return MEMBER
    if shape.form == MAP and isinstance(value, dict):
        return (_applied_map(value, shape) or None) if value else MEMBER
    if shape.form == LIST and isinstance(value, list) and shape.element is not None:
        found: Fields = {}
        for step, elements in by_step(shape, value).items():
            below = applied(elements[0], shape.element) if len(elements) == 1 else MEMBER
            found[step] = {HERE: MEMBER, **below} if below else MEMBER
        return found or None
    return MEMBER


def _applied_map(value: dict[str, Any], shape: Shape) -> Fields:
    found: Fields = {}
    for key, one in value.items():
        below = applied(one, shape.below(key))
        if key not in shape.fields:
            found["f:" + key] = {HERE: MEMBER, **below} if below else MEMBER
        elif below is not None:
            found["f:" + key] = below
    return found


def compare(old: dict[str, Any], new: dict[str, Any], shape: Shape) -> Comparison:
    """What differs between two objects of one type."""
    found = Comparison({}, {}, {})
    _compare_maps(old, new, shape, found)
    return found


def created(new: dict[str, Any], shape: Shape) -> Comparison:
    """What a new object adds to none: an empty one, which has the fields that are always there."""
    return Comparison(_created(new, shape), {}, {})


def _created(new: dict[str, Any], shape: Shape) -> Fields:
    found: Fields = {}
    fields, always = shape.fields, shape.always
    for key, value in new.items():
        kind = fields.get(key) or shape.below(key)
        if key not in always:
            found["f:" + key] = MEMBER if kind.form == SCALAR else everything(value, kind)
        elif kind.form == MAP and not kind.is_atomic and isinstance(value, dict):
            below = _created_alike(value, kind) if key in OFTEN_ALIKE else _created(value, kind)
            if below:
                found["f:" + key] = below
        else:
            below = everything(value, kind)
            found["f:" + key] = {step: one for step, one in below.items() if step != HERE}
    return found


def _created_alike(new: dict[str, Any], shape: Shape) -> Fields:
    """As ``_created`` for what is often the same in one object after the other."""
    if shape.familiar is None:
        shape.familiar = Familiar(partial(_created, shape=shape))
    return shape.familiar.of(new)


def _compare_maps(old: dict[str, Any], new: dict[str, Any], shape: Shape, found: Comparison) -> None:
    fields = shape.fields
    for key, value in new.items():
        if key not in old:
            below = fields.get(key) or shape.below(key)
            found.added["f:" + key] = MEMBER if below.form == SCALAR else everything(value, below)
        else:
            before = old[key]
            if before is not value and (before != value or type(before) is not type(value)):
                below = fields.get(key) or shape.below(key)
                if below.form == SCALAR:
                    found.modified["f:" + key] = MEMBER
                else:
                    _compare_values(before, value, below, "f:" + key, found)
    if len(new) != len(old) or old.keys() != new.keys():
        for key, before in old.items():
            if key not in new:
                found.removed["f:" + key] = everything(before, shape.below(key))


def _compare_values(old: Any, new: Any, shape: Shape, step: str, found: Comparison) -> None:
    """Two values that are there and differ."""
    shape = shape.of(old if new is None else new)
    parts = dict if shape.form == MAP else list
    is_comparable = (old is None or isinstance(old, parts)) and (new is None or isinstance(new, parts))
    if shape.is_whole or not is_comparable or (not old and not new):
        found.modified[step] = MEMBER
        return
    if shape.form == MAP:
        below = Comparison({}, {}, {})
        _compare_maps(old or {}, new or {}, shape, below)
    else:
        below = _compare_lists_alike(old or [], new or [], shape)
    if below.added:
        found.added[step] = below.added
    if below.modified:
        found.modified[step] = below.modified
    if below.removed:
        found.removed[step] = below.removed


def _compare_lists_alike(old: list[Any], new: list[Any], shape: Shape) -> Comparison:
    """As ``_compare_lists``, for what many objects go through alike: their conditions, within the same second."""
    if shape.change is None:
        shape.change = Familiar(partial(_compare_lists, shape=shape))
    found: Comparison = shape.change.of((old, new))
    return found


def _compare_lists(change: tuple[list[Any], list[Any]], shape: Shape) -> Comparison:
    old, new = change
    found = Comparison({}, {}, {})
    before, after = by_step(shape, old), by_step(shape, new)
    assert shape.element is not None
    for step, elements in after.items():
        previous = before.get(step, [])
        if len(elements) == 1 and len(previous) == 1:
            if elements[0] != previous[0]:
                _compare_values(previous[0], elements[0], shape.element, step, found)
        elif len(elements) == 1:
            found.added[step] = everything(elements[0], shape.element)
            if previous:
                found.removed[step] = MEMBER
        elif len(previous) > 1:
            if elements != previous:
                found.modified[step] = MEMBER
        else:
            found.added[step] = MEMBER
            if previous:
                found.removed[step] = everything(previous[0], shape.element)
    for step, previous in before.items():
        if step not in after:
            found.removed[step] = everything(previous[0], shape.element) if len(previous) == 1 else MEMBER
    return found
