"""One SQLite file: WAL, synchronous=FULL, group commit by one writer thread. The one home of ``sqlite3``."""
