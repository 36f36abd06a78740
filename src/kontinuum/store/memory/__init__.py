"""The store in memory: for tests, and the reference that the other engines are held against."""
