"""Secrets that hold a service account's token, and what is written on them about its use (KEP-2799).

A token that was made unasked, as Kubernetes did before 1.24, is named among its account's ``secrets``. Whoever checks
tokens writes the day of its last use on its Secret; the cleaner marks one that nobody has used for long, which is then
refused, and removes it after as long again. To take the mark off is to let the token be used once more.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from kontinuum.api.machinery.objects import Object

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"

LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
"""Labels; their values are days, ``2026-01-31``, in UTC."""

TRACKING_NAMESPACE, TRACKING = "kube-system", "kube-apiserver-legacy-service-account-token-tracking"
SINCE = "since"
"""Key in that ConfigMap: the day since which every use is written down."""

DAY_SECONDS = 86_400.0


def day_of(seconds: float) -> str:
    """The day of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def read_day(text: str) -> float | None:
    """When the day begins, in seconds since the epoch; None for what is no day."""
    try:
        found = date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        return None
    return datetime(found.year, found.month, found.day, tzinfo=UTC).timestamp() if found is not None else None


def is_automatic(secret_name: str, account: Object) -> bool:
    """Whether the token was made unasked, as far as that can be told."""
    return any(one.get("name") == secret_name for one in account.get("secrets") or ())
