"""How requests travel: HTTP, in-process, or a fake for tests."""
