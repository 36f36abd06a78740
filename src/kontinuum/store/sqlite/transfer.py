"""SQLite's side of a backup, a restore and a copy.

Reading needs no server to stop: a read transaction sees one moment, whatever is written meanwhile. Replacing does: the
lock that a server holds keeps us out, and ours keeps a server out.

    PATH                what is served, until the new file takes its name in one step
    PATH.incoming       the new file while it is filled; a left one is overwritten by the next restore
    PATH.replaced-N     what was served before, kept: the wrong backup may have been restored
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.foundation.files import sync_directory
from kontinuum.store.sqlite import rows
from kontinuum.store.sqlite.database import check, connect, create_schema, explaining, locking, must_be_ours
from kontinuum.store.sqlite.rows import Row
from kontinuum.store.transfer import LEAP, Batches, Item, Occupied


class SqliteSource:
    """Everything in the file at one moment, as a ``transfer.Source``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """``connection`` is in a read transaction."""
        self.path = path
        self._connection = connection
        self.revision = rows.last_revision(connection)
        self._heads = rows.present(connection)

    @property
    def count(self) -> int:
        return len(self._heads)

    async def items(self) -> AsyncIterator[Sequence[Item]]:
        batches = Batches()
        for piece in rows.slices(sorted(self._heads.items())):
            with explaining(self.path, f"reading {self.path}"):
                values = rows.values(self._connection, [revision for _, (revision, _) in piece])
            for (key, _), value in zip(piece, values, strict=True):
                assert value is not None  # nothing is compacted out of a read transaction
                full = batches.add(Item(key, value))
                if full:
                    yield full
        if rest := batches.rest():
            yield rest


@contextmanager
def reading(path: Path, *, alone: bool = False) -> Iterator[SqliteSource]:
    """The store in ``path``, which a server may be writing to; with ``alone``, which none may.

    Raises Broken: there is no such file, it is damaged or not ours, or (``alone``) somebody has it open.
    """
    if not path.exists():
        raise Broken(f"{path}: there is no such store")
    with locking(path) if alone else nullcontext():
        with explaining(path, f"opening {path}", at_open=True):
            connection = _connect_to_read(path)
        try:
            with explaining(path, f"reading {path}"):
                connection.execute("BEGIN")
                must_be_ours(path, connection)
                check(path, connection)
                source = SqliteSource(path, connection)
            yield source
        finally:
            connection.close()


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing. Works on a read-only disk too: that is when a backup is wanted most."""
    is_writable = os.access(path.parent, os.W_OK)
    options = "mode=rw" if is_writable else "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, timeout=30)
    connection.execute("PRAGMA query_only = ON")
    return connection


class SqliteTarget:
    """A new file that takes the place of the one at ``path``, as a ``transfer.Target``; made by ``replacing``."""

    def __init__(self, path: Path, *, known: int) -> None:
        """``known``: the highest revision of the store that is replaced."""
        self.path = path
        self.kept: Path | None = None
        """Where the store that was replaced is now."""
        self._incoming = path.with_name(f"{path.name}.incoming")
        self._known = known
        self._next = 0
        self._connection: sqlite3.Connection | None = None

    async def begin(self, *, revision: int, count: int) -> None:
        self._incoming.unlink(missing_ok=True)
        with explaining(self._incoming, f"making {self._incoming}"):
            connection = self._connection = connect(self._incoming)
            # Nothing of this file counts before it is whole and synced, so nothing needs to be undone or synced before.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            create_schema(connection)
            base = max(revision, self._known) + LEAP
            self._next = base - count + 1
            connection.execute("BEGIN")
            rows.begin_at(connection, base)

    async def add(self, items: Sequence[Item]) -> None:
        numbered = zip(itertools.count(self._next), items, strict=False)
        new = [Row(revision, item.key, revision, None, False, item.value) for revision, item in numbered]
        self._next += len(new)
        with explaining(self._incoming, f"filling {self._incoming}"):
            rows.append(self._open, new)

    async def commit(self) -> None:
        with explaining(self._incoming, f"filling {self._incoming}"):
            self._open.execute("COMMIT")
            check(self._incoming, self._open)
        self.close()
        _sync(self._incoming)
        if self.path.exists():
            self.kept = _keep(self.path)
        self._incoming.replace(self.path)
        sync_directory(self.path.parent)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Remove what was not committed."""
        self.close()
        self._incoming.unlink(missing_ok=True)

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None, "begin comes first"
        return self._connection


@contextmanager
def replacing(path: Path, *, replace: bool) -> Iterator[SqliteTarget]:
    """The file at ``path`` as a target; no server can open it meanwhile.

    Raises Occupied if something is stored there and ``replace`` is False; Broken: a server has it open.
    """
    with locking(path):
        target = SqliteTarget(path, known=_last_revision(path, replace=replace))
        try:
            yield target
        finally:
            target.discard()


def _last_revision(path: Path, *, replace: bool) -> int:
    """Of the store that is to be replaced; 0 if that cannot be told. Raises Occupied."""
    if not path.exists():
        return 0
    try:
        with reading(path) as present:
            count, revision = present.count, present.revision
    except KontinuumError as error:
        if not replace:
            raise Occupied(f"{error}; to put the backup in its place, say --force") from error
        return 0
    if count and not replace:
        raise Occupied(f"{path} holds {count} objects; to replace them, say --force")
    return revision


def _keep(path: Path) -> Path:
    """Give the store at ``path`` a second name, under which it stays. Its write-ahead log goes with it."""
    # Folded into the file where it can be: then the file is the whole store, and the step to the new one is one step.
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
    numbers = itertools.count(1)
    kept = next(one for n in numbers if not (one := path.with_name(f"{path.name}.replaced-{n}")).exists())
    os.link(path, kept)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{kept}{suffix}")
    return kept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
