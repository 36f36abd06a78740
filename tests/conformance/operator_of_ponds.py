"""A small operator, as users of kopf write one: every Pond gets a ConfigMap; a Pond is drained before it goes."""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.peering.name = "ponds"
    settings.peering.mandatory = True
    settings.persistence.finalizer = "ponds.example/drain"


@kopf.on.create("ponds.example", "v1", "ponds")
def fill(name: str, namespace: str, spec: kopf.Spec, body: kopf.Body, **_: Any) -> dict[str, Any]:
    water: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"litres": str(spec["litres"])},
    }
    kopf.adopt(water)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, water)
    kopf.info(body, reason="Filled", message=f"{spec['litres']} litres")
    return {"filled": True}


@kopf.on.field("ponds.example", "v1", "ponds", field="spec.litres", old=kopf.PRESENT)
def refill(name: str, namespace: str, new: int, **_: Any) -> None:
    patch = {"data": {"litres": str(new)}}
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, patch)


@kopf.on.delete("ponds.example", "v1", "ponds")
def drain(name: str, namespace: str, **_: Any) -> None:
    drained = {"metadata": {"name": f"{name}-drained"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, drained)


@kopf.on.login()
def login(**kwargs: Any) -> Any:
    kubernetes.config.load_kube_config()
    return kopf.login_via_client(**kwargs)
