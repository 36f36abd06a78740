"""What can go wrong between us and an API server, besides its own answers (``api.machinery.status``).

Retryable
├── Unreachable     no answer came; the outcome of a write is unknown
├── WatchBroken     a watch ended in the middle of an event; list again
└── NotLeading      the write was not sent, because another may lead by now
Refused
└── BadKubeconfig   the file cannot be used as it is
"""

from __future__ import annotations

from kontinuum.foundation.errors import Refused, Retryable


class Unreachable(Retryable):
    """The server did not answer. Whether a write was carried out is unknown."""


class WatchBroken(Retryable):
    """The stream carried something that is no watch event, or an error that is no expiry."""


class NotLeading(Retryable):
    """A leader's time is over: what it wanted to write is its successor's to decide."""


class BadKubeconfig(Refused):
    """The kubeconfig is missing, unreadable, or names something that it does not define."""
