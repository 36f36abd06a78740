"""What both plug-ins do before any expression is evaluated: who matches the request, with which parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Reader
from kontinuum.apiserver.admission.expressions import values_of
from kontinuum.apiserver.admission.matching import Match, as_matched, namespace_of
from kontinuum.apiserver.admission.policies.hooks import Binding, Hook, Policy
from kontinuum.apiserver.admission.policies.parameters import Misconfigured, collect, served_kind
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog

Body = TypeVar("Body")
UNTOUCHED_GROUPS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Reviews are answers, not objects: Kubernetes shows them to no policy."""


@dataclass(frozen=True, slots=True)
class Invocation(Generic[Body]):
    """One policy, binding and parameter that apply to the request."""

    policy: Policy[Body]
    binding: Binding
    match: Match
    param: Object | None


@dataclass(frozen=True, slots=True)
class Failure(Generic[Body]):
    """A policy (``binding`` None) or binding that cannot be evaluated; the text is Kubernetes'."""

    policy: Policy[Body]
    binding: Binding | None
    problem: str
    reason: str = ""
    """Of the answer, if it is not Forbidden."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The request in the version that a policy wants to see."""

    attributes: Attributes
    base: dict[str, Any]
    """The variables' values that are the same for every parameter."""

    def values(self, invocation: Invocation[Any]) -> dict[str, Any]:
        if not invocation.policy.composition.has_params:
            return self.base
        return {**self.base, "params": invocation.param}


@dataclass(frozen=True, slots=True)
class Found(Generic[Body]):
    invocations: list[Invocation[Body]]
    failures: list[Failure[Body]]

    def fail(self, policy: Policy[Body], binding: Binding | None, problem: str) -> None:
        """Unless the policy ignores it."""
        if policy.fails:
            self.failures.append(Failure(policy, binding, problem))


class Finder(Generic[Body]):
    """``current`` answers the hooks in force."""

    def __init__(
        self, current: Callable[[], Awaitable[tuple[Hook[Body], ...]]], catalog: Catalog, authorizer: Authorizer
    ) -> None:
        self._current = current
        self._catalog = catalog
        self._authorizer = authorizer

    async def find(self, attributes: Attributes, reader: Reader) -> Found[Body] | None:
        """What applies to the request, in order; and what cannot be evaluated, unless its policy ignores that.

        None if there is nothing of either.
        """
        if attributes.resource.group in UNTOUCHED_GROUPS or not (hooks := await self._current()):
            return None
        found: Found[Body] = Found([], [])
        for hook in hooks:
            policy = hook.policy
            try:
                match = await policy.criteria.match(attributes, reader, self._catalog)
                if match is None:
                    continue
                served = served_kind(self._catalog, policy.param_kind) if policy.param_kind is not None else None
            except (ApiError, Misconfigured) as error:
                found.fail(policy, None, f"failed to configure policy: {error}")
                continue
            for binding in hook.bindings:
                try:
                    if await binding.criteria.matches_selectors(attributes, reader, self._catalog):
                        params = await collect(served, binding, attributes, reader)
                        found.invocations.extend(Invocation(policy, binding, match, param) for param in params)
                except (ApiError, Misconfigured) as error:
                    found.fail(policy, binding, f"failed to configure binding: {error}")
        return found if found.invocations or found.failures else None

    async def seen(self, match: Match, attributes: Attributes, reader: Reader) -> Seen:
        """Raises ApiError 404 if the request's namespace is gone, or whatever a conversion fails with."""
        matched = await as_matched(attributes, match, self._catalog)
        namespace = await self._namespace(attributes, reader)
        return Seen(matched, values_of(matched, match, namespace, self._authorizer))

    async def _namespace(self, attributes: Attributes, reader: Reader) -> Object | None:
        if attributes.resource == NAMESPACES or not attributes.namespace:
            return None
        found = await namespace_of(attributes, reader)
        if found is None:
            raise status.not_found(NAMESPACES, attributes.namespace)
        return found
