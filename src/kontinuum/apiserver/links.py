"""Links in an HTML page that comes through a proxy: changed on the way, as the page arrives, so that they work there.

    <a href="/next">   ──▶   <a href="/api/v1/namespaces/NS/pods/NAME/proxy/next">

Everything else of the page stays as it is, byte for byte: comments, scripts, what is no HTML at all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from aiohttp import ClientResponse

LONGEST_TAG = 64 * 1024
"""Bytes. What has not ended by then is taken for no tag, and passed on as it is."""
UNPACKED = 1 << 20
"""Bytes that are unpacked at once."""
GZIP = 31
"""zlib's name for the format (``wbits``)."""

LINKS = {
    b"a": (b"href",), b"area": (b"href",), b"audio": (b"src",), b"base": (b"href",), b"blockquote": (b"cite",),
    b"body": (b"background",), b"button": (b"formaction",), b"del": (b"cite",), b"embed": (b"src",),
    b"form": (b"action",), b"frame": (b"longdesc", b"src"), b"head": (b"profile",), b"html": (b"manifest",),
    b"iframe": (b"longdesc", b"src"), b"img": (b"longdesc", b"src", b"usemap"),
    b"input": (b"formaction", b"src", b"usemap"), b"ins": (b"cite",), b"link": (b"href",),
    b"object": (b"classid", b"codebase", b"data", b"usemap"), b"q": (b"cite",), b"script": (b"src",),
    b"source": (b"src",), b"track": (b"src",), b"video": (b"poster", b"src"),
}  # fmt: skip
"""The attributes that hold one URL (HTML 4.01 and the HTML standard), by element."""

_ATTRIBUTES = rb"(?:[^>\"']|\"[^\"]*\"|'[^']*')*+"
"""Here and in names nothing is given back once it is matched (``+``): nobody gains by it but who wants us to search."""
_TOKEN = re.compile(
    # What is in a comment or a script only looks like tags.
    rb"<!--.*?-->"
    rb"|<(?P<raw>script|style)(?P<of_raw>(?=[\s/>])" + _ATTRIBUTES + rb")>.*?</(?P=raw)"
    rb"|<(?P<element>(?!(?:script|style)[\s/>])[a-z][^\s/>]*+)(?P<of_element>" + _ATTRIBUTES + rb")>",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_ATTRIBUTE = re.compile(
    rb"(?P<before>(?<=[\s\"'/])(?P<name>[a-z]+)\s*=\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'>]+)", re.IGNORECASE
)
_MAY_BEGIN = re.compile(rb"<(?:[a-zA-Z]|!--|!?-?\Z)")

Change = Callable[[str], str]


class Links:
    """A page that arrives in pieces; ``change`` gets each link as it is written and returns what it shall be."""

    def __init__(self, change: Change, *, is_packed: bool = False) -> None:
        self._change = change
        self._unpack = zlib.decompressobj(GZIP) if is_packed else None
        self._pack = zlib.compressobj(wbits=GZIP) if is_packed else None
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be passed on by now."""
        if self._unpack is None or self._pack is None:
            return self._changed(piece)
        done = []
        while piece:
            # A little that was packed may be very much.
            done.append(self._pack.compress(self._changed(self._unpack.decompress(piece, UNPACKED))))
            piece = self._unpack.unconsumed_tail
        return b"".join(done) + self._pack.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """What was still held back when the page ended."""
        last = b"" if self._unpack is None else self._changed(self._unpack.flush())
        last, self._rest = last + self._rest, b""
        return last if self._pack is None else self._pack.compress(last) + self._pack.flush()

    def _changed(self, piece: bytes) -> bytes:
        page, done, position = self._rest + piece, [], 0
        while begin := _MAY_BEGIN.search(page, position):
            start = begin.start()
            done.append(page[position:start])
            whole = start + LONGEST_TAG
            token = _TOKEN.match(page, start, whole)
            if token is not None:
                done.append(self._tag(token))
                position = token.end()
            elif len(page) < whole:
                self._rest = page[start:]
                return b"".join(done)
            else:
                # All of it: who looked for another beginning in there would look through a hostile page for minutes.
                done.append(page[start:whole])
                position = whole
        self._rest = b""
        return b"".join(done) + page[position:]

    def _tag(self, token: re.Match[bytes]) -> bytes:
        group = "raw" if token["raw"] else "element"
        links = LINKS.get((token[group] or b"").lower())
        if not links:
            return token[0]

        def changed(attribute: re.Match[bytes]) -> bytes:
            if attribute["name"].lower() not in links:
                return attribute[0]
            value = attribute["value"]
            quote = value[:1] if value[:1] in (b'"', b"'") else b""
            # A page's own encoding does not matter: what is put before a link is ASCII.
            link = self._change(value.strip(quote or None).decode("latin-1")).encode("latin-1")
            return attribute["before"] + quote + link + quote

        begin, end = (at - token.start() for at in token.span(f"of_{group}"))
        return token[0][:begin] + _ATTRIBUTE.sub(changed, token[0][begin:end]) + token[0][end:]


def links_of(answer: ClientResponse, change: Change) -> Links | None:
    """None for an answer that is no page, or one packed in a way that we do not read."""
    packed = answer.headers.get("Content-Encoding", "").strip().lower()
    if answer.content_type != "text/html" or packed not in ("", "identity", "gzip"):
        return None
    return Links(change, is_packed=packed == "gzip")
