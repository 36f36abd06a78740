"""The order in which plug-ins see a request: all that change it, then (it is complete and valid) all that judge it.

A request that writes, or that opens a stream into a pod (CONNECT), becomes ``Attributes``; ``plugins`` lists who looks
at them, and in what order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import EVERYTHING, LabelSelector
from kontinuum.apiserver.authn.users import User

if TYPE_CHECKING:
    from prometheus_client import Metric

MOST_RESOURCES = 4096
"""And subresources, for which it is remembered who looks at them; custom ones come and go."""
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Kind(NamedTuple):
    """A GroupVersionKind: what a body is, which for a subresource may be another kind than the resource's."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def kind_of(resource: Resource) -> Kind:
    return Kind(resource.group, resource.version, resource.kind)


def no_defaults(obj: Object) -> None:
    """Where a body has no defaults of its own."""


class Attributes(Struct):
    """One request as plug-ins see it. A patch is an UPDATE; apply, and an update that creates, is a CREATE then."""

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    """"" while ``generateName`` has not been resolved."""
    obj: Object | None
    """The object to be stored, which ``admit`` may change in place; the options of a CONNECT; None for a DELETE."""
    old: Object | None
    """The object as it is stored; None for a CREATE or CONNECT."""
    user: User
    kind: Kind
    """Of ``obj``: ``autoscaling/v1 Scale`` for a scale subresource, ``v1 PodExecOptions`` for exec ..."""
    options: Object | None = None
    """CreateOptions, UpdateOptions or DeleteOptions as the client gave them, with kind and apiVersion."""
    dry_run: bool = False
    warnings: list[str] = []
    """Become Warning headers of the answer."""
    annotations: dict[str, str] = {}
    """Become annotations of the audit event."""
    default: Callable[[Object], None] = no_defaults
    """Completes ``obj`` again, in place, after somebody outside the server has changed it."""
    conform: Callable[[Object], object] = no_defaults
    """Brings ``obj`` into its kind's structure after such a change. Raises ApiError 400."""
    memory: dict[str, Any] = {}
    """What has been found out about the request already, so that it is looked up once."""
    invoked: dict[str, bytes] = {}
    """Webhooks and policies that have seen the object, with what they left behind."""
    is_changed_outside: bool = False
    """A webhook or policy has changed the object: the plug-ins before it have to see it again."""
    is_reinvocation: bool = False

    @property
    def verb(self) -> str:
        """``create``, ``update``, ``delete`` or ``connect``."""
        return self.operation.lower()


class Reader(Protocol):
    """How plug-ins look at other objects."""

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, fresh enough to have seen any write that has returned; None if there is none."""
        ...

    async def labels(self, resource: Resource, namespace: str, name: str) -> Mapping[str, str] | None:
        """The labels of the object that ``find`` would answer, which is not decoded for them; None if there is none."""
        ...

    async def list(self, resource: Resource, namespace: str = "", labels: LabelSelector = EVERYTHING) -> list[Object]:
        """The objects of one namespace, or of all for "", as they are cached. Decodes each: not for long lists."""
        ...


class Plugin(Protocol):
    """Both methods raise ApiError to refuse."""

    @property
    def concerns(self) -> Collection[Resource] | None:
        """The resources whose requests it looks at; None: whatever is asked."""
        ...

    @property
    def below(self) -> Collection[str] | None:
        """The subresources (status, binding, exec ...) whose requests it looks at too; None: all of them."""
        ...

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        """Change ``attributes.obj``."""
        ...

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        """Judge the object as it would be stored."""
        ...


class Base:
    """A plug-in that does nothing; real ones override one method or both."""

    @property
    def concerns(self) -> Collection[Resource] | None:
        return None

    @property
    def below(self) -> Collection[str] | None:
        return None

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        """Changes nothing."""

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        """Refuses nothing."""


class Chain:
    """Plug-ins in Kubernetes' order. ``closing`` are called when the server stops, ``measuring`` for its metrics."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
        measuring: Sequence[Callable[[], Iterator[Metric]]] = (),
    ) -> None:
        self.plugins = tuple(plugins)
        self._closing = closing
        self._measuring = measuring
        # Most plug-ins do one of the two, and for few resources; calling only those keeps writes cheap.
        self._admitting = [one for one in plugins if type(one).admit is not Base.admit]
        self._validating = [one for one in plugins if type(one).validate is not Base.validate]
        self._concerned: dict[tuple[Resource, str], tuple[list[Plugin], list[Plugin]]] = {}

    def _of(self, attributes: Attributes) -> tuple[list[Plugin], list[Plugin]]:
        """Who admits, and who validates, such requests."""
        key = resource, subresource = attributes.resource, attributes.subresource
        found = self._concerned.get(key)
        if found is None:
            if len(self._concerned) >= MOST_RESOURCES:
                self._concerned.clear()
            admitting, validating = (
                [
                    one
                    for one in some
                    if (one.concerns is None or resource in one.concerns)
                    and (not subresource or one.below is None or subresource in one.below)
                ]
                for some in (self._admitting, self._validating)
            )
            found = self._concerned[key] = admitting, validating
        return found

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        admitting, _ = self._of(attributes)
        for plugin in admitting:
            await plugin.admit(attributes, reader)
        if attributes.is_changed_outside:
            # Once more, never twice: defaults for a container that a webhook has added, and whoever asked to see it.
            attributes.is_reinvocation = True
            for plugin in admitting:
                await plugin.admit(attributes, reader)

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        for plugin in self._of(attributes)[1]:
            await plugin.validate(attributes, reader)

    async def review(self, attributes: Attributes, reader: Reader) -> None:
        """Both, for requests between which nothing happens: deletes, streams and most subresources."""
        await self.admit(attributes, reader)
        await self.validate(attributes, reader)

    def families(self) -> Iterator[Metric]:
        """What plug-ins have counted."""
        for measured in self._measuring:
            yield from measured()

    async def close(self) -> None:
        for close in self._closing:
            await close()
