"""Defaults of flowcontrol.apiserver.k8s.io."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object

PRECEDENCE = 1000
SHARES = 30
QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


def default_flow_schema(schema: Object) -> None:
    spec = schema.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = PRECEDENCE


def default_priority_level(level: Object) -> None:
    spec = level.setdefault("spec", {})
    if spec.get("type") == "Exempt":
        spec.setdefault("exempt", {})
    if (exempt := spec.get("exempt")) is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if (limited := spec.get("limited")) is not None:
        limited.setdefault("nominalConcurrencyShares", SHARES)
        limited.setdefault("lendablePercent", 0)
        queuing = limited.setdefault("limitResponse", {}).get("queuing")
        for field, value in QUEUING.items() if queuing is not None else ():
            if not queuing.get(field):
                queuing[field] = value
