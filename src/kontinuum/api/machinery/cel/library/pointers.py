"""``jsonpatch.escapeKey``: a map's key as part of a JSON pointer (RFC 6901)."""

from __future__ import annotations

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


OVERLOADS = (
    function("jsonpatch.escapeKey", "string_jsonpatch_escapeKey", (t.STRING,), t.STRING, _escape, charges.of_first),
)  # fmt: skip
