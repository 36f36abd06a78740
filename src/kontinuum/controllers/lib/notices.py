"""What a reconciler tells people about an object for as long as it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """An event that is told once for as long as it holds of the same ``subject`` (a time, a Job)."""

    kind: str
    reason: str
    message: str
    subject: str = ""
