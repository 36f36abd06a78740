"""How far a CertificateSigningRequest has come, and when it is of no use any more (``certificates/cleaner``)."""

from __future__ import annotations

from base64 import b64decode

from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

HOUR = 3600.0
DECIDED_SECONDS = HOUR
"""How long a request is kept after it was approved, denied or has failed."""
PENDING_SECONDS = 24 * HOUR
"""How long a request may wait for a decision."""


def has(csr: Object, kind: str) -> bool:
    """Whether the condition ``kind`` is True."""
    found = find(_conditions(csr), kind)
    return found is not None and found.get("status") == "True"


def is_open(csr: Object) -> bool:
    """Nobody has decided yet, and nothing was issued."""
    return not (has(csr, "Approved") or has(csr, "Denied") or (csr.get("status") or {}).get("certificate"))


def is_to_be_signed(csr: Object) -> bool:
    return has(csr, "Approved") and not has(csr, "Failed") and not (csr.get("status") or {}).get("certificate")


def with_condition(csr: Object, kind: str, reason: str, message: str, now: float) -> Object:
    """A copy of the request with one condition more."""
    condition = {
        "type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": rfc3339(now),
    }  # fmt: skip
    return {**csr, "status": {**(csr.get("status") or {}), "conditions": [*_conditions(csr), condition]}}


def seconds_to_live(csr: Object, now: float) -> float:
    """Until the request may be removed; 0 if it may be now."""
    created = parse_rfc3339(csr["metadata"]["creationTimestamp"])
    ends = [created + PENDING_SECONDS] if is_open(csr) else []
    for condition in _conditions(csr):
        if condition.get("type") in ("Approved", "Denied", "Failed"):
            ends.append(parse_rfc3339(condition.get("lastUpdateTime") or rfc3339(created)) + DECIDED_SECONDS)
    if expiry := _expiry(csr):
        ends.append(expiry)
    return max(0.0, min(ends, default=created + PENDING_SECONDS) - now)


def _expiry(csr: Object) -> float:
    """When the issued certificate runs out, in seconds since the epoch; 0 if there is none that can be read."""
    # Only clusters in which somebody asks for certificates need the library.
    from cryptography import x509

    encoded = (csr.get("status") or {}).get("certificate")
    if not encoded:
        return 0.0
    try:
        return x509.load_pem_x509_certificate(b64decode(encoded)).not_valid_after_utc.timestamp()
    except ValueError:
        return 0.0


def _conditions(csr: Object) -> list[Object]:
    return list((csr.get("status") or {}).get("conditions") or ())
