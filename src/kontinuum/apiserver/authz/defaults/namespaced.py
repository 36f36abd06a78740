"""Kubernetes' Roles and RoleBindings of kube-system and kube-public (its ``namespace_policy.go``)."""

from __future__ import annotations

from kontinuum.apiserver.authz.defaults.notation import EVENTS

SYSTEM, PUBLIC = "kube-system", "kube-public"
_LOCKING = """
    coordination.k8s.io: leases: read create update
    coordination.k8s.io: leasecandidates: read create update
"""

ROLES: dict[tuple[str, str], str] = {
    (SYSTEM, "extension-apiserver-authentication-reader"): "core: configmaps[extension-apiserver-authentication]: read",
    (SYSTEM, "system:controller:bootstrap-signer"): "core: secrets: read",
    (SYSTEM, "system:controller:cloud-provider"): "core: configmaps: create read",
    (SYSTEM, "system:controller:token-cleaner"): f"""
        core: secrets: read delete
        {EVENTS}
    """,
    (SYSTEM, "system::leader-locking-kube-controller-manager"): _LOCKING,
    (SYSTEM, "system::leader-locking-kube-scheduler"): _LOCKING,
    (PUBLIC, "system:controller:bootstrap-signer"): f"""
        core: configmaps: read
        core: configmaps[cluster-info]: update
        {EVENTS}
    """,
}

ROLE_BINDINGS: dict[tuple[str, str], tuple[str, list[tuple[str, str]]]] = {
    (SYSTEM, "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        [
            ("User", "system:kube-controller-manager"),
            ("ServiceAccount", "kube-system/kube-controller-manager"),
            ("ServiceAccount", "kube-system/leader-election-controller"),
        ],
    ),
    (SYSTEM, "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        [("User", "system:kube-scheduler"), ("ServiceAccount", "kube-system/kube-scheduler")],
    ),
    (SYSTEM, "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        [("User", "system:kube-controller-manager"), ("User", "system:kube-scheduler")],
    ),
    (SYSTEM, "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer", [("ServiceAccount", "kube-system/bootstrap-signer")],
    ),
    (SYSTEM, "system:controller:cloud-provider"): (
        "system:controller:cloud-provider", [("ServiceAccount", "kube-system/cloud-provider")],
    ),
    (SYSTEM, "system:controller:token-cleaner"): (
        "system:controller:token-cleaner", [("ServiceAccount", "kube-system/token-cleaner")],
    ),
    (PUBLIC, "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer", [("ServiceAccount", "kube-system/bootstrap-signer")],
    ),
}  # fmt: skip
"""By namespace and name: the Role of the same namespace, and who is bound to it."""
