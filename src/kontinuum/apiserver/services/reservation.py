"""One write of a Service: take what it needs, let it be stored, give back what it no longer uses.

If the write is refused, what was taken is given back. If its outcome is unknown (the store did not answer, the client
left) everything stays taken, because the Service may have been stored with it; ``repair`` tells later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from kontinuum.api.kubernetes.defaults.services import needs_address, needs_health_check, needs_node_port
from kontinuum.api.kubernetes.resources import SERVICES
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.services import addresses, ports, ranges
from kontinuum.apiserver.services.addresses import NoAddress
from kontinuum.apiserver.services.families import is_settled, settle_families
from kontinuum.apiserver.services.ports import NoPort
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision, StoreFull

NOTHING = nullcontext()
REFUSED = (ApiError, AlreadyExists, Missing, StaleRevision, StoreFull)
"""Errors after which the Service has certainly not been stored."""


def is_held(served: Served) -> bool:
    """Whether ``holding`` holds anything for such an object."""
    return served.resource is SERVICES


def holding(
    context: Context, served: Served, obj: Object, old: Object | None, *, dry_run: bool
) -> AbstractAsyncContextManager[None]:
    """What a write of any object is to stand within: for all but Services, nothing."""
    return reserve(context, obj, old, dry_run=dry_run) if is_held(served) else NOTHING


async def let_go(context: Context, served: Served, obj: Object) -> None:
    """Give back what an object had that is no longer stored; for all but Services, nothing."""
    if is_held(served):
        await give_back(context, obj)


@asynccontextmanager
async def reserve(context: Context, service: Object, old: Object | None, *, dry_run: bool) -> AsyncIterator[None]:
    """Fill in ``service`` and hold what it got until the block ends. Raises ApiError 422, 500, StoreFull ..."""
    work = _Reservation(context, service, dry_run=dry_run)
    try:
        await work.take(old)
        yield
    except REFUSED:
        await work.undo()
        raise
    if old is not None and not dry_run:
        await give_back(context, old, kept=service["spec"])


async def give_back(context: Context, service: Object, *, kept: Object | None = None) -> None:
    """Give back what a Service had that is gone, or what its new spec ``kept`` does not name any more."""
    spec, kept = service.get("spec") or {}, kept or {}
    for address in sorted(_addresses(spec) - _addresses(kept)):
        await addresses.give_back(context, service, address)
    for number in sorted(ports.numbers_of(spec) - ports.numbers_of(kept)):
        await ports.give_back(context, service, number)


def _addresses(spec: Object) -> set[str]:
    return {one for one in spec.get("clusterIPs") or () if one and one != "None"} if needs_address(spec) else set()


class _Reservation:
    """What one write has taken so far."""

    def __init__(self, context: Context, service: Object, *, dry_run: bool) -> None:
        self._context = context
        self._service = service
        self._spec: Object = service["spec"]
        self._dry_run = dry_run
        self._addresses: list[str] = []
        self._ports: list[int] = []

    async def take(self, old: Object | None) -> None:
        before: Object | None = old["spec"] if old is not None else None
        self._raise_invalid(settle_families(self._spec, before, ranges.families(self._context.settings)))
        if not (before is not None and is_settled(self._spec, before)):
            await self._take_addresses(before)
        await self._take_ports(before or {})
        await self._take_health_port(before or {})

    async def undo(self) -> None:
        if self._dry_run:
            return
        for address in self._addresses:
            await addresses.give_back(self._context, self._service, address)
        for number in self._ports:
            await ports.give_back(self._context, self._service, number)

    async def _take_addresses(self, before: Object | None) -> None:
        spec = self._spec
        wanted = list(spec.get("clusterIPs") or ())
        if not needs_address(spec) or wanted == ["None"] or (before and (before.get("clusterIPs") or []) == ["None"]):
            return
        held = _addresses(before or {})
        for index, family in enumerate(spec.get("ipFamilies") or ()):
            asked = wanted[index] if index < len(wanted) else ""
            if asked in held:
                continue
            if before is not None and needs_address(before) and index < len(before.get("ipFamilies") or ()):
                continue  # Not what it had: the rules refuse that.
            found = await self._address(family, asked)
            wanted[index : index + 1] = [found]
        if wanted:
            spec["clusterIPs"], spec["clusterIP"] = wanted, wanted[0]

    async def _address(self, family: str, asked: str) -> str:
        try:
            if self._dry_run and asked:
                await addresses.check(self._context, asked)
                return asked
            if self._dry_run:
                return await addresses.shown(self._context, family)
            if asked:
                await addresses.take(self._context, self._service, asked)
            found = asked or await addresses.take_any(self._context, self._service, family)
        except NoAddress as problem:
            if not asked:
                raise status.internal_error(f"failed to allocate a serviceIP: {problem}") from problem
            shown = f"failed to allocate IP {asked}: {problem}"
            cause = fields.invalid("spec.clusterIPs", self._spec.get("clusterIPs"), shown)
            raise self._invalid([cause]) from problem
        self._addresses.append(found)
        return found

    async def _take_ports(self, before: Object) -> None:
        """One port of Kubernetes' Service with two protocols shares one number, if the number is left open."""
        if self._spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        held = ports.numbers_of(before) | set(self._ports)
        chosen: dict[int, int] = {}
        listed = self._spec.get("ports") or []
        for port in listed:
            if port.get("nodePort"):
                chosen.setdefault(port.get("port", 0), port["nodePort"])
        for index, port in enumerate(listed):
            if not port.get("nodePort") and not needs_node_port(self._spec):
                continue
            number = port.get("nodePort") or chosen.get(port.get("port", 0)) or 0
            if not number or number not in held:
                number = await self._port(number, f"spec.ports[{index}].nodePort")
                held.add(number)
            port["nodePort"] = chosen[port.get("port", 0)] = number

    async def _port(self, number: int, path: str) -> int:
        try:
            return await self._obtain(number)
        except NoPort as problem:
            if not number:
                raise status.internal_error(f"failed to allocate a nodePort: {problem}") from problem
            raise self._invalid([fields.invalid(path, number, str(problem))]) from problem

    async def _obtain(self, number: int) -> int:
        """``number``, or any port for 0. Raises NoPort."""
        if self._dry_run and number:
            await ports.check(self._context, number)
            found = number
        elif self._dry_run:
            low = ports.bounds(self._context.settings)[0]
            found = max([low - 1, *self._ports]) + 1
        elif number:
            await ports.take(self._context, self._service, number)
            found = number
        else:
            found = await ports.take_any(self._context, self._service)
        self._ports.append(found)
        return found

    async def _take_health_port(self, before: Object) -> None:
        if not needs_health_check(self._spec) or needs_health_check(before):
            return
        number = self._spec.get("healthCheckNodePort") or 0
        try:
            self._spec["healthCheckNodePort"] = await self._obtain(number)
        except NoPort as problem:
            what = f"requested HealthCheck NodePort {number}" if number else "a HealthCheck NodePort 0"
            raise status.internal_error(f"failed to allocate {what}: {problem}") from problem

    def _raise_invalid(self, problems: list[fields.FieldError]) -> None:
        if problems:
            raise self._invalid(problems)

    def _invalid(self, problems: list[fields.FieldError]) -> ApiError:
        return status.invalid("Service", self._service["metadata"]["name"], problems)
