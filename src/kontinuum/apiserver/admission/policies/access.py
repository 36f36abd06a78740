"""Who writes a policy or binding has to be able to read its parameters: messages and warnings would show them.

As Kubernetes does it (``registry/admissionregistration/*/authz.go``): once an object has nothing else wrong with it,
and only if the reference is new.
"""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.merging import go_text
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.policies.hooks import ParamKind, param_kind_of
from kontinuum.apiserver.admission.policies.parameters import Misconfigured, served_kind
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz import authorizer as authz
from kontinuum.apiserver.catalog import Catalog

POLICIES = {
    r.VALIDATINGADMISSIONPOLICYBINDINGS: r.VALIDATINGADMISSIONPOLICIES,
    r.MUTATINGADMISSIONPOLICYBINDINGS: r.MUTATINGADMISSIONPOLICIES,
}
"""Of each kind of bindings."""
WRITES = ("CREATE", "UPDATE")
ANYTHING = "*"


class ParameterAccess(Base):
    """See the module."""

    concerns = frozenset({*POLICIES, *POLICIES.values()})
    below = ()

    def __init__(self, authorizer: authz.Authorizer, catalog: Catalog) -> None:
        self._authorizer = authorizer
        self._catalog = catalog

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.operation not in WRITES or attributes.obj is None or authz.MASTERS in attributes.user.groups:
            return
        spec, old = attributes.obj.get("spec") or {}, (attributes.old or {}).get("spec") or {}
        if attributes.resource in POLICIES.values():
            self._check_policy(attributes, spec, old)
        else:
            await self._check_binding(attributes, spec, old, reader)

    def _check_policy(self, asked: Attributes, spec: Object, old: Object) -> None:
        kind = param_kind_of(spec)
        if kind is None or kind == param_kind_of(old):
            return
        if not self._may_read(asked.user, kind, namespace=ANYTHING, name=ANYTHING):
            given = spec["paramKind"]
            problem = (
                f'user {shown(asked.user)} must have "get" permission on all objects of the referenced paramKind '
                f"(kind={given.get('kind', '')}, apiVersion={given.get('apiVersion', '')})"
            )
            raise _refused(asked, "spec.paramKind", problem)

    async def _check_binding(self, asked: Attributes, spec: Object, old: Object, reader: Reader) -> None:
        reference = spec.get("paramRef")
        if reference is None or all(spec.get(field) == old.get(field) for field in ("paramRef", "policyName")):
            return
        policy = await reader.find(POLICIES[asked.resource], "", spec.get("policyName", ""))
        kind = param_kind_of(policy["spec"]) if policy is not None else None
        place = {"namespace": reference.get("namespace", ""), "name": reference.get("name", "")}
        if not self._may_read(asked.user, kind, **place):
            problem = f'user {shown(asked.user)} does not have "get" permission on the object referenced by paramRef'
            raise _refused(asked, "spec.paramRef", problem)

    def _may_read(self, user: User, kind: ParamKind | None, *, namespace: str, name: str) -> bool:
        """A kind that nobody knows may come to be any; so one has to be able to read all."""
        group = version = plural = ANYTHING
        if kind is not None:
            group, version = kind.group, kind.version
            try:
                plural = served_kind(self._catalog, kind).resource.plural
            except Misconfigured:
                plural = ANYTHING
        question = authz.Attributes(user, "get", group, plural, "", namespace, name, version)
        return self._authorizer.decide(question).allowed


def shown(user: User) -> str:
    """A user as Go prints the struct."""
    extra = {key: list(values) for key, values in user.extra.items()}
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] {go_text(extra)}}}"


def _refused(asked: Attributes, path: str, problem: str) -> status.ApiError:
    resource = asked.resource
    return status.invalid(resource.kind, asked.name, [fields.forbidden(path, problem)], group=resource.group)
