"""The store on SQLite: durable on one machine, with nothing to install. The only home of ``sqlite3``.

    SqliteStore (event loop)            Writer (thread)
      Index: key → newest revision        heads: the same, as committed
      reads by revision                   batch → one transaction → one hand-over to the loop
                      └────── rows ── database ──────┘

The file is a log: one row for each change, addressed by its revision, never rewritten. What is current is an index in
memory, as etcd keeps it. So a write is one append, a read is one look-up by row id, and going back in time is undoing
a few rows. Compaction deletes the rows that nothing kept can refer to.

Does not belong here: what a value means.
"""

from kontinuum.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
