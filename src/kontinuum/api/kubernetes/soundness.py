"""Whether a document has the structure of its kind already, as compiled code tells it.

``structure`` walks through a document, mends it and finds words for what is wrong. Nearly every document needs nothing
of that, and msgspec, which holds a value against a type, takes an eighth of the time to find that out. So types are
made of the definitions that come often. What does not fit one of them is not necessarily wrong: the walk decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, ValidationError

from kontinuum.api.kubernetes.schema import Definition, Type, definition
from kontinuum.api.machinery.objects import Object

OFTEN = 16
"""So many documents are walked through before a type is made for them and all that is below, in 5 ms for a pod."""
MOST = 512
"""Combinations of uppermost fields that have a type, or may come to have one."""
MOST_TEXTS = 4096
"""Times and quantities that are known to be canonical."""
CONDITION = "io.k8s.apimachinery.pkg.apis.meta.v1.Condition"
ALWAYS = {CONDITION: ("reason", "message")}
"""Fields that Go writes however empty they are, and without which typed clients refuse an object."""

SCALARS: dict[str, Any] = {
    "string": str,
    "bool": bool,
    "int32": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "int64": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "double": float,
    "int-or-string": int | str,
    "any": Any,
}
NOT_EMPTY = Meta(min_length=1)


class Unlike:
    """Nothing is of this type: what is has to be walked through."""


class Soundness:
    """``is_canonical`` says of a text whether it is how a value of a form (``time``, ``quantity`` ...) is written."""

    def __init__(self, is_canonical: Callable[[str, Any], bool]) -> None:
        self._asked: dict[tuple[object, ...], int] = {}
        self._uppermost: dict[tuple[object, ...], Any] = {}
        self._below: dict[Definition, Any] = {}
        texts = {form: type(form, (), {}) for form in ("time", "micro-time", "quantity")}
        self._scalars = {**SCALARS, **texts}
        found = {made: (form, made()) for form, made in texts.items()}

        @lru_cache(maxsize=MOST_TEXTS)
        def read(expected: type, text: Any) -> object:
            form, value = found.get(expected, ("", None))
            if not form or not is_canonical(form, text):
                raise ValueError(text)
            return value

        self._read: Callable[[type, Any], object] = read

    def is_sound(self, doc: Object, shape: Definition) -> bool:
        """True: bringing ``doc`` into the structure of ``shape`` would leave it as it is. False: perhaps not."""
        these = (shape, *doc)
        expected = self._uppermost.get(these)
        if expected is None:
            # Not even the names of unknown fields are kept: there is no end of those.
            if not doc.keys() <= shape.fields.keys() or not self._comes_often(these):
                return False
            names = dict.fromkeys((*doc, *ALWAYS.get(shape.name, ())))
            expected = self._uppermost[these] = self._made(shape, [*names], (), doc)
        try:
            msgspec.convert(doc, expected, dec_hook=self._read)
        except ValidationError:
            return False
        return True

    def _comes_often(self, these: tuple[object, ...]) -> bool:
        if len(self._asked) >= MOST:
            self._asked.clear()
        before = self._asked.get(these, 0)
        self._asked[these] = before + 1
        return before >= OFTEN and len(self._uppermost) < MOST

    def _made(self, shape: Definition, names: list[str], above: tuple[Definition, ...], example: Object) -> Any:
        """The type of objects with these fields, or some of them."""
        always = ALWAYS.get(shape.name, ())
        fields = [
            (
                f"f{place}",
                self._type(shape.fields[name], (*above, shape), example.get(name)),
                *(() if name in always else (UNSET,)),
            )
            for place, name in enumerate(names)
        ]
        return msgspec.defstruct(
            shape.short_name,
            fields,
            rename={f"f{place}": name for place, name in enumerate(names)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )

    def _type(self, kind: Type, above: tuple[Definition, ...], example: Any) -> Any:
        """``example`` is a value of this type; something else if there is none."""
        if kind.form == "object":
            return self._type_below(definition(kind.definition), above, example if isinstance(example, dict) else {})
        if kind.element is None:
            return self._scalars.get(kind.form, Unlike)
        some = [*example.values()] if isinstance(example, dict) else example if isinstance(example, list) else []
        element = self._type(kind.element, above, next(iter(some), None))
        # Empty ones are taken out of the object that they stand in.
        return Annotated[list[element] if kind.form == "list" else dict[str, element], NOT_EMPTY]  # type: ignore[valid-type]

    def _type_below(self, shape: Definition, above: tuple[Definition, ...], example: Object) -> Any:
        """All fields, in the order of the first example that has come."""
        if shape in above:  # Schemas of custom resources contain themselves.
            return Unlike
        found = self._below.get(shape)
        if found is None:
            known = [name for name in example if name in shape.fields]
            names = [*dict.fromkeys((*known, *shape.fields))]
            found = self._below[shape] = self._made(shape, names, above, example)
        return found
