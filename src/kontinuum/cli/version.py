"""Which Kontinuum this is."""

from __future__ import annotations

import functools


@functools.cache
def version() -> str:
    """The installed distribution's version."""
    import importlib.metadata  # Slow, and asked for once the parts have been started.

    return importlib.metadata.version("kontinuum")
