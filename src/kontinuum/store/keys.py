"""Which keys a prefix covers, and which writes a key accepts: the same words for every engine."""

from __future__ import annotations

from kontinuum.store.port import AlreadyExists, Missing, StaleRevision

LAST = "\U0010ffff"
"""Greater than every key; code point order and UTF-8 byte order agree, so Python and SQLite sort keys alike."""


def end_of(prefix: str) -> str:
    """The smallest text greater than every key under ``prefix``; the empty prefix covers everything."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else LAST


def must_be_absent(key: str, current: int | None) -> None:
    """Raise AlreadyExists if ``key`` has a ``current`` revision."""
    if current is not None:
        raise AlreadyExists(f"creating {key}: it exists already, at revision {current}")


def must_be_unchanged(key: str, current: int | None, expected: int) -> None:
    """Raise Missing or StaleRevision unless the ``current`` revision of ``key`` is ``expected``."""
    if current is None:
        raise Missing(f"changing {key}: there is no such key")
    if current != expected:
        raise StaleRevision(f"changing {key}: it is at revision {current}, not {expected}", current=current)
