"""What can go wrong with a registry, by what the caller should do."""

from __future__ import annotations

from kontinuum.foundation.errors import Refused, Retryable


class RegistryFailed(Retryable):
    """The registry cannot be reached or is unwell."""


class RangeUnknown(RegistryFailed):
    """An upload has to begin anew."""


class NotInRegistry(Refused):
    """The registry knows no such image."""


class AccessDenied(Refused):
    """The registry does not let us; other credentials may help."""


class RegistryRefused(Refused):
    """The registry does not take what we say."""
