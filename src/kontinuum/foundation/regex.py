"""Regular expressions that users write: RE2, so that none takes longer than linear time, and a bound on memory.

Python's own engine backtracks: ``(a+)+$`` against thirty letters would stop the server. The syntax is Go's, which is
what Kubernetes documents for patterns in schemas and for ``matches`` in CEL.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from kontinuum.foundation.errors import Refused

MEMORY = 8 * 1024 * 1024
"""Bytes that one compiled expression may take."""


class BadExpression(Refused):
    """The expression cannot be compiled; the text says why."""


class Expression(Protocol):
    """A compiled expression."""

    def search(self, text: str) -> object | None:
        """Something if the expression matches anywhere in ``text``."""
        ...


@lru_cache(maxsize=1024)
def compile_expression(pattern: str) -> Expression:
    """Raises BadExpression."""
    # Only servers with custom schemas or policies need it.
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    try:
        compiled: Expression = re2.compile(pattern, options)
    except re2.error as error:
        found = error.args[0] if error.args else "it is too large"
        problem = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
        raise BadExpression(f"error parsing regexp: {problem}") from None
    return compiled
