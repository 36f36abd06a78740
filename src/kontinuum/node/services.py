"""Services as a container's environment tells of them: addresses and ports in variables, as Docker's links once did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kontinuum.api.kubernetes.resources import SERVICES
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.node.pods import is_static

BY_NAMESPACE = "namespace"
API_NAMESPACE, API_NAME = "default", "kubernetes"
"""The service of the API itself: every pod is told of it."""


class Services(Protocol):
    """Where the variables come from (``KnownServices``, or a table in tests)."""

    async def variables(self, pod: Object) -> dict[str, str]:
        """What ``pod``'s containers are told of services."""
        ...


class KnownServices:
    """The cluster's services, kept up to date; ``run`` it in a task."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._informer = Informer(
            client, SERVICES, clock=clock, indexes={BY_NAMESPACE: lambda one: [namespace_of(one)]}, trim=_trim
        )

    async def run(self) -> None:
        await self._informer.run()

    async def variables(self, pod: Object) -> dict[str, str]:
        """Waits until the services are known: a container keeps the environment that it was started with.

        A static pod does not wait, because it may be what the API server itself runs in.
        """
        if not is_static(pod):
            await self._informer.wait_synced()
        own = self._informer.by_index(BY_NAMESPACE, namespace_of(pod))
        return service_variables(pod, own, self._informer.get(f"{API_NAMESPACE}/{API_NAME}"))


def service_variables(pod: Object, own: Iterable[Object], api: Object | None) -> dict[str, str]:
    """The variables of the services ``own`` of the pod's namespace (if it wants them), and of the ``api``'s."""
    linked = list(own) if pod["spec"].get("enableServiceLinks", True) else []
    services = {API_NAME: api} if api is not None else {}
    services |= {name_of(one): one for one in linked}
    values: dict[str, str] = {}
    for _, service in sorted(services.items()):
        values |= _variables(service)
    return values


def _variables(service: Object) -> dict[str, str]:
    """Of one service; one without an address of its own (headless, ExternalName) has none."""
    spec = service["spec"]
    ip, ports = spec.get("clusterIP") or "None", spec.get("ports") or []
    if ip == "None" or not ports:
        return {}
    name = _word(name_of(service))
    values = {f"{name}_SERVICE_HOST": ip, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    values |= {f"{name}_SERVICE_PORT_{_word(port['name'])}": str(port["port"]) for port in ports if port.get("name")}
    host = f"[{ip}]" if ":" in ip else ip
    for port in reversed(ports):
        number, protocol = port["port"], port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{number}"
        prefix = f"{name}_PORT_{number}_{protocol.upper()}"
        # The first port, which comes last here, is the service's own.
        values |= {f"{name}_PORT": url, prefix: url, f"{prefix}_PROTO": protocol.lower()}
        values |= {f"{prefix}_PORT": str(number), f"{prefix}_ADDR": ip}
    return values


def _word(name: str) -> str:
    return name.upper().replace("-", "_")


def _trim(service: Object) -> Object:
    """Without what no variable shows."""
    metadata, spec = service["metadata"], service["spec"]
    return {
        **service,
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata},
        "spec": {key: spec[key] for key in ("clusterIP", "ports") if key in spec},
        "status": {},
    }
