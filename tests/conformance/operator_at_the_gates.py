"""A small operator that judges and completes its resource before it is stored, as users of kopf write one."""

from __future__ import annotations

import os
from typing import Any

import kopf
import kubernetes

HIGHEST = 3


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.peering.standalone = True
    # kopf writes both configurations itself, with the address and the authority of this server.
    settings.admission.managed = "gates.example"
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        certfile=os.environ["GATES_CERTIFICATE"],
        pkeyfile=os.environ["GATES_KEY"],
        cafile=os.environ["GATES_AUTHORITY"],
    )


@kopf.on.mutate("gates.example", "v1", "gates")
def paint(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    if not spec.get("colour"):
        patch.spec["colour"] = "green"


@kopf.on.validate("gates.example", "v1", "gates")
def measure(spec: kopf.Spec, warnings: list[str], **_: Any) -> None:
    height = spec.get("height", 0)
    if height > HIGHEST:
        raise kopf.AdmissionError(f"a gate is at most {HIGHEST} high", code=499)
    if height == HIGHEST:
        warnings.append("this gate is as high as gates may be")


@kopf.on.validate("gates.example", "v1", "gates", operation="DELETE")
def keep(spec: kopf.Spec, **_: Any) -> None:
    if spec.get("colour") == "gold":
        raise kopf.AdmissionError("golden gates stay")


@kopf.on.login()
def login(**kwargs: Any) -> Any:
    kubernetes.config.load_kube_config()
    return kopf.login_via_client(**kwargs)
