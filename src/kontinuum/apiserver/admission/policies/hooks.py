"""The policies that are in force with their bindings, compiled again only when one of them has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import orjson

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.selectors import LabelSelector, from_object
from kontinuum.apiserver.admission.expressions import Conditions
from kontinuum.apiserver.admission.matching import Criteria
from kontinuum.apiserver.admission.policies.composition import Composition
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.watchcache import WatchCache

Body = TypeVar("Body")


class ParamKind(NamedTuple):
    """The kind of a policy's parameters."""

    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        """As Go prints a GroupVersionKind."""
        return f"{self.group}/{self.version}, Kind={self.kind}"


@dataclass(frozen=True, slots=True)
class ParamRef:
    """Where a binding's parameters are: one by ``name``, or all that ``selector`` matches."""

    name: str
    namespace: str
    selector: LabelSelector
    must_exist: bool


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    criteria: Criteria
    param_ref: ParamRef | None
    actions: tuple[str, ...]
    """``Deny``, ``Warn``, ``Audit``; none for mutating policies."""


@dataclass(frozen=True, slots=True)
class Policy(Generic[Body]):
    """What both kinds of policies have; ``body`` is what one kind does."""

    name: str
    criteria: Criteria
    param_kind: ParamKind | None
    conditions: Conditions
    composition: Composition
    fails: bool
    """What goes wrong refuses the request (``failurePolicy: Fail``)."""
    body: Body


@dataclass(frozen=True, slots=True)
class Hook(Generic[Body]):
    policy: Policy[Body]
    bindings: tuple[Binding, ...]


class Hooks(Generic[Body]):
    """See the module. ``compile_body`` makes what is special about one kind of policies from its spec."""

    def __init__(
        self, policies: WatchCache, bindings: WatchCache, compile_body: Callable[[Object, Composition], Body]
    ) -> None:
        self._policies, self._bindings = policies, bindings
        self._compile_body = compile_body
        self._changed_policies, self._changed_bindings = policies.follow(), bindings.follow()
        self._compiled: dict[str, Policy[Body]] = {}
        self._hooks: tuple[Hook[Body], ...] = ()
        self._renewal: asyncio.Task[None] | None = None

    async def current(self) -> tuple[Hook[Body], ...]:
        """In the order of the policies' names, and each one's bindings in the order of theirs.

        Waits while what has changed is compiled, so that nobody slips through. Whoever goes through the hooks may wait
        meanwhile: a tuple never changes, later requests get another one.
        """
        while self._changed_policies or self._changed_bindings or self._renewal is not None:
            if self._renewal is None:
                self._renewal = asyncio.create_task(self._renew())
            await asyncio.shield(self._renewal)
        return self._hooks

    async def _renew(self) -> None:
        changed = set(self._changed_policies)
        # What changes from here on makes for another round.
        self._changed_policies.clear()
        self._changed_bindings.clear()
        for key in changed:
            self._compiled.pop(key, None)
        bindings = self._bindings_by_policy()
        # Nobody pays for a policy that is not bound.
        bound = [entry for entry in self._policies.select(Selection()) if entry.name in bindings]
        missing = {entry.key: entry.value for entry in bound if entry.key not in self._compiled}
        try:
            if missing:
                # On a thread, because it may take seconds; reads, and requests that have begun, go on.
                self._compiled |= await asyncio.to_thread(self._compile_all, missing)
            self._hooks = tuple(Hook(self._compiled[entry.key], tuple(bindings[entry.name])) for entry in bound)
        except BaseException:
            self._changed_policies |= {entry.key for entry in bound}
            raise
        finally:
            self._renewal = None

    def _bindings_by_policy(self) -> dict[str, list[Binding]]:
        found: dict[str, list[Binding]] = {}
        for entry in self._bindings.select(Selection()):
            document = orjson.loads(entry.value)
            found.setdefault(document["spec"].get("policyName", ""), []).append(binding_of(document))
        return found

    def _compile_all(self, values: Mapping[str, bytes]) -> dict[str, Policy[Body]]:
        return {key: self._compile(orjson.loads(value)) for key, value in values.items()}

    def _compile(self, document: Object) -> Policy[Body]:
        spec = document["spec"]
        composition = Composition(spec)
        return Policy(
            name=name_of(document),
            criteria=_criteria(spec.get("matchConstraints")),
            param_kind=param_kind_of(spec),
            # Variables are not for conditions: these decide whether any of the policy is looked at.
            conditions=Conditions(spec.get("matchConditions"), composition.bare()),
            composition=composition,
            fails=spec.get("failurePolicy") != "Ignore",
            body=self._compile_body(spec, composition),
        )


def param_kind_of(spec: Object) -> ParamKind | None:
    kind = spec.get("paramKind")
    if kind is None:
        return None
    group, _, version = kind.get("apiVersion", "").rpartition("/")
    return ParamKind(group, version, kind.get("kind", ""))


def binding_of(document: Object) -> Binding:
    spec = document["spec"]
    reference = spec.get("paramRef")
    return Binding(
        name_of(document),
        _criteria(spec.get("matchResources")),
        ParamRef(
            reference.get("name", ""),
            reference.get("namespace", ""),
            from_object(reference.get("selector")),
            must_exist=reference.get("parameterNotFoundAction") == "Deny",
        )
        if reference is not None
        else None,
        tuple(spec.get("validationActions") or ()),
    )


def _criteria(match: Object | None) -> Criteria:
    return Criteria(match or {}, rules="resourceRules", excluded="excludeResourceRules")
