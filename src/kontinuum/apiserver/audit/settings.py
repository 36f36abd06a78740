"""What is noted about requests, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The audit log. Both ``policy`` and ``log`` must be set, or neither."""

    policy: Path | None = None
    """YAML file with an ``audit.k8s.io/v1`` Policy: which requests are noted, and how much of them."""

    log: Path | None = None
    """File to which events are appended, one line of JSON each; ``/dev/stdout`` for the server's own output."""

    mode: Literal["batch", "blocking"] = "batch"
    """``batch``: events are written a moment later, and dropped (and counted) should the disk not keep up.
    ``blocking``: a request is answered after its events have been written."""

    maximum_megabytes: int = 100
    """Size at which the file is renamed after the time and a new one is begun; 0: never."""

    maximum_backups: int = 10
    """Renamed files that are kept; 0: all of them."""

    maximum_age_days: int = 0
    """Age at which renamed files are removed; 0: never."""

    def __post_init__(self) -> None:
        if (self.policy is None) != (self.log is None):
            raise ValueError("audit: policy and log must be set together")
        for name in ("maximum_megabytes", "maximum_backups", "maximum_age_days"):
            if getattr(self, name) < 0:
                raise ValueError(f"audit: {name} must not be negative")
