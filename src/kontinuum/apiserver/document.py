"""One encoded answer about the server itself."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """``etag`` changes with the content. A large document is kept compressed, since that is how clients take it."""

    body: bytes
    media: str
    etag: str
    is_gzipped: bool

    @classmethod
    def of(cls, content: bytes, media: str, *, large: bool = False) -> Document:
        etag = f'"{hashlib.sha256(content).hexdigest().upper()}"'
        return cls(gzip.compress(content, 5, mtime=0) if large else content, media, etag, large)

    def plain(self) -> bytes:
        return gzip.decompress(self.body) if self.is_gzipped else self.body
