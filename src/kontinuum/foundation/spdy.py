"""The frames and header blocks of SPDY/3.1, which kubectl before 1.31 and containerd speak for exec and attach.

A frame has a head of eight bytes. A data frame's is its stream's number, flags and a length of three bytes; a control
frame's begins with a set bit, and holds the version, the frame's type, flags and length. Header blocks are name and
value pairs, compressed with a dictionary that both sides know.

The dictionary's 1,423 bytes are part of the protocol (SPDY Protocol Draft 3.1, section 2.6.10.1).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

_WORDS = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,"
    "allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,"
    "upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,"
    "set-cookie,keep-alive,origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _counted(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw


DICTIONARY = b"".join(_counted(word) for word in _WORDS.split(",")) + _TEXT.encode()


CONTROL = 0x80
VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 2, 3, 4, 6, 7
FIN = 1
"""The flag that closes the sender's half of a stream."""
LARGEST_FRAME = 1 << 20
"""Bytes of a frame that anybody has to read."""
LARGEST_HEADERS = 64 << 10
"""Bytes of a header block once it is no longer compressed: a few bytes can stand for millions."""
WINDOW_BITS = 11
"""2 KiB: the dictionary's size, rounded up."""
LARGEST_DATA = 32 << 10
"""Bytes of content that are put into one data frame."""


def control_frame(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BBHI", CONTROL, VERSION, kind, flags << 24 | len(body)) + body


def data_frame(stream: int, content: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", stream, flags << 24 | len(content)) + content


class HeaderWriter:
    """Compresses header blocks; one per connection, because each block builds on the ones before."""

    def __init__(self) -> None:
        # A window for the dictionary and no more: with zlib's own choice each connection would keep 268 KB for its few
        # short headers, and hundreds of sessions a hundred megabytes.
        self._compressor = zlib.compressobj(wbits=WINDOW_BITS, memLevel=1, zdict=DICTIONARY)

    def block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        plain += b"".join(_counted(name.lower()) + _counted(value) for name, value in headers.items())
        return self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class HeaderReader:
    """The inverse; also one per connection."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def read(self, block: bytes) -> dict[str, str]:
        """Raises ValueError for a block that is none."""
        try:
            plain = self._decompressor.decompress(block, LARGEST_HEADERS)
            if self._decompressor.unconsumed_tail:
                raise ValueError("a SPDY header block is too large")
            (count,) = struct.unpack_from(">I", plain)
            texts, position = [], 4
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", plain, position)
                texts.append(plain[position + 4 : position + 4 + length].decode())
                position += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"a SPDY header block cannot be read: {error}") from error
        return dict(zip(texts[::2], texts[1::2], strict=True))
