"""The store in one SQLite file: WAL, synchronous=FULL, one writer thread with group commit. The one home of ``sqlite3``."""
