"""The built-in resources of Kubernetes 1.36's stable versions, as facts of discovery. Adding a kind starts here.

A resource with ``stored=False`` has no objects: a review that is answered at once, or a document that becomes something
else (a Binding). Whoever answers it hangs a function into ``apiserver/dispatch.py``'s table ``UNSTORED``; discovery
tells of it from then on. A resource with ``stored_as`` is another version of the same objects.
"""

from __future__ import annotations

from functools import partial

from kontinuum.api.machinery.resources import Resource

ALL = ("all",)
API_EXTENSIONS = ("api-extensions",)
STATUS = ("status",)


def _resource(
    api_version: str,
    kind: str,
    plural: str,
    *short_names: str,
    namespaced: bool = True,
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    stored: bool = True,
    stored_as: Resource | None = None,
) -> Resource:
    group, _, version = api_version.rpartition("/")
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=short_names,
        categories=categories,
        subresources=subresources,
        stored=stored,
        stored_as=stored_as,
    )


_core = partial(_resource, "v1")
BINDINGS = _core("Binding", "bindings", stored=False)
COMPONENTSTATUSES = _core("ComponentStatus", "componentstatuses", "cs", namespaced=False, stored=False)
CONFIGMAPS = _core("ConfigMap", "configmaps", "cm")
ENDPOINTS = _core("Endpoints", "endpoints", "ep")
EVENTS = _core("Event", "events", "ev")
LIMITRANGES = _core("LimitRange", "limitranges", "limits")
NAMESPACES = _core("Namespace", "namespaces", "ns", namespaced=False, subresources=("finalize", "status"))
NODES = _core("Node", "nodes", "no", namespaced=False, subresources=("proxy", "status"))
PERSISTENTVOLUMECLAIMS = _core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=STATUS)
PERSISTENTVOLUMES = _core("PersistentVolume", "persistentvolumes", "pv", namespaced=False, subresources=STATUS)
PODS = _core(
    "Pod", "pods", "po", categories=ALL,
    subresources=(
        "attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize",
        "status",
    ),
)  # fmt: skip
PODTEMPLATES = _core("PodTemplate", "podtemplates")
REPLICATIONCONTROLLERS = _core(
    "ReplicationController", "replicationcontrollers", "rc", categories=ALL, subresources=("scale", "status")
)
RESOURCEQUOTAS = _core("ResourceQuota", "resourcequotas", "quota", subresources=STATUS)
SECRETS = _core("Secret", "secrets")
SERVICEACCOUNTS = _core("ServiceAccount", "serviceaccounts", "sa", subresources=("token",))
SERVICES = _core("Service", "services", "svc", categories=ALL, subresources=("proxy", "status"))

_admission = partial(
    _resource, "admissionregistration.k8s.io/v1", namespaced=False, categories=API_EXTENSIONS
)  # fmt: skip
MUTATINGADMISSIONPOLICIES = _admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
MUTATINGADMISSIONPOLICYBINDINGS = _admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
MUTATINGWEBHOOKCONFIGURATIONS = _admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
VALIDATINGADMISSIONPOLICIES = _admission(
    "ValidatingAdmissionPolicy", "validatingadmissionpolicies", subresources=STATUS
)
VALIDATINGADMISSIONPOLICYBINDINGS = _admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
VALIDATINGWEBHOOKCONFIGURATIONS = _admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")

CUSTOMRESOURCEDEFINITIONS = _resource(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", "crds",
    namespaced=False, categories=API_EXTENSIONS, subresources=STATUS,
)  # fmt: skip
APISERVICES = _resource(
    "apiregistration.k8s.io/v1", "APIService", "apiservices",
    namespaced=False, categories=API_EXTENSIONS, subresources=STATUS,
)  # fmt: skip

_apps = partial(_resource, "apps/v1")
CONTROLLERREVISIONS = _apps("ControllerRevision", "controllerrevisions")
DAEMONSETS = _apps("DaemonSet", "daemonsets", "ds", categories=ALL, subresources=STATUS)
DEPLOYMENTS = _apps("Deployment", "deployments", "deploy", categories=ALL, subresources=("scale", "status"))
REPLICASETS = _apps("ReplicaSet", "replicasets", "rs", categories=ALL, subresources=("scale", "status"))
STATEFULSETS = _apps("StatefulSet", "statefulsets", "sts", categories=ALL, subresources=("scale", "status"))

_authentication = partial(_resource, "authentication.k8s.io/v1", namespaced=False, stored=False)
SELFSUBJECTREVIEWS = _authentication("SelfSubjectReview", "selfsubjectreviews")
TOKENREVIEWS = _authentication("TokenReview", "tokenreviews")

_authorization = partial(_resource, "authorization.k8s.io/v1", namespaced=False, stored=False)
LOCALSUBJECTACCESSREVIEWS = _authorization("LocalSubjectAccessReview", "localsubjectaccessreviews", namespaced=True)
SELFSUBJECTACCESSREVIEWS = _authorization("SelfSubjectAccessReview", "selfsubjectaccessreviews")
SELFSUBJECTRULESREVIEWS = _authorization("SelfSubjectRulesReview", "selfsubjectrulesreviews")
SUBJECTACCESSREVIEWS = _authorization("SubjectAccessReview", "subjectaccessreviews")

HORIZONTALPODAUTOSCALERS = _resource(
    "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", categories=ALL, subresources=STATUS
)
HORIZONTALPODAUTOSCALERS_V1 = _resource(
    "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", categories=ALL, subresources=STATUS,
    stored_as=HORIZONTALPODAUTOSCALERS,
)  # fmt: skip

_batch = partial(_resource, "batch/v1", categories=ALL, subresources=STATUS)
CRONJOBS = _batch("CronJob", "cronjobs", "cj")
JOBS = _batch("Job", "jobs")

CERTIFICATESIGNINGREQUESTS = _resource(
    "certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests", "csr",
    namespaced=False, subresources=("approval", "status"),
)  # fmt: skip
LEASES = _resource("coordination.k8s.io/v1", "Lease", "leases")
ENDPOINTSLICES = _resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
EVENTS_V1 = _resource("events.k8s.io/v1", "Event", "events", "ev", stored_as=EVENTS)

_flowcontrol = partial(_resource, "flowcontrol.apiserver.k8s.io/v1", namespaced=False, subresources=STATUS)
FLOWSCHEMAS = _flowcontrol("FlowSchema", "flowschemas")
PRIORITYLEVELCONFIGURATIONS = _flowcontrol("PriorityLevelConfiguration", "prioritylevelconfigurations")

_networking = partial(_resource, "networking.k8s.io/v1")
INGRESSCLASSES = _networking("IngressClass", "ingressclasses", namespaced=False)
INGRESSES = _networking("Ingress", "ingresses", "ing", subresources=STATUS)
IPADDRESSES = _networking("IPAddress", "ipaddresses", "ip", namespaced=False)
NETWORKPOLICIES = _networking("NetworkPolicy", "networkpolicies", "netpol")
SERVICECIDRS = _networking("ServiceCIDR", "servicecidrs", namespaced=False, subresources=STATUS)

RUNTIMECLASSES = _resource("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False)
PODDISRUPTIONBUDGETS = _resource(
    "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", subresources=STATUS
)  # fmt: skip

_rbac = partial(_resource, "rbac.authorization.k8s.io/v1")
CLUSTERROLEBINDINGS = _rbac("ClusterRoleBinding", "clusterrolebindings", namespaced=False)
CLUSTERROLES = _rbac("ClusterRole", "clusterroles", namespaced=False)
ROLEBINDINGS = _rbac("RoleBinding", "rolebindings")
ROLES = _rbac("Role", "roles")

_dynamic = partial(_resource, "resource.k8s.io/v1")
DEVICECLASSES = _dynamic("DeviceClass", "deviceclasses", namespaced=False)
RESOURCECLAIMS = _dynamic("ResourceClaim", "resourceclaims", subresources=STATUS)
RESOURCECLAIMTEMPLATES = _dynamic("ResourceClaimTemplate", "resourceclaimtemplates")
RESOURCESLICES = _dynamic("ResourceSlice", "resourceslices", namespaced=False)

PRIORITYCLASSES = _resource("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "pc", namespaced=False)

_storage = partial(_resource, "storage.k8s.io/v1", namespaced=False)
CSIDRIVERS = _storage("CSIDriver", "csidrivers")
CSINODES = _storage("CSINode", "csinodes")
CSISTORAGECAPACITIES = _storage("CSIStorageCapacity", "csistoragecapacities", namespaced=True)
STORAGECLASSES = _storage("StorageClass", "storageclasses", "sc")
VOLUMEATTACHMENTS = _storage("VolumeAttachment", "volumeattachments", subresources=STATUS)
VOLUMEATTRIBUTESCLASSES = _storage("VolumeAttributesClass", "volumeattributesclasses", "vac")

RESOURCES: tuple[Resource, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Resource))
"""All of them, in the order above."""
STORED: tuple[Resource, ...] = tuple(one for one in RESOURCES if one.stored and one.stored_as is None)
"""Those whose objects have a place of their own in the store."""
