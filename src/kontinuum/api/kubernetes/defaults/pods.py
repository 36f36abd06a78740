"""Defaults of a pod's spec, whether it stands in a Pod or in a template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kontinuum.api.kubernetes.defaults.volumes import default_volumes
from kontinuum.api.kubernetes.pod_resources import container_amounts, is_for_pods, of_the_whole
from kontinuum.api.machinery.objects import Object

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def default_pod_spec(spec: Object) -> None:
    """Everything that holds for templates too."""
    _default_service_account(spec)
    fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
    )
    spec.setdefault("securityContext", {})
    for container in containers_of(spec):
        _default_container(container)
    if spec.get("hostNetwork"):
        _default_host_ports(spec)
    default_volumes(spec.get("volumes") or [])


def default_pod(spec: Object) -> None:
    """What holds for Pods only: a template may still leave these open."""
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in containers_of(spec):
        resources = container["resources"]
        missing = {
            name: limit
            for name, limit in (resources.get("limits") or {}).items()
            if name not in (resources.get("requests") or {})
        }
        if missing:
            resources["requests"] = {**(resources.get("requests") or {}), **missing}
    _default_requests_of_the_whole(spec)


def _default_requests_of_the_whole(spec: Object) -> None:
    """A pod with limits as a whole requests what its containers do together, or else as much as its limits."""
    limits = of_the_whole(spec, "limits")
    if not limits:
        return
    requested = {name: amount for name, amount in container_amounts(spec, "requests").items() if is_for_pods(name)}
    spec["resources"]["requests"] = {**limits, **requested, **(spec["resources"].get("requests") or {})}


def containers_of(spec: Object) -> Iterator[Object]:
    for field in CONTAINER_LISTS:
        yield from spec.get(field) or ()


def fill(obj: Object, **defaults: Any) -> None:
    """Set what is absent or, as Go cannot tell the two apart for plain fields, an empty text."""
    for field, value in defaults.items():
        if field not in obj or obj[field] == "":
            obj[field] = value


def _default_service_account(spec: Object) -> None:
    """``serviceAccount`` is the old name of ``serviceAccountName``; Kubernetes answers with both."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _drop_stop_signal(container: Object) -> None:
    """``stopSignal`` is an alpha feature of Kubernetes 1.36 (KEP-4960): without it the field is dropped in silence.

    Containers are stopped by their image's signal, as ever.
    """
    lifecycle = container.get("lifecycle") or {}
    if lifecycle.pop("stopSignal", None) is not None and not lifecycle:
        del container["lifecycle"]


def _default_container(container: Object) -> None:
    fill(
        container,
        imagePullPolicy=_pull_policy(container.get("image", "")),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    container.setdefault("resources", {})
    _drop_stop_signal(container)
    for port in container.get("ports") or ():
        fill(port, protocol="TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            fill(reference, apiVersion="v1")
    for name in PROBES:
        if name in container:
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_http(hook)


def _pull_policy(image: str) -> str:
    """``Always`` for images whose tag may move: no tag and no digest, or ``latest``."""
    last = image.rpartition("/")[2]
    if "@" in last:
        return "IfNotPresent"
    tag = last.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _default_probe(probe: Object) -> None:
    for field, value in PROBE.items():
        if not probe.get(field):
            probe[field] = value
    _default_http(probe)
    if isinstance(probe.get("grpc"), dict):
        probe["grpc"].setdefault("service", "")


def _default_http(handler: Object) -> None:
    if isinstance(handler.get("httpGet"), dict):
        fill(handler["httpGet"], path="/", scheme="HTTP")


def _default_host_ports(spec: Object) -> None:
    """With the host's network a container port *is* a port of the host."""
    for container in containers_of(spec):
        for port in container.get("ports") or ():
            if not port.get("hostPort") and port.get("containerPort"):
                port["hostPort"] = port["containerPort"]
