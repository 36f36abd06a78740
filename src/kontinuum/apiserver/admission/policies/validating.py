"""The plug-in ValidatingAdmissionPolicy: refuses, warns and notes as the policies' bindings say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from kontinuum.api.kubernetes.resources import VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS
from kontinuum.api.machinery import status
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.matching import Match
from kontinuum.apiserver.admission.policies.hooks import Binding, Hooks, Policy
from kontinuum.apiserver.admission.policies.invocations import Finder, Invocation, Seen
from kontinuum.apiserver.admission.policies.judging import INVALID, Denial, Outcome, Rules, compile_rules, judge
from kontinuum.apiserver.admission.policies.measures import PolicyMeasures
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog

FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
LONGEST_ANNOTATION = 10 * 1024
"""Bytes of one audit annotation."""
CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, INVALID: 422}


@dataclass(frozen=True, slots=True)
class Refusal:
    policy: str
    binding: str
    """"" if the policy itself is what is wrong."""
    message: str
    reason: str

    def __str__(self) -> str:
        where = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{where} denied request: {self.message}"


class ValidatingPolicies(Base):
    """See the module."""

    def __init__(self, authorizer: Authorizer, catalog: Catalog, measures: PolicyMeasures) -> None:
        self._measures = measures
        served = catalog.served
        policies, bindings = served[VALIDATINGADMISSIONPOLICIES], served[VALIDATINGADMISSIONPOLICYBINDINGS]
        hooks = Hooks(policies.cache, bindings.cache, compile_rules)
        self._finder: Finder[Rules] = Finder(hooks.current, catalog, authorizer)

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        found = await self._finder.find(attributes, reader)
        if found is None:
            return
        refusals = [
            Refusal(one.policy.name, one.binding.name if one.binding is not None else "", one.problem, "")
            for one in found.failures
        ]
        notes = Notes(attributes)
        seen: dict[Match, Seen] = {}
        for invocation in found.invocations:
            match = invocation.match
            if match not in seen:
                try:
                    seen[match] = await self._finder.seen(match, attributes, reader)
                except ApiError as error:
                    refusals += _inconvertible(invocation, error)
                    continue
            outcome = await _judge(invocation, seen[match].values(invocation))
            refusals += settle(invocation.policy, invocation.binding, outcome, attributes, notes, self._measures)
            # There may be many parameters: others get their turn.
            await asyncio.sleep(0)
        notes.publish()
        if refusals:
            raise refused(attributes, refusals)


async def _judge(invocation: Invocation[Rules], values: dict[str, Any]) -> Outcome:
    policy = invocation.policy
    return await judge(policy.body, policy.conditions, policy.composition, values, fails=policy.fails)


def _inconvertible(invocation: Invocation[Rules], error: ApiError) -> list[Refusal]:
    """Raises the error if it is the namespace that is missing: no policy is to blame for that."""
    if error.is_not_found:
        raise error
    problem = f"failed to configure policy: failed to convert object version: {error}"
    return [Refusal(invocation.policy.name, "", problem, "")] if invocation.policy.fails else []


class Notes:
    """Annotations of the audit event. Bindings of one policy may say different things under one key."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._found: dict[str, list[str]] = {}

    def add(self, policy: str, key: str, value: str) -> None:
        shortened = value.encode(errors="replace")[:LONGEST_ANNOTATION].decode(errors="ignore")
        values = self._found.setdefault(f"{policy}/{key}", [])
        if shortened not in values:
            values.append(shortened)

    def failure(self, policy: Policy[Rules], binding: Binding, denial: Denial) -> None:
        """Only the first is kept: annotations are never overwritten."""
        value = [{
            "message": denial.message, "policy": policy.name, "binding": binding.name,
            "expressionIndex": denial.index, "validationActions": list(binding.actions),
        }]  # fmt: skip
        self._attributes.annotations.setdefault(FAILURE_KEY, orjson.dumps(value).decode())

    def publish(self) -> None:
        for key, values in self._found.items():
            self._attributes.annotations.setdefault(key, ", ".join(values))


def settle(
    policy: Policy[Rules],
    binding: Binding,
    outcome: Outcome,
    attributes: Attributes,
    notes: Notes,
    measures: PolicyMeasures,
) -> list[Refusal]:
    """Do what the binding asks for; what is left refuses the request."""
    refusals = []
    for denial in outcome.denials:
        for action in binding.actions:
            measures.validated(policy.name, binding.name, action.lower(), "" if denial.reason else denial.message)
            if action == "Deny":
                refusals.append(Refusal(policy.name, binding.name, denial.message, denial.reason))
            elif action == "Audit":
                notes.failure(policy, binding, denial)
            elif action == "Warn":
                where = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                attributes.warnings.append(f"Validation failed for {where}: {denial.message}")
    for key, value in outcome.annotations:
        notes.add(policy.name, key, value)
    for problem in outcome.ignored:
        measures.validated(policy.name, binding.name, "allow", problem)
    for problem in outcome.broken_annotations:
        measures.validated(policy.name, binding.name, "deny", problem)
        refusals.append(Refusal(policy.name, binding.name, problem, ""))
    return refusals


def refused(attributes: Attributes, refusals: list[Refusal]) -> ApiError:
    """The first refusal is the answer, as in Kubernetes."""
    first = refusals[0]
    error = status.forbidden(attributes.resource, attributes.name or "Unknown", str(first))
    error.reason = first.reason or INVALID
    error.code = CODES.get(error.reason, 422)
    error.details["causes"] = [{"message": str(first)}]
    return error
