"""Texts: CEL's own functions and the strings extension, version 2 (cel-go ``ext.Strings``). Indexes are characters."""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.library.texts import formatted
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import LONGEST

S, I = t.STRING, t.INT  # noqa: E741
TEXTS = t.list_of(t.STRING)
UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
# What Go's unicode.IsSpace knows; Python's strip() removes four separators more.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
ESCAPES = str.maketrans({
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"',
})  # fmt: skip


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, wanted: str, start: int = 0) -> int:
    if start < 0 or (start > len(text) and wanted):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(wanted, start) if wanted else min(start, len(text))


def _last_index_of(text: str, wanted: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(wanted)
    if not 0 <= start < max(len(text), 1):
        raise EvaluationError(f"index out of range: {start}")
    return text.rfind(wanted, 0, start + len(wanted))


def _join(texts: list[Any], separator: str = "") -> str:
    if sum(map(len, texts)) + len(separator) * len(texts) > LONGEST:
        raise CostExceeded
    return separator.join(texts)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = (len(text) + 1 if not old else text.count(old)) if count < 0 else count
    if found and len(text) + min(found, len(text) + 1) * len(new) > LONGEST:
        raise CostExceeded
    return text.replace(old, new, count if count >= 0 else -1)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if count < 0 or count >= len(text):
        return list(text)
    return [*text[: count - 1], text[count - 1 :]]


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= stop <= len(text):
        raise EvaluationError(f"index out of range: {stop}")
    if start > stop:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _quote(text: str) -> str:
    return f'"{text.translate(ESCAPES)}"'


OVERLOADS = (
    member("contains", "contains_string", (S, S), t.BOOL, lambda a, b: b in a, charges.of_product),
    member("startsWith", "starts_with_string", (S, S), t.BOOL, lambda a, b: a.startswith(b), charges.of_second),
    member("endsWith", "ends_with_string", (S, S), t.BOOL, lambda a, b: a.endswith(b), charges.of_second),
    member("charAt", "string_char_at_int", (S, I), S, _char_at),
    member("indexOf", "string_index_of_string", (S, S), I, _index_of, charges.of_first),
    member("indexOf", "string_index_of_string_int", (S, S, I), I, _index_of, charges.of_first),
    member("lastIndexOf", "string_last_index_of_string", (S, S), I, _last_index_of, charges.of_first),
    member("lastIndexOf", "string_last_index_of_string_int", (S, S, I), I, _last_index_of, charges.of_first),
    member("join", "list_join", (TEXTS,), S, _join, charges.of_joined),
    member("join", "list_join_string", (TEXTS, S), S, _join, charges.of_joined),
    member("lowerAscii", "string_lower_ascii", (S,), S, lambda a: a.translate(LOWER), charges.of_first),
    member("upperAscii", "string_upper_ascii", (S,), S, lambda a: a.translate(UPPER), charges.of_first),
    member("replace", "string_replace_string_string", (S, S, S), S, _replace, charges.of_first_twice),
    member("replace", "string_replace_string_string_int", (S, S, S, I), S, _replace, charges.of_first_twice),
    member("split", "string_split_string", (S, S), TEXTS, _split, charges.of_first_twice),
    member("split", "string_split_string_int", (S, S, I), TEXTS, _split, charges.of_first_twice),
    member("substring", "string_substring_int", (S, I), S, _substring, charges.of_first),
    member("substring", "string_substring_int_int", (S, I, I), S, _substring, charges.of_first),
    member("trim", "string_trim", (S,), S, lambda a: a.strip(SPACE), charges.of_first),
    member("reverse", "string_reverse", (S,), S, lambda a: a[::-1], charges.of_first),
    member("format", "string_format", (S, t.list_of(t.DYN)), S, formatted, charges.of_traversal),
    function("strings.quote", "strings_quote", (S,), S, _quote, charges.of_first),
)
