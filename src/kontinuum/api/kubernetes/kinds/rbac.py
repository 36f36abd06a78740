"""rbac.authorization.k8s.io: roles, and who has them."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, Undescribed
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation import rbac as validation
from kontinuum.api.kubernetes.validation.identifiers import path_segment
from kontinuum.api.kubernetes.validation.rbac import GROUP
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class _Rbac(Kind):
    """Names may hold colons and capitals: ``system:node``."""

    def check_name(self, name: str) -> list[str]:
        return path_segment(name)


class Role(_Rbac, Undescribed):
    """Also ClusterRoles."""

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = validation.validate_rules(obj.get("rules") or [], namespaced=self.resource.namespaced)
        aggregation = obj.get("aggregationRule")
        return errors + (validation.validate_aggregation(aggregation) if aggregation is not None else [])


class RoleBinding(_Rbac):
    """Also ClusterRoleBindings."""

    columns = (
        NAME,
        Column("Role", description="The role that is given."),
        AGE,
        Column("Users", priority=1, description="Users who have the role."),
        Column("Groups", priority=1, description="Groups that have the role."),
        Column("ServiceAccounts", priority=1, description="ServiceAccounts that have the role."),
    )

    def default(self, obj: Object) -> None:
        reference = obj.get("roleRef")
        if reference is not None and not reference.get("apiGroup"):
            reference["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
                subject["apiGroup"] = GROUP

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_binding(obj, namespaced=self.resource.namespaced)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validation.validate_binding_change(obj, old)

    def cells(self, obj: Object, now: float) -> list[Any]:
        reference, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []
        name, role, age = row(obj, now, f"{reference.get('kind', '')}/{reference.get('name', '')}")
        users, groups = (_names(subjects, kind) for kind in ("User", "Group"))
        accounts = [
            f"{one.get('namespace', '')}/{one.get('name', '')}"
            for one in subjects
            if one.get("kind") == "ServiceAccount"
        ]
        return [name, role, age, ", ".join(users), ", ".join(groups), ", ".join(accounts)]


def _names(subjects: list[Object], kind: str) -> list[str]:
    return [one.get("name", "") for one in subjects if one.get("kind") == kind]
