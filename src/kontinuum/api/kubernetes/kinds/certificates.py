"""certificates.k8s.io: requests for certificates, who approves them, and who signs."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, keep
from kontinuum.api.kubernetes.tables import NONE, human_duration, row
from kontinuum.api.kubernetes.validation import certificates as validation
from kontinuum.api.kubernetes.validation import metadata
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class CertificateSigningRequest(Kind):
    columns = (
        NAME,
        AGE,
        Column("SignerName", description="Who is to sign."),
        Column("Requestor", description="Who asks."),
        Column("RequestedDuration", description="How long the certificate is to be valid."),
        Column("Condition", description="How far the request has come."),
    )
    selectable = ("spec.signerName",)

    def check_name(self, name: str) -> list[str]:
        """Anything: requests are named by those who ask."""
        return []

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        keep(obj, old, "spec")

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> None:
        """``approval`` changes conditions only; ``status`` all but the approval."""
        self.prepare_status_update(obj, old)
        status, before = obj.setdefault("status", {}), old.get("status") or {}
        if subresource == "approval":
            obj["status"] = {**before, "conditions": status.get("conditions") or []}
            return
        for kind in validation.APPROVAL:
            mine, theirs = _instances(status, kind), _instances(before, kind)
            if len(mine) == len(theirs):
                for position, instance in zip(mine, theirs, strict=True):
                    status["conditions"][position] = before["conditions"][instance]

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_request(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        # The request cannot have changed; asking again could only refuse what was once taken.
        return []

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        errors = validation.validate_state(obj, old, subresource)
        return errors + metadata.validate_update(obj["metadata"], old["metadata"])

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        seconds = spec.get("expirationSeconds")
        name, age = row(obj, now)
        return [
            name,
            age,
            spec.get("signerName") or NONE,
            spec.get("username", ""),
            NONE if seconds is None else human_duration(seconds),
            _state(obj.get("status") or {}),
        ]


def stamp_conditions(conditions: list[Object], earlier: list[Object], now: str) -> None:
    """Say since when each condition is as it is; ``now`` is an RFC 3339 time."""
    before = {one.get("type"): one for one in earlier}
    for condition in conditions:
        condition.setdefault("lastUpdateTime", now)
        old = before.get(condition.get("type"), {})
        same = old.get("status") == condition.get("status")
        condition.setdefault("lastTransitionTime", old.get("lastTransitionTime", now) if same else now)


def _instances(status: Object, kind: str) -> list[int]:
    return [index for index, one in enumerate(status.get("conditions") or ()) if one.get("type") == kind]


def _state(status: Object) -> str:
    """``Approved,Issued``"""
    types = {one.get("type") for one in status.get("conditions") or ()}
    word = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    word += ",Failed" if "Failed" in types else ""
    return word + (",Issued" if status.get("certificate") else "")
