"""The store in memory: the honest fake for tests, and the oracle that other engines are held against.

Belongs here: the plainest code that keeps the port's promises. Does not belong here: speed, or anything on disk.
"""

from kontinuum.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
