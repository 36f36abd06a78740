"""``matches``, ``find``, ``findAll``: RE2's regular expressions, whose time grows with the text only.

See ``foundation.regex``.
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.foundation.regex import BadExpression, compile_expression


def compiled(pattern: str) -> Any:
    """Raises EvaluationError for what is no regular expression of RE2."""
    try:
        return compile_expression(pattern)
    except BadExpression as error:
        raise EvaluationError(str(error)) from error


def _matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return str(match.group(0)) if match is not None else ""


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        if 0 <= count <= len(found):
            break
        found.append(match.group(0))
    return found


S = t.STRING
OVERLOADS = (
    member("matches", "matches_string", (S, S), t.BOOL, _matches, charges.of_pattern),
    function("matches", "matches", (S, S), t.BOOL, _matches, charges.of_pattern),
    member("find", "string_find_string", (S, S), S, _find, charges.of_pattern),
    member("findAll", "string_find_all_string", (S, S), t.list_of(S), _find_all, charges.of_pattern),
    member("findAll", "string_find_all_string_int", (S, S, t.INT), t.list_of(S), _find_all, charges.of_pattern),
)
