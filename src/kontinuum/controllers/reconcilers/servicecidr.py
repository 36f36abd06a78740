"""ServiceCIDRs: said to be ready when made, and kept while they alone hold somebody's address (KEP-1880).

Before a range goes the API is asked: an address that our informers have not heard of would be left without one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from kontinuum.api.kubernetes.resources import IPADDRESSES, SERVICECIDRS
from kontinuum.api.machinery.conditions import is_true, set_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED = "ipaddress.kubernetes.io/managed-by=ipallocator.k8s.io"
READY = "Kubernetes Service CIDR is ready"
IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
GRACE_SECONDS = 10.0
"""So long after its deletion a server that has not heard of it may still have given out an address."""
LATER = 5.0
"""Seconds until a range that is in use is looked at again."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_needed(cidr: Object, others: Iterable[Object], addresses: Iterable[str]) -> bool:
    """Whether one of ``addresses`` lies in ``cidr``, and in none of ``others`` that stay."""
    going = _networks([cidr])
    staying = _networks(one for one in others if "deletionTimestamp" not in one["metadata"])
    found = (ipaddress.ip_address(one) for one in addresses)
    return any(_holds(going, one) and not _holds(staying, one) for one in found)


def _networks(cidrs: Iterable[Object]) -> list[Network]:
    return [ipaddress.ip_network(text) for one in cidrs for text in (one.get("spec") or {}).get("cidrs") or ()]


def _holds(networks: Sequence[Network], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in one for one in networks)


class ServiceCidrReconciler(KeyReconciler):
    """The hand that says so, and lets go."""

    name = "service-cidr-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, SERVICECIDRS, writes=(SERVICECIDRS,))

    async def reconcile(self, key: str) -> Result:
        """Say that one range is ready, or let it go."""
        cidr = self._objects.get(key)
        if cidr is None:
            return DONE
        writer = Writer(self._client, self._writes, key)
        finalizers = list(cidr["metadata"].get("finalizers") or ())
        if "deletionTimestamp" in cidr["metadata"]:
            return await self._let_go(cidr, writer, finalizers) if FINALIZER in finalizers else DONE
        if FINALIZER not in finalizers:
            cidr = await self._set_finalizers(cidr, writer, [*finalizers, FINALIZER])
        if not is_true(cidr, "Ready"):
            await self._say(cidr, writer, True, reason="", message=READY)
        return DONE

    async def _let_go(self, cidr: Object, writer: Writer, finalizers: list[str]) -> Result:
        addresses = await self._client.list(IPADDRESSES, labels=MANAGED, metadata_only=True)
        others = [one for one in self._objects.items() if name_of(one) != name_of(cidr)]
        if is_needed(cidr, others, (name_of(one) for one in addresses.items)):
            await self._say(cidr, writer, False, reason="Terminating", message=IN_USE)
            return Result(LATER)
        left = parse_rfc3339(cidr["metadata"]["deletionTimestamp"]) + GRACE_SECONDS - self._context.clock.time()
        if left > 0:
            return Result(left)
        await self._set_finalizers(cidr, writer, [one for one in finalizers if one != FINALIZER])
        return DONE

    async def _say(self, cidr: Object, writer: Writer, ready: bool, *, reason: str, message: str) -> None:
        old = (cidr.get("status") or {}).get("conditions")
        now = rfc3339(self._context.clock.time())
        # A condition of this form always has a reason, be it empty.
        conditions = [
            {"reason": "", **one} for one in set_condition(old, "Ready", ready, now=now, reason=reason, message=message)
        ]
        if conditions != old:
            status = {"status": {"conditions": conditions}}
            await writer.patch(SERVICECIDRS, cidr, status, subresource="status")

    async def _set_finalizers(self, cidr: Object, writer: Writer, finalizers: list[str]) -> Object:
        version = cidr["metadata"]["resourceVersion"]
        return await writer.patch(
            SERVICECIDRS, cidr, {"metadata": {"resourceVersion": version, "finalizers": finalizers or None}}
        )
