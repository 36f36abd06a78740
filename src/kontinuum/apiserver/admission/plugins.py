"""Every admission plug-in, in the order in which Kubernetes runs them (its ``AllOrderedPlugins``).

The order is part of what users see: a LimitRange fills in requests before quota counts them, a mutating webhook sees
the service account's volume, and a validating policy judges what is going to be stored. A plug-in that is not there yet
is hung at its place in the list:

    NamespaceLifecycle, LimitRanger, ServiceAccount, NodeRestriction, TaintNodesByCondition, PodSecurity, Priority,
    DefaultTolerationSeconds, PodTolerationRestriction (off), DefaultStorageClass, PersistentVolumeClaimResize,
    StorageObjectInUseProtection, RuntimeClass, CertificateApproval, CertificateSigning, ClusterTrustBundleAttest,
    CertificateSubjectRestriction, DefaultIngressClass, PodTopologyLabels, PodResizeValidator, MutatingAdmissionPolicy,
    MutatingAdmissionWebhook, ValidatingAdmissionPolicy, ValidatingAdmissionWebhook, ResourceQuota

ResourceQuota comes last, and not from this list: what it charges has to be given back if the object is not stored after
all, so it stands around the write (``storing``, ``quota``).
"""

from __future__ import annotations

from kontinuum.apiserver.admission.certificate_requests import CertificateRequests
from kontinuum.apiserver.admission.chain import Chain
from kontinuum.apiserver.admission.claim_resize import ClaimResize
from kontinuum.apiserver.admission.default_classes import DEFAULT_INGRESS_CLASS, DEFAULT_STORAGE_CLASS
from kontinuum.apiserver.admission.default_tolerations import DefaultTolerations
from kontinuum.apiserver.admission.escalation import Escalation, RuleResolver
from kontinuum.apiserver.admission.limit_ranger import LimitRanger
from kontinuum.apiserver.admission.measures import Measures
from kontinuum.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kontinuum.apiserver.admission.node_restriction import NodeRestriction
from kontinuum.apiserver.admission.node_taints import TaintNodesByCondition
from kontinuum.apiserver.admission.pod_resize import PodResizeValidator
from kontinuum.apiserver.admission.pod_security import PodSecurity
from kontinuum.apiserver.admission.pod_tolerations import PodTolerationRestriction
from kontinuum.apiserver.admission.policies.access import ParameterAccess
from kontinuum.apiserver.admission.policies.measures import PolicyMeasures
from kontinuum.apiserver.admission.policies.mutating import MutatingPolicies
from kontinuum.apiserver.admission.policies.validating import ValidatingPolicies
from kontinuum.apiserver.admission.priority import Priority
from kontinuum.apiserver.admission.runtime_class import RuntimeClass
from kontinuum.apiserver.admission.service_account import ServiceAccount
from kontinuum.apiserver.admission.storage_protection import StorageObjectInUseProtection
from kontinuum.apiserver.admission.topology_labels import PodTopologyLabels
from kontinuum.apiserver.admission.volume_phases import VolumePhases
from kontinuum.apiserver.admission.webhooks.assemble import webhooks_of
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.clock import Clock


def all_plugins(
    authorizer: Authorizer, rules: RuleResolver, settings: ServerSettings, clock: Clock, catalog: Catalog
) -> Chain:
    """The chain of one server. What a plug-in needs beside the reader comes in here as an argument."""
    chosen = settings.admission
    measures, policy_measures = Measures(), PolicyMeasures()
    webhooks = webhooks_of(authorizer, clock, catalog, measures)
    return Chain(
        [
            NamespaceLifecycle(),
            LimitRanger(),
            ServiceAccount(),
            NodeRestriction(authorizer),
            TaintNodesByCondition(),
            PodSecurity(chosen.pod_security),
            Priority(),
            DefaultTolerations(),
            *([PodTolerationRestriction()] if chosen.pod_toleration_restriction else []),
            DEFAULT_STORAGE_CLASS,
            ClaimResize(),
            StorageObjectInUseProtection(),
            VolumePhases(clock),
            RuntimeClass(),
            CertificateRequests(authorizer, clock),
            DEFAULT_INGRESS_CLASS,
            PodTopologyLabels(),
            PodResizeValidator(),
            MutatingPolicies(authorizer, catalog, policy_measures),
            webhooks.mutating,
            Escalation(authorizer, rules),  # Behind everything that changes an object.
            ParameterAccess(authorizer, catalog),
            ValidatingPolicies(authorizer, catalog, policy_measures),
            webhooks.validating,
        ],
        closing=[webhooks.close],
        measuring=[measures.families, policy_measures.families],
    )
