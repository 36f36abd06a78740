"""What each of Kubernetes' controllers may do: ClusterRoles ``system:controller:NAME`` (its ``controller_policy.go``).

Each is bound to the service account NAME of kube-system, so that Kubernetes' own controller manager works here.
"""

from __future__ import annotations

from kontinuum.apiserver.authz.defaults.notation import EVENTS

PREFIX = "system:controller:"

CONTROLLER_ROLES: dict[str, str] = {
    "attachdetach-controller": f"""
        core: persistentvolumes persistentvolumeclaims: list watch
        core: nodes: read
        core: nodes/status: patch update
        core: pods: list watch
        {EVENTS}
        storage.k8s.io: volumeattachments: read create delete
        storage.k8s.io: csidrivers: read
        storage.k8s.io: csinodes: read
    """,
    "certificate-controller": f"""
        certificates.k8s.io: certificatesigningrequests: read delete
        certificates.k8s.io: certificatesigningrequests/status certificatesigningrequests/approval: update
        certificates.k8s.io: signers[kubernetes.io/kube-apiserver-client-kubelet]: approve
        certificates.k8s.io: signers[kubernetes.io/legacy-unknown kubernetes.io/kubelet-serving kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet]: sign
        authorization.k8s.io: subjectaccessreviews: create
        {EVENTS}
    """,  # noqa: E501
    "clusterrole-aggregation-controller": "rbac.authorization.k8s.io: clusterroles: escalate read update patch",
    "cronjob-controller": f"""
        batch: cronjobs: read update
        batch: jobs: read create update delete patch
        batch: cronjobs/status: update
        batch: cronjobs/finalizers: update
        core: pods: list watch delete
        {EVENTS}
    """,
    "daemon-set-controller": f"""
        extensions apps: daemonsets: read
        extensions apps: daemonsets/status: update
        extensions apps: daemonsets/finalizers: update
        core: nodes: list watch
        core: pods: list watch create delete patch
        core: pods/binding: create
        apps: controllerrevisions: read create delete update patch
        {EVENTS}
    """,
    "deployment-controller": f"""
        extensions apps: deployments: read update
        extensions apps: deployments/status: update
        extensions apps: deployments/finalizers: update
        apps extensions: replicasets: read create update patch delete
        core: pods: read update
        {EVENTS}
    """,
    "device-taint-eviction-controller": f"""
        core: pods: read delete
        core: pods/status: update patch
        resource.k8s.io: resourceclaims: read
        resource.k8s.io: resourceslices: read
        resource.k8s.io: deviceclasses: read
        {EVENTS}
    """,
    "disruption-controller": f"""
        extensions apps: deployments: read
        apps extensions: replicasets: read
        core: replicationcontrollers: read
        policy: poddisruptionbudgets: read
        apps: statefulsets: read
        policy: poddisruptionbudgets/status: update
        core: pods/status: patch update
        *: */scale: get
        {EVENTS}
    """,
    "endpoint-controller": f"""
        core: services pods: read
        core: endpoints: read create update delete
        core: endpoints/restricted: create
        {EVENTS}
    """,
    "endpointslice-controller": f"""
        core: services pods nodes: read
        core: services/finalizers: update
        discovery.k8s.io: endpointslices: read create update delete
        {EVENTS}
    """,
    "endpointslicemirroring-controller": f"""
        core: services endpoints: read
        core: services/finalizers: update
        core: endpoints/finalizers: update
        discovery.k8s.io: endpointslices: read create update delete
        {EVENTS}
    """,
    "ephemeral-volume-controller": f"""
        core: pods: read
        core: pods/finalizers: update
        core: persistentvolumeclaims: read create
        {EVENTS}
    """,
    "expand-controller": f"""
        core: persistentvolumes: read update patch
        core: persistentvolumeclaims/status: update patch
        core: persistentvolumeclaims: read
        {EVENTS}
    """,
    "generic-garbage-collector": f"""
        *: *: read patch update delete
        {EVENTS}
    """,
    "horizontal-pod-autoscaler": f"""
        autoscaling: horizontalpodautoscalers: read
        autoscaling: horizontalpodautoscalers/status: update
        *: */scale: get update
        core: pods: list watch
        metrics.k8s.io: pods: list watch
        custom.metrics.k8s.io: *: read
        external.metrics.k8s.io: *: read
        {EVENTS}
    """,
    "job-controller": f"""
        batch: jobs: read update patch
        batch: jobs/status: update
        batch: jobs/finalizers: update
        core: pods: list watch create delete patch
        {EVENTS}
    """,
    "legacy-service-account-token-cleaner": """
        core: configmaps[kube-apiserver-legacy-service-account-token-tracking]: get
        core: secrets: patch delete
    """,
    "namespace-controller": """
        core: namespaces: read delete
        core: namespaces/finalize namespaces/status: update
        *: *: read delete deletecollection
    """,
    "node-controller": f"""
        core: nodes: read update delete patch
        core: nodes/status: patch update
        core: pods/status: patch update
        core: pods: read delete
        coordination.k8s.io: leases: read
        {EVENTS}
    """,
    "persistent-volume-binder": f"""
        core: persistentvolumes: read update create delete
        core: persistentvolumes/status: update
        core: persistentvolumeclaims: read update
        core: persistentvolumeclaims/status: update
        core: pods: read create delete
        storage.k8s.io: storageclasses: read
        core: nodes: list watch
        {EVENTS}
        core: events: watch
    """,
    "pod-garbage-collector": """
        core: pods: list watch delete
        core: nodes: read
        core: pods/status: patch
    """,
    "pv-protection-controller": f"""
        core: persistentvolumes: read update
        {EVENTS}
    """,
    "pvc-protection-controller": f"""
        core: persistentvolumeclaims: read update
        core: persistentvolumeclaims/status: update
        core: pods: read
        {EVENTS}
    """,
    "replicaset-controller": f"""
        extensions apps: replicasets: read update
        extensions apps: replicasets/status: update
        extensions apps: replicasets/finalizers: update
        core: pods: list watch create delete patch
        {EVENTS}
    """,
    "replication-controller": f"""
        core: replicationcontrollers: read update
        core: replicationcontrollers/status: update
        core: replicationcontrollers/finalizers: update
        core: pods: list watch create delete patch
        {EVENTS}
    """,
    "resource-claim-controller": f"""
        core: pods: read
        core: pods/finalizers: update
        resource.k8s.io: resourceclaims: read create delete
        resource.k8s.io: resourceclaims resourceclaims/status: update patch
        core: pods/status: update patch
        {EVENTS}
        resource.k8s.io: resourceclaims/binding: update patch
    """,
    "resourcequota-controller": f"""
        *: *: list watch
        core: resourcequotas/status: update
        {EVENTS}
    """,
    "root-ca-cert-publisher": f"""
        core: configmaps: create update
        {EVENTS}
    """,
    "route-controller": f"""
        core: nodes: list watch
        core: nodes/status: patch
        {EVENTS}
    """,
    "selinux-warning-controller": f"""
        {EVENTS}
        core: persistentvolumes: read
        core: persistentvolumeclaims: read
        core: pods: read
        storage.k8s.io: csidrivers: read
    """,
    "service-account-controller": f"""
        core: serviceaccounts: create
        {EVENTS}
    """,
    "service-cidrs-controller": f"""
        networking.k8s.io: servicecidrs: read patch update
        networking.k8s.io: servicecidrs/finalizers: patch update
        networking.k8s.io: servicecidrs/status: patch update
        networking.k8s.io: ipaddresses: read
        {EVENTS}
    """,
    "service-controller": f"""
        core: services: read
        core: services/status: patch update
        core: nodes: list watch
        {EVENTS}
    """,
    "statefulset-controller": f"""
        core: pods: list watch
        apps: statefulsets: read
        apps: statefulsets/status: update
        apps: statefulsets/finalizers: update
        core: pods: get create delete update patch
        apps: controllerrevisions: read create delete update patch
        core: persistentvolumeclaims: read create
        core: persistentvolumeclaims: update delete
        core: pods/finalizers: update
        {EVENTS}
    """,
    "ttl-after-finished-controller": f"""
        batch: jobs: read delete
        {EVENTS}
    """,
    "ttl-controller": f"""
        core: nodes: update patch list watch
        {EVENTS}
    """,
    "validatingadmissionpolicy-status-controller": f"""
        admissionregistration.k8s.io: validatingadmissionpolicies: read
        admissionregistration.k8s.io: validatingadmissionpolicies/status: get patch update
        {EVENTS}
    """,
    "volumeattributesclass-protection-controller": f"""
        core: persistentvolumeclaims: read
        core: persistentvolumes: read
        storage.k8s.io: volumeattributesclasses: read update
        {EVENTS}
    """,
}
