"""The file: one owner, durable settings, checked before it is trusted; and what its errors mean to a caller."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.store.port import StoreFull, StoreUnavailable

APPLICATION = 0x4B4F4E54  # "KONT": tells our file from any other SQLite database
VERSION = 1
NEARLY_NOTHING = 1 << 20
"""Bytes. SQLite reports some writes that found no space as plain I/O errors; with less than this free, it was that."""

SCHEMA = (
    # AUTOINCREMENT: the highest revision is remembered apart from the rows, so that none is used twice, even after
    # compaction has deleted the last row. The value comes last: a scan by key need not read it.
    """CREATE TABLE log (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        created INTEGER NOT NULL,
        previous INTEGER,
        deleted INTEGER NOT NULL,
        value BLOB
    )""",
    "CREATE TABLE compaction (revision INTEGER NOT NULL)",
    "INSERT INTO compaction VALUES (0)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True, slots=True)
class Database:
    """Two connections to one file, and the lock that keeps every other process out."""

    path: Path
    writer: sqlite3.Connection
    """For the writer's thread alone, once that runs."""
    reader: sqlite3.Connection
    """For the event loop's thread alone. Never waits for the writer (WAL)."""
    lock: int

    def close(self) -> None:
        """Close the file; the writer goes last, so that SQLite folds the write-ahead log into the database."""
        self.reader.close()
        self.writer.close()
        os.close(self.lock)


def open_database(path: Path, *, quota_bytes: int) -> Database:
    """Open or make the file at ``path``. Raises Broken: another owner, no access, corrupt, or not one of ours."""
    lock = _lock(path)
    connections: list[sqlite3.Connection] = []
    try:
        with explaining(path, f"opening {path}", at_open=True):
            for _ in range(2):
                connections.append(connect(path))
            writer, reader = connections
            _prepare(path, writer, quota_bytes)
            reader.execute("PRAGMA query_only = ON")
    except BaseException:
        for connection in connections:
            connection.close()
        os.close(lock)
        raise
    return Database(path=path, writer=writer, reader=reader, lock=lock)


@contextmanager
def explaining(path: Path, doing: str, *, at_open: bool = False) -> Iterator[None]:
    """Turn SQLite's errors inside the block into the port's; while opening, whatever happens is Broken."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, doing, error, at_open=at_open) from error


def explain(path: Path, doing: str, error: sqlite3.Error, *, at_open: bool = False) -> KontinuumError:
    """What an error of SQLite means: damage is Broken, no space is StoreFull, the rest StoreUnavailable."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, f"{doing}: {error}")
    if code == sqlite3.SQLITE_FULL or (code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path)):
        return StoreFull(
            f"{doing}: no space left for {path} ({error}); nothing was changed. Free space, then try again"
        )
    if at_open:
        return Broken(f"{doing}: {error}; the directory must exist, be writable, and not be on a read-only disk")
    if code == sqlite3.SQLITE_READONLY:
        return StoreUnavailable(f"{doing}: {path} has become read-only; remount the disk read-write and restart")
    return StoreUnavailable(f"{doing}: {error}; the disk of {path} may be failing")


def damaged(path: Path, message: str) -> Broken:
    return Broken(
        f"{message}. {path} is damaged and is left as it is. Restore it from a backup: kontinuum restore FILE --force;"
        f" or save what can be read with: sqlite3 {path} .recover"
    )


def _lock(path: Path) -> int:
    """Two API servers on one file would each miss the other's changes; the kernel drops the lock with the process."""
    try:
        lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Broken(f"opening {path}: {error.strerror}; the directory must exist and be writable") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Broken(f"opening {path}: another process has it open; one at a time may. Stop that one first") from error
    return lock


@contextmanager
def locking(path: Path) -> Iterator[None]:
    """Keep every other process from opening the store in ``path``. Raises Broken: one has it open."""
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads and writes; the file is made if there is none."""
    # Transactions are ours to begin (isolation_level=None). The thread check is off because the writer's connection
    # is opened here and then handed to its thread; after that each connection stays in one thread.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    path.chmod(0o600)  # Secrets are in it
    return connection


def _prepare(path: Path, writer: sqlite3.Connection, quota_bytes: int) -> None:
    check(path, writer)
    mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise Broken(f"opening {path}: its file system does not allow write-ahead logging (journal mode {mode})")
    # FULL: a commit returns after the log has reached the disk. NORMAL would lose acknowledged writes with the power.
    writer.execute("PRAGMA synchronous = FULL")
    # 16 MB of log between checkpoints: a checkpoint costs two syncs, which 4 MB (the default) would ask for too often.
    writer.execute("PRAGMA wal_autocheckpoint = 4096")
    writer.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    _upgrade(path, writer)
    if quota_bytes:
        page = writer.execute("PRAGMA page_size").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {max(1, quota_bytes // page)}")


def check(path: Path, connection: sqlite3.Connection) -> None:
    """Look at every page (1 ms each megabyte). Raises Broken if one is damaged."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, f"opening {path}: the integrity check failed ({found.splitlines()[-1]})")


def must_be_ours(path: Path, connection: sqlite3.Connection) -> None:
    """Raises Broken: the file is no store of this version."""
    if _stamp(connection) != (APPLICATION, VERSION):
        raise _foreign(path, connection)


def create_schema(connection: sqlite3.Connection) -> None:
    """Make an empty database a store, in a transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")


def _upgrade(path: Path, writer: sqlite3.Connection) -> None:
    stamp = _stamp(writer)
    if stamp == (APPLICATION, VERSION):
        return
    if any(stamp) or writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _foreign(path, writer)
    create_schema(writer)


def _stamp(connection: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is, and of which version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return application, connection.execute("PRAGMA user_version").fetchone()[0]


def _foreign(path: Path, connection: sqlite3.Connection) -> Broken:
    application, version = _stamp(connection)
    return Broken(f"opening {path}: not a store of this version ({application:#x}, {version}); choose another file")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < NEARLY_NOTHING
    except OSError:
        return False  # the disk is gone altogether; that is not "full"
