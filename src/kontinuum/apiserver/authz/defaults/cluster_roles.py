"""Kubernetes' ClusterRoles for people, nodes and its own components (its ``bootstrappolicy/policy.go``), as tables."""

from __future__ import annotations

from kontinuum.apiserver.authz.defaults.notation import EVENTS

PUBLIC = "/healthz /livez /readyz /version /version/"

AGGREGATED = {"admin": "", "edit": "admin", "view": "edit"}
"""Roles that are the sum of others, and the role into which each of them goes itself."""

AGGREGATED_FROM = {
    # The metrics-server brings this one along; here its group is served without it.
    "system:aggregated-metrics-reader": ("view", "metrics.k8s.io: pods nodes: read"),
    "system:aggregate-to-admin": (
        "admin",
        """
        authorization.k8s.io: localsubjectaccessreviews: create
        rbac.authorization.k8s.io: roles rolebindings: all
        """,
    ),
    "system:aggregate-to-edit": (
        "edit",
        """
        core: pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy: read
        core: serviceaccounts: impersonate
        core: pods pods/attach pods/proxy pods/exec pods/portforward: write
        core: pods/eviction: create
        core: replicationcontrollers replicationcontrollers/scale serviceaccounts services services/proxy persistentvolumeclaims configmaps secrets events: write
        core: serviceaccounts/token: create
        apps: statefulsets statefulsets/scale daemonsets deployments deployments/scale deployments/rollback replicasets replicasets/scale: write
        autoscaling: horizontalpodautoscalers: write
        batch: jobs cronjobs: write
        extensions: daemonsets deployments deployments/scale deployments/rollback ingresses replicasets replicasets/scale replicationcontrollers/scale networkpolicies: write
        policy: poddisruptionbudgets: write
        networking.k8s.io: networkpolicies ingresses: write
        coordination.k8s.io: leases: all
        resource.k8s.io: resourceclaims resourceclaimtemplates: write
        """,  # noqa: E501
    ),
    "system:aggregate-to-view": (
        "view",
        """
        core: pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status endpoints persistentvolumeclaims persistentvolumeclaims/status configmaps: read
        core: limitranges resourcequotas bindings events pods/status resourcequotas/status namespaces/status replicationcontrollers/status pods/log: read
        core: namespaces: read
        discovery.k8s.io: endpointslices: read
        apps: controllerrevisions statefulsets statefulsets/status statefulsets/scale daemonsets daemonsets/status deployments deployments/status deployments/scale replicasets replicasets/status replicasets/scale: read
        autoscaling: horizontalpodautoscalers horizontalpodautoscalers/status: read
        batch: jobs cronjobs cronjobs/status jobs/status: read
        extensions: daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status replicasets replicasets/scale replicasets/status replicationcontrollers/scale networkpolicies: read
        policy: poddisruptionbudgets poddisruptionbudgets/status: read
        networking.k8s.io: networkpolicies ingresses ingresses/status: read
        resource.k8s.io: resourceclaims resourceclaims/status resourceclaimtemplates: read
        """,  # noqa: E501
    ),
}
"""The label of each says into which role it goes, so that anybody may add to a role by such a ClusterRole."""

NODE = """
    authentication.k8s.io: tokenreviews: create
    authorization.k8s.io: subjectaccessreviews localsubjectaccessreviews: create
    core: services: read
    core: nodes: create read
    core: nodes/status: update patch
    core: nodes: update patch
    core: events: create update patch
    core: pods: read
    core: pods: create delete
    core: pods/status: update patch
    core: pods/eviction: create
    core: secrets configmaps: read
    core: persistentvolumeclaims persistentvolumes: get
    core: endpoints: get
    certificates.k8s.io: certificatesigningrequests: create read
    coordination.k8s.io: leases: get create update patch delete
    storage.k8s.io: volumeattachments: get
    core: serviceaccounts/token: create
    core: persistentvolumeclaims/status: get update patch
    storage.k8s.io: csidrivers: read
    storage.k8s.io: csinodes: get create update patch delete
    node.k8s.io: runtimeclasses: read
    resource.k8s.io: resourceclaims: get
    resource.k8s.io: resourceslices: deletecollection
    core: serviceaccounts: get
"""

_APPROVERS = {
    f"system:certificates.k8s.io:{signer}-approver": f"certificates.k8s.io: signers[kubernetes.io/{signer}]: approve"
    for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
}

CLUSTER_ROLES: dict[str, str] = {
    "cluster-admin": """
        *: *: *
        *: *
    """,
    "system:discovery": f"{PUBLIC} /openapi /openapi/* /api /api/* /apis /apis/*: get",
    "system:monitoring": """
        /metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*: get
    """,
    "system:basic-user": """
        authorization.k8s.io: selfsubjectaccessreviews selfsubjectrulesreviews: create
        authentication.k8s.io: selfsubjectreviews: create
    """,
    "system:public-info-viewer": f"{PUBLIC}: get",
    "system:heapster": """
        core: events pods nodes namespaces: read
        extensions: deployments: read
    """,
    "system:node": NODE,
    "system:node-problem-detector": f"""
        core: nodes: get
        core: nodes/status: patch
        {EVENTS}
    """,
    "system:node-proxier": f"""
        core: services endpoints: list watch
        core: nodes: read
        {EVENTS}
        networking.k8s.io: servicecidrs: list watch
        discovery.k8s.io: endpointslices: list watch
    """,
    "system:kubelet-api-admin": """
        core: nodes: read
        core: nodes: proxy
        core: nodes/proxy nodes/metrics nodes/stats nodes/log: *
        core: nodes/configz nodes/healthz nodes/pods: *
    """,
    "system:node-bootstrapper": "certificates.k8s.io: certificatesigningrequests: create read",
    "system:auth-delegator": """
        authentication.k8s.io: tokenreviews: create
        authorization.k8s.io: subjectaccessreviews: create
    """,
    "system:kube-aggregator": "core: services endpoints: read",
    "system:kube-controller-manager": f"""
        {EVENTS}
        coordination.k8s.io: leases: create
        coordination.k8s.io: leases[kube-controller-manager]: get update
        core: secrets serviceaccounts: create
        core: secrets: delete
        core: namespaces secrets serviceaccounts configmaps: get
        core: secrets serviceaccounts: update
        authentication.k8s.io: tokenreviews: create
        authorization.k8s.io: subjectaccessreviews: create
        *: *: list watch
        core: serviceaccounts/token: create
    """,
    "system:kube-dns": "core: endpoints services: list watch",
    "system:persistent-volume-provisioner": f"""
        core: persistentvolumes: get list watch create delete
        core: persistentvolumeclaims: read update
        storage.k8s.io: storageclasses: read
        core: events: watch
        {EVENTS}
    """,
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "certificates.k8s.io: certificatesigningrequests/nodeclient: create"
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "certificates.k8s.io: certificatesigningrequests/selfnodeclient: create"
    ),
    "system:volume-scheduler": """
        core: persistentvolumes: read update patch
        storage.k8s.io: storageclasses: read
        core: persistentvolumeclaims: read update patch
    """,
    **_APPROVERS,
    "system:service-account-issuer-discovery": (
        "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/: get"
    ),
    "system:kube-scheduler": f"""
        {EVENTS}
        coordination.k8s.io: leases: create
        coordination.k8s.io: leases[kube-scheduler]: get update
        core: nodes: read
        core: pods: read delete
        core: pods/binding bindings: create
        core: pods/status: patch update
        core: replicationcontrollers services: read
        apps extensions: replicasets: read
        apps: statefulsets: read
        policy: poddisruptionbudgets: read
        core: persistentvolumeclaims persistentvolumes: read
        authentication.k8s.io: tokenreviews: create
        authorization.k8s.io: subjectaccessreviews: create
        storage.k8s.io: csinodes: read
        storage.k8s.io: volumeattachments: read
        core: namespaces: read
        storage.k8s.io: csidrivers: read
        storage.k8s.io: csistoragecapacities: read
        resource.k8s.io: deviceclasses: read
        resource.k8s.io: resourceclaims: read update patch
        resource.k8s.io: resourceclaims/status: read update patch
        resource.k8s.io: resourceclaims/binding: update patch
        core: pods/finalizers: read update patch
        resource.k8s.io: resourceslices: read
    """,
}

GROUP, USER, ACCOUNT = "Group", "User", "ServiceAccount"

CLUSTER_BINDINGS: dict[str, list[tuple[str, str]]] = {
    "cluster-admin": [(GROUP, "system:masters")],
    "system:monitoring": [(GROUP, "system:monitoring")],
    "system:discovery": [(GROUP, "system:authenticated")],
    "system:basic-user": [(GROUP, "system:authenticated")],
    "system:public-info-viewer": [(GROUP, "system:authenticated"), (GROUP, "system:unauthenticated")],
    "system:node-proxier": [(USER, "system:kube-proxy")],
    "system:kube-controller-manager": [(USER, "system:kube-controller-manager")],
    "system:kube-dns": [(ACCOUNT, "kube-system/kube-dns")],
    "system:kube-scheduler": [(USER, "system:kube-scheduler")],
    "system:volume-scheduler": [(USER, "system:kube-scheduler")],
    "system:node": [],
    "system:service-account-issuer-discovery": [(GROUP, "system:serviceaccounts")],
}
"""Each is named as the role it binds. That of system:node binds nobody: the node authorizer answers for nodes."""
