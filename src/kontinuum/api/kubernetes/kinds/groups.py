"""The kinds of the groups that are neither core nor workloads, one file for each group."""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import (
    admissionregistration,
    apiextensions,
    apiregistration,
    certificates,
    discovery,
    flowcontrol,
    networking,
    rbac,
    resource,
    scheduling,
    storage,
)
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.machinery.resources import Resource

GROUPS: dict[Resource, type[Kind]] = {
    r.MUTATINGADMISSIONPOLICIES: admissionregistration.MutatingAdmissionPolicy,
    r.MUTATINGADMISSIONPOLICYBINDINGS: admissionregistration.MutatingAdmissionPolicyBinding,
    r.MUTATINGWEBHOOKCONFIGURATIONS: admissionregistration.MutatingWebhookConfiguration,
    r.VALIDATINGADMISSIONPOLICIES: admissionregistration.ValidatingAdmissionPolicy,
    r.VALIDATINGADMISSIONPOLICYBINDINGS: admissionregistration.ValidatingAdmissionPolicyBinding,
    r.VALIDATINGWEBHOOKCONFIGURATIONS: admissionregistration.ValidatingWebhookConfiguration,
    r.APISERVICES: apiregistration.APIService,
    r.CUSTOMRESOURCEDEFINITIONS: apiextensions.CustomResourceDefinition,
    r.CERTIFICATESIGNINGREQUESTS: certificates.CertificateSigningRequest,
    r.ENDPOINTSLICES: discovery.EndpointSlice,
    r.FLOWSCHEMAS: flowcontrol.FlowSchema,
    r.PRIORITYLEVELCONFIGURATIONS: flowcontrol.PriorityLevelConfiguration,
    r.INGRESSCLASSES: networking.IngressClass,
    r.INGRESSES: networking.Ingress,
    r.IPADDRESSES: networking.IPAddress,
    r.NETWORKPOLICIES: networking.NetworkPolicy,
    r.SERVICECIDRS: networking.ServiceCIDR,
    r.CLUSTERROLEBINDINGS: rbac.RoleBinding,
    r.CLUSTERROLES: rbac.Role,
    r.ROLEBINDINGS: rbac.RoleBinding,
    r.ROLES: rbac.Role,
    r.DEVICECLASSES: resource.DeviceClass,
    r.RESOURCECLAIMS: resource.ResourceClaim,
    r.RESOURCECLAIMTEMPLATES: resource.ResourceClaimTemplate,
    r.RESOURCESLICES: resource.ResourceSlice,
    r.PRIORITYCLASSES: scheduling.PriorityClass,
    r.CSIDRIVERS: storage.CSIDriver,
    r.CSINODES: storage.CSINode,
    r.CSISTORAGECAPACITIES: storage.CSIStorageCapacity,
    r.STORAGECLASSES: storage.StorageClass,
    r.VOLUMEATTACHMENTS: storage.VolumeAttachment,
    r.VOLUMEATTRIBUTESCLASSES: storage.VolumeAttributesClass,
}
