"""From characters to tokens (the lexical part of the CEL specification)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from kontinuum.api.machinery.cel.errors import CompileError, Issue
from kontinuum.api.machinery.cel.values import LARGEST, LARGEST_UNSIGNED, Unsigned

LONGEST_SOURCE = 100_000
"""Characters; cel-go's own limit."""


class Token(NamedTuple):
    """``kind``: int, uint, double, string, bytes, ident, end, or an operator's own text."""

    kind: str
    value: Any
    position: int


PATTERN = re.compile(
    r"""
      (?P<space>   (?:\s+|//[^\n]*)+ )
    | (?P<text>    (?P<prefix>[rRbB]{0,2})
                   (?P<quote>\"\"\"|'''|"|') )
    | (?P<double>  \d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)? )
    | (?P<hex>     0x[0-9a-fA-F]+ )(?P<hexu>[uU])?
    | (?P<int>     \d+ )(?P<intu>[uU])?
    | (?P<ident>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<op>      ==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE | re.ASCII,
)
RAW_END = {quote: re.compile(quote, re.DOTALL) for quote in ('"""', "'''", '"', "'")}
COOKED_END = {quote: re.compile(rf"(?:\\.|[^\\])*?{quote}", re.DOTALL) for quote in RAW_END}
ESCAPE = re.compile(r"\\(?:([0-3][0-7]{2})|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", "'": "'", '"': '"', "`": "`",
}  # fmt: skip


def tokens(source: str) -> list[Token]:
    """Ends in a token ``end``. Raises CompileError."""
    if len(source) > LONGEST_SOURCE:
        raise CompileError(
            source[:80], [], f"expression code point size exceeds limit: size: {len(source)}, limit {LONGEST_SOURCE}"
        )
    found: list[Token] = []
    position = 0
    while position < len(source):
        match = PATTERN.match(source, position)
        if match is None:
            raise _error(source, position, f"Syntax error: token recognition error at: '{source[position]}'")
        start, position = position, match.end()
        if match.lastgroup == "space":
            continue
        if match["text"] is not None:
            token, position = _text(source, start, match)
        else:
            token = _plain(source, start, match)
        found.append(token)
    found.append(Token("end", None, len(source)))
    return found


def _plain(source: str, start: int, match: re.Match[str]) -> Token:
    if match["ident"] is not None:
        return Token("ident", match["ident"], start)
    if match["op"] is not None:
        return Token(match["op"], match["op"], start)
    if match["double"] is not None:
        return Token("double", float(match["double"]), start)
    # A number of thousands of digits is not worth converting to find that it is too large.
    digits = match["int"] or match["hex"]
    number = int(digits, 16 if match["hex"] else 10) if len(digits) < 30 else LARGEST_UNSIGNED + 2
    if match["intu"] or match["hexu"]:
        if number > LARGEST_UNSIGNED:
            raise _error(source, start, "invalid uint literal")
        return Token("uint", Unsigned(number), start)
    # One more than the largest is allowed behind a minus; the parser looks at that.
    if number > LARGEST + 1:
        raise _error(source, start, "invalid int literal")
    return Token("int", number, start)


def _text(source: str, start: int, match: re.Match[str]) -> tuple[Token, int]:
    prefix, quote = match["prefix"].lower(), match["quote"]
    if len(set(prefix)) != len(prefix):
        raise _error(source, start, f"Syntax error: token recognition error at: '{source[start]}'")
    is_raw, is_bytes = "r" in prefix, "b" in prefix
    begin = match.end()
    end = RAW_END[quote].search(source, begin) if is_raw else COOKED_END[quote].match(source, begin)
    if end is None:
        raise _error(source, start, f"Syntax error: token recognition error at: '{source[start : start + 20]}'")
    content = source[match.end() : end.end() - len(quote)]
    if len(quote) == 1 and "\n" in content:
        raise _error(source, start, f"Syntax error: token recognition error at: '{content.split(chr(10))[0][:20]}'")
    if not is_raw and "\\" in content:
        return Token("bytes" if is_bytes else "string", _unescape(source, start, content, is_bytes), start), end.end()
    return Token("bytes" if is_bytes else "string", content.encode() if is_bytes else content, start), end.end()


def _unescape(source: str, start: int, content: str, is_bytes: bool) -> str | bytes:
    """In bytes, octal and hexadecimal escapes are bytes; in text they are characters."""
    parts: list[bytes] = []
    position = 0
    for match in ESCAPE.finditer(content):
        parts.append(content[position : match.start()].encode())
        position = match.end()
        octal, two, four, eight, simple = match.groups()
        if simple is not None:
            if simple not in SIMPLE:
                raise _error(source, start, f"Syntax error: token recognition error at: '\\{simple}'")
            parts.append(SIMPLE[simple].encode())
            continue
        code = int(octal, 8) if octal else int(two or four or eight, 16)
        if is_bytes and (octal or two):
            parts.append(bytes([code]))
        elif is_bytes or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise _error(source, start, "invalid unicode code point")
        else:
            parts.append(chr(code).encode())
    parts.append(content[position:].encode())
    joined = b"".join(parts)
    return joined if is_bytes else joined.decode()


def _error(source: str, position: int, message: str) -> CompileError:
    return CompileError(source, [Issue(position, message)])
