"""Service accounts' tokens that nobody uses, decided (``legacy_serviceaccount_token_cleaner.go``, KEP-2799).

    in use ──nobody used it, nor mounts it, for a year──▶ marked (and refused) ──after a year more──▶ removed
       ▲                                                   │
       └──── somebody takes the mark off, or shows it ─────┘

Only tokens that were made unasked are meant: those that their account names among its ``secrets``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from kontinuum.api.kubernetes.account_tokens import (
    ACCOUNT_UID,
    DAY_SECONDS,
    INVALID_SINCE,
    LAST_USED,
    day_of,
    is_automatic,
    read_day,
)
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of, name_of, uid_of
from kontinuum.foundation.clock import parse_rfc3339


class Verdict(Enum):
    """What is to become of a token."""

    KEEP = auto()
    MARK = auto()
    REMOVE = auto()


@dataclass(frozen=True, slots=True)
class Patience:
    """``seconds`` without use make a token superfluous; it is ``now``, in seconds since the epoch."""

    now: float
    seconds: float

    @property
    def first_day(self) -> str:
        """Who was used on this day or later is in use."""
        return day_of(self.now - self.seconds)


def is_idle(secret: Object, account: Object | None, patience: Patience) -> bool:
    """Whether nobody has shown the token for long, as its Secret says, and whether it is one that may go at all."""
    metadata = secret["metadata"]
    if "deletionTimestamp" in metadata or account is None or not is_automatic(name_of(secret), account):
        return False
    if annotations_of(secret).get(ACCOUNT_UID, uid_of(account)) not in ("", uid_of(account)):
        return False
    if parse_rfc3339(metadata["creationTimestamp"]) >= patience.now - patience.seconds:
        return False
    used = labels_of(secret).get(LAST_USED)
    # A day that cannot be read may have been yesterday.
    return used is None or (read_day(used) is not None and used < patience.first_day)


def is_tracked(since: str, patience: Patience) -> bool:
    """Whether uses have been written down for long enough; ``since`` is the day on which that began."""
    began = read_day(since)
    return began is not None and patience.now >= began + DAY_SECONDS + patience.seconds


def verdict(secret: Object, patience: Patience) -> Verdict:
    """What to do with one that is idle and that no pod mounts."""
    since = labels_of(secret).get(INVALID_SINCE, "")
    if read_day(since) is None:
        return Verdict.MARK
    return Verdict.REMOVE if since < patience.first_day else Verdict.KEEP


def secrets_of(pod: Object) -> Iterator[str]:
    """The names of all Secrets that a pod uses, wherever it names them (``VisitPodSecretNames``)."""
    spec = pod.get("spec") or {}
    yield from (one.get("name", "") for one in spec.get("imagePullSecrets") or ())
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _named(container.get("env") or (), "valueFrom", "secretKeyRef", "name")
            yield from _named(container.get("envFrom") or (), "secretRef", "name")
    volumes = spec.get("volumes") or ()
    for path in VOLUME_PATHS:
        yield from _named(volumes, *path)
    for volume in volumes:
        yield from _named((volume.get("projected") or {}).get("sources") or (), "secret", "name")


DRIVERS = ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
VOLUME_PATHS = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    *((driver, "secretRef", "name") for driver in DRIVERS),
    ("csi", "nodePublishSecretRef", "name"),
)
"""Where in a volume a Secret is named."""


def _named(places: object, *path: str) -> Iterator[str]:
    """The texts at the end of ``path`` in each of ``places``."""
    for place in places if isinstance(places, (list, tuple)) else ():
        found = place
        for key in path:
            found = (found or {}).get(key)
        if found:
            yield str(found)
