"""The SQL: each function is one question to, or one change of, the log.

Python's sqlite3 lets go of the interpreter's lock at every step and must get it back from a busy event loop, which can
take 5 ms. So many rows travel in one step: as one INSERT, or as the columns of one result row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

T = TypeVar("T")

LARGEST = 256
"""Rows in one statement. Statements come in powers of two, so that nine of each kind stay prepared."""
AT_ONCE = 32
"""Up to so many rows are appended by one statement made for their number: it is its own transaction, and a batch that
needs no BEGIN and no COMMIT gives the interpreter's lock away once in place of three times."""


class Row(NamedTuple):
    """One change as it stands in the log."""

    revision: int
    key: str
    created: int
    previous: int | None
    """Revision of the row that this one replaced; None for a creation."""
    deleted: bool
    value: bytes | None
    """None for a deletion: its value is that of ``previous``."""


class Past(NamedTuple):
    """What a key was before its first change after some revision."""

    key: str
    revision: int | None
    """None: there was no such key."""
    created: int | None


def slices(items: Sequence[T], largest: int = LARGEST) -> Iterator[Sequence[T]]:
    """``items`` in order, cut into pieces whose lengths are powers of two, at most ``largest``."""
    start = 0
    while start < len(items):
        size = largest
        while size > len(items) - start:
            size //= 2
        yield items[start : start + size]
        start += size


@cache
def _insert(count: int) -> str:
    return "INSERT INTO log(revision, key, created, previous, deleted, value) VALUES " + ", ".join(
        ["(?, ?, ?, ?, ?, ?)"] * count
    )


@cache
def _select_values(count: int) -> str:
    return "SELECT " + ", ".join(["(SELECT value FROM log WHERE revision = ?)"] * count)


def append(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Add rows, whose revisions rise; at most ``AT_ONCE`` of them all or none, more in the caller's transaction."""
    for piece in slices(rows) if len(rows) > AT_ONCE else (rows,):
        connection.execute(_insert(len(piece)), [field for row in piece for field in row])


def values(connection: sqlite3.Connection, revisions: Sequence[int]) -> list[bytes | None]:
    """The value written at each revision; None where compaction has deleted the row."""
    found: list[bytes | None] = []
    for piece in slices(revisions):
        found.extend(connection.execute(_select_values(len(piece)), piece).fetchone())
    return found


def heads(connection: sqlite3.Connection) -> Iterator[tuple[str, int, int, bool]]:
    """Key, revision, creation and deletion of every row, the oldest first: the last word on a key is its newest."""
    return iter(connection.execute("SELECT key, revision, created, deleted FROM log ORDER BY revision"))


def present(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Revision and creation of each key that is not deleted."""
    found: dict[str, tuple[int, int]] = {}
    for key, revision, created, deleted in heads(connection):
        if deleted:
            found.pop(key, None)
        else:
            found[key] = (revision, created)
    return found


def begin_at(connection: sqlite3.Connection, revision: int) -> None:
    """Let an empty log begin after ``revision``: it has no history before that, and gives out higher ones only."""
    connection.execute("INSERT INTO sqlite_sequence(name, seq) VALUES ('log', ?)", (revision,))
    connection.execute("UPDATE compaction SET revision = ?", (revision,))


def last_revision(connection: sqlite3.Connection) -> int:
    """The highest revision that was ever committed; 0 in a new file."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return int(row[0]) if row else 0


def compacted(connection: sqlite3.Connection) -> int:
    """The oldest revision that can still be asked for."""
    return int(connection.execute("SELECT revision FROM compaction").fetchone()[0])


def changes(
    connection: sqlite3.Connection, *, first: str, end: str, after: int, upto: int
) -> list[tuple[str, int, bytes, int, int]]:
    """Key, revision, value (of a deletion the last one), deletion and creation of the changes of keys in [first, end).

    Revisions are in (after, upto], in order.
    """
    return connection.execute(
        "SELECT log.key, log.revision, coalesce(log.value, before.value), log.deleted, log.created"
        " FROM log LEFT JOIN log AS before ON before.revision = log.previous"
        " WHERE log.revision > ? AND log.revision <= ? AND log.key >= ? AND log.key < ? ORDER BY log.revision",
        (after, upto, first, end),
    ).fetchall()


def undone(connection: sqlite3.Connection, *, first: str, end: str, after: int, upto: int) -> dict[str, Past]:
    """What each key in [first, end) that has changed in (after, upto] was at ``after``."""
    found = connection.execute(
        "SELECT log.key, before.revision, before.created, min(log.revision)"
        " FROM log LEFT JOIN log AS before ON before.revision = log.previous"
        " WHERE log.revision > ? AND log.revision <= ? AND log.key >= ? AND log.key < ? GROUP BY log.key",
        (after, upto, first, end),
    )
    return {key: Past(key, revision, created) for key, revision, created, _ in found}


def compact(connection: sqlite3.Connection, *, after: int, upto: int) -> None:
    """Forget the history in (after, upto], inside the caller's transaction.

    What goes is what a change up to ``upto`` replaced, and deletions. What was current at ``upto`` stays: it is current
    still, or the ``previous`` of a change that is kept.
    """
    connection.execute(
        "DELETE FROM log WHERE revision IN"
        " (SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous IS NOT NULL)",
        (after, upto),
    )
    connection.execute("DELETE FROM log WHERE revision > ? AND revision <= ? AND deleted", (after, upto))
    connection.execute("UPDATE compaction SET revision = ?", (upto,))
