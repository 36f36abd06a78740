"""The error tree, sorted by what the caller should do.

    KontinuumError
    ├── Retryable      try the same thing again later (with back-off)
    ├── Refused        the request itself is wrong; repeating it cannot help
    └── Broken         this process or machine is not in a state to go on; tell the operator

Packages derive their own errors from these three. Translation to HTTP, gRPC or exit codes happens only at the edge.
"""

from __future__ import annotations


class KontinuumError(Exception):
    """Base of every error that Kontinuum raises on purpose. Messages say what was being done and what to do next."""


class Retryable(KontinuumError):
    """The same call may succeed later: a peer is away, a resource is busy."""


class Refused(KontinuumError):
    """The request cannot succeed as it is: bad input, a missing object, a conflict the caller must resolve."""


class Broken(KontinuumError):
    """This process or machine cannot go on: a missing program, a full disk, a corrupt file."""
