"""The plug-in MutatingAdmissionPolicy: changes what is going to be stored.

Policies are carried out in the order of their names, each on what the ones before have left. Once all plug-ins have
seen the object, those are asked again that want to be (``reinvocationPolicy: IfNeeded``), if a policy or somebody
behind them has changed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kontinuum.api.kubernetes.resources import MUTATINGADMISSIONPOLICIES, MUTATINGADMISSIONPOLICYBINDINGS
from kontinuum.api.kubernetes.schema import is_known
from kontinuum.api.kubernetes.shapes import shape_of_kind
from kontinuum.api.kubernetes.structure import conform, field_problems
from kontinuum.api.machinery import status
from kontinuum.api.machinery.cel import Budget, EvaluationFailed
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.environment import JSON_PATCH, OBJECT
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.shapes import Shape
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Base, Kind, Reader, kind_of
from kontinuum.apiserver.admission.matching import Match, converted, put
from kontinuum.apiserver.admission.policies.composition import Composition, Expression, compile_expression
from kontinuum.apiserver.admission.policies.hooks import Hooks
from kontinuum.apiserver.admission.policies.invocations import Failure, Finder, Invocation
from kontinuum.apiserver.admission.policies.judging import INVALID, joined
from kontinuum.apiserver.admission.policies.measures import PolicyMeasures
from kontinuum.apiserver.admission.policies.parameters import Misconfigured
from kontinuum.apiserver.admission.policies.patching import applied, patched
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog

PLUGIN = "MutatingAdmissionPolicy"
Key = tuple[str, str, str, str]
"""Policy, binding, and the parameter's namespace and name."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """``is_patch``: a list of JSONPatch operations, not a configuration."""

    expression: Expression
    is_patch: bool


@dataclass(frozen=True, slots=True)
class Mutations:
    """The body of a mutating policy."""

    steps: tuple[Mutation, ...]
    wants_again: bool


def compile_mutations(spec: Object, composition: Composition) -> Mutations:
    within = composition.environment(has_patches=True)
    steps = []
    for one in spec.get("mutations") or ():
        is_patch = one.get("patchType") == "JSONPatch"
        source = (one.get("jsonPatch" if is_patch else "applyConfiguration") or {}).get("expression", "").strip()
        result = t.list_of(JSON_PATCH) if is_patch else OBJECT
        steps.append(Mutation(compile_expression(source, within, result), is_patch))
    return Mutations(tuple(steps), spec.get("reinvocationPolicy") == "IfNeeded")


@dataclass(slots=True)
class Rounds:
    """What one request remembers between the first and the second time that the plug-ins see it."""

    seen: set[Key] = field(default_factory=set)
    """Who has been asked, and wants to be asked again if something changes."""
    again: set[Key] = field(default_factory=set)
    """Who is asked again."""
    left: Object | None = None
    """The object as the policies left it."""

    def require_again(self) -> None:
        self.again |= self.seen
        self.seen.clear()


class MutatingPolicies(Base):
    """See the module."""

    def __init__(self, authorizer: Authorizer, catalog: Catalog, measures: PolicyMeasures) -> None:
        self._measures = measures
        served = catalog.served
        policies, bindings = served[MUTATINGADMISSIONPOLICIES], served[MUTATINGADMISSIONPOLICYBINDINGS]
        hooks = Hooks(policies.cache, bindings.cache, compile_mutations)
        self._finder: Finder[Mutations] = Finder(hooks.current, catalog, authorizer)
        self._catalog = catalog

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        obj = attributes.obj
        if obj is None:
            return
        found = await self._finder.find(attributes, reader)
        if found is None:
            return
        rounds: Rounds = attributes.memory.setdefault(PLUGIN, Rounds())
        if attributes.is_reinvocation and rounds.left != obj:
            rounds.require_again()
        before = copy(obj)
        failures = found.failures
        for invocation in found.invocations:
            failures += await self._invoke(invocation, attributes, reader, rounds)
            await asyncio.sleep(0)
        if before != obj:
            attributes.is_changed_outside = True
            rounds.require_again()
        rounds.left = copy(obj)
        if failures:
            raise refused(attributes, failures)

    async def _invoke(
        self, invocation: Invocation[Mutations], attributes: Attributes, reader: Reader, rounds: Rounds
    ) -> list[Failure[Mutations]]:
        """Raises ApiError for what no policy can decide about."""
        policy, obj = invocation.policy, attributes.obj
        assert obj is not None
        seen = await self._finder.seen(invocation.match, attributes, reader)
        values = seen.values(invocation)
        matches, problems = policy.conditions.judge(values)
        if problems and policy.fails:
            return [Failure(policy, invocation.binding, joined(problems), INVALID)]
        key = _key(invocation)
        if not matches or (attributes.is_reinvocation and key not in rounds.again):
            return []
        before, failures = copy(obj), []
        for mutation in policy.body.steps:
            # Each mutation sees what the one before has made.
            problem = ""
            try:
                await self._mutate(mutation, invocation, attributes, reader)
            except (Misconfigured, EvaluationFailed) as error:
                problem = str(error)
                if policy.fails:
                    failures.append(Failure(policy, invocation.binding, problem, INVALID))
            self._measures.mutated(policy.name, invocation.binding.name, problem)
        if before != obj:
            rounds.require_again()
        if policy.body.wants_again:
            rounds.seen.add(key)
        return failures

    async def _mutate(
        self, mutation: Mutation, invocation: Invocation[Mutations], attributes: Attributes, reader: Reader
    ) -> None:
        """Raises Misconfigured, EvaluationFailed, ApiError 503."""
        obj, match = attributes.obj, invocation.match
        assert obj is not None
        seen = await self._finder.seen(match, attributes, reader)
        matched = seen.attributes.obj
        assert matched is not None
        result = evaluate(mutation, invocation.policy.composition, seen.values(invocation))
        new = patched(matched, result) if mutation.is_patch else applied(matched, result, self._shape(match))
        if new is None:
            return
        checked(new, match.kind)
        if match.kind != attributes.kind:
            new = await converted(new, self._catalog.served[match.resource], self._catalog.served[attributes.resource])
        put(obj, new)
        attributes.conform(obj)
        attributes.default(obj)

    def _shape(self, match: Match) -> Shape:
        """Raises ApiError 503 for a kind that nobody has described."""
        kind = match.kind
        if kind == kind_of(match.resource):
            return self._catalog.served[match.resource].kind.shape
        if not is_known(kind.api_version, kind.kind):
            raise status.service_unavailable(
                f"Resource kind {kind.group}/{kind.version}, Kind={kind.kind} not found. There can be a delay between "
                "when CustomResourceDefinitions are created and when they are available."
            )
        return shape_of_kind(kind.api_version, kind.kind)


def evaluate(mutation: Mutation, composition: Composition, values: Mapping[str, Any]) -> Any:
    """Raises EvaluationFailed."""
    budget = Budget()
    expression = mutation.expression
    if expression.program is None:
        raise Misconfigured(expression.problem)
    return expression.evaluate(composition.begin(values, budget), budget)


def checked(new: Object, kind: Kind) -> None:
    """Hold what was made against the structure of its kind. Raises Misconfigured."""
    if not is_known(kind.api_version, kind.kind):
        return
    try:
        problems = field_problems(conform(new, kind.api_version, kind.kind), ())
    except ApiError as error:
        _, _, problem = error.message.partition(f"cannot be handled as a {kind.kind}: ")
        raise Misconfigured(problem or error.message) from error
    if problems:
        raise Misconfigured(f"strict decoding error: {', '.join(problems)}")


def _key(invocation: Invocation[Mutations]) -> Key:
    metadata = (invocation.param or {}).get("metadata") or {}
    return (
        invocation.policy.name,
        invocation.binding.name,
        metadata.get("namespace", ""),
        metadata.get("name", ""),
    )


def refused(attributes: Attributes, failures: list[Failure[Mutations]]) -> ApiError:
    """Every failure is a cause; the first one gives the message."""
    texts = [describe(one) for one in failures]
    error = status.forbidden(attributes.resource, attributes.name or "Unknown", "")
    error.message = texts[0]
    error.args = (texts[0],)
    # Only the reason says which kind of failure it was; the code stays that of a refusal, as in Kubernetes.
    error.reason = failures[0].reason or error.reason
    error.details["causes"] = [{"message": text} for text in texts]
    return error


def describe(failure: Failure[Mutations]) -> str:
    policy = failure.policy.name
    if failure.binding is None:
        return f'policy "{policy}" denied request: {failure.problem}'
    return f"policy '{policy}' with binding '{failure.binding.name}' denied request: {failure.problem}"
