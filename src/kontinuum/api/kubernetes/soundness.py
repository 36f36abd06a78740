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
"""So many documents are walked through before a type is made of their definition and all below, 30 ms for a pod's."""
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
        self._asked: dict[Definition, int] = {}
        self._types: dict[Definition, Any] = {}
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
        expected = self._types.get(shape)
        if expected is None:
            asked = self._asked.get(shape, 0)
            if asked < OFTEN:
                self._asked[shape] = asked + 1
                return False
            expected = self._type_of(shape, ())
        try:
            msgspec.convert(doc, expected, dec_hook=self._read)
        except ValidationError:
            return False
        return True

    def _type_of(self, shape: Definition, above: tuple[Definition, ...]) -> Any:
        found = self._types.get(shape)
        if found is not None:
            return found
        if shape in above:  # Schemas of custom resources contain themselves.
            return Unlike
        inside = (*above, shape)
        names = [*shape.fields]
        always = ALWAYS.get(shape.name, ())
        fields = [
            (f"f{place}", self._type(shape.fields[name], inside), *(() if name in always else (UNSET,)))
            for place, name in enumerate(names)
        ]
        made = msgspec.defstruct(
            shape.short_name,
            fields,
            rename={f"f{place}": name for place, name in enumerate(names)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._types[shape] = made
        return made

    def _type(self, kind: Type, above: tuple[Definition, ...]) -> Any:
        if kind.form == "object":
            return self._type_of(definition(kind.definition), above)
        if kind.element is None:
            return self._scalars.get(kind.form, Unlike)
        element = self._type(kind.element, above)
        # Empty ones are taken out of the object that they stand in.
        return Annotated[list[element] if kind.form == "list" else dict[str, element], NOT_EMPTY]  # type: ignore[valid-type]
