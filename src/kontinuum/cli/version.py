"""Which Kontinuum this is."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def version() -> str:
    """The installed distribution's version."""
    return importlib.metadata.version("kontinuum")
