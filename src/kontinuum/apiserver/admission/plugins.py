"""Every admission plug-in, in the order in which Kubernetes runs them (its ``AllOrderedPlugins``).

The order is part of what users see: a LimitRange fills in requests before quota counts them, a mutating webhook sees
the service account's volume, and a validating policy judges what is going to be stored. A plug-in that is not there yet
is hung at its place in the list:

    NamespaceLifecycle, PodSecurity, LimitRanger, ServiceAccount, NodeRestriction, TaintNodesByCondition, Priority,
    DefaultTolerationSeconds, PodTolerationRestriction (off), StorageObjectInUseProtection, RuntimeClass,
    CertificateApproval, CertificateSigning, ClusterTrustBundleAttest, CertificateSubjectRestriction,
    DefaultIngressClass, DefaultStorageClass, MutatingAdmissionPolicy, MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy, ValidatingAdmissionWebhook, ResourceQuota
"""

from __future__ import annotations

from kontinuum.apiserver.admission.certificate_requests import CertificateRequests
from kontinuum.apiserver.admission.chain import Chain
from kontinuum.apiserver.admission.default_tolerations import DefaultTolerations
from kontinuum.apiserver.admission.escalation import Escalation, RuleResolver
from kontinuum.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kontinuum.apiserver.admission.node_restriction import NodeRestriction
from kontinuum.apiserver.admission.pod_security import PodSecurity
from kontinuum.apiserver.admission.policies.mutating import MutatingPolicies
from kontinuum.apiserver.admission.policies.validating import ValidatingPolicies
from kontinuum.apiserver.admission.priority import Priority
from kontinuum.apiserver.admission.runtime_class import RuntimeClass
from kontinuum.apiserver.admission.service_account import ServiceAccount
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.clock import Clock


def all_plugins(
    authorizer: Authorizer, rules: RuleResolver, settings: ServerSettings, clock: Clock, catalog: Catalog
) -> Chain:
    """The chain of one server. What a plug-in needs beside the reader comes in here as an argument."""
    return Chain(
        [
            NamespaceLifecycle(),
            PodSecurity(settings.admission.pod_security),
            ServiceAccount(),
            NodeRestriction(authorizer),
            Priority(),
            DefaultTolerations(),
            RuntimeClass(),
            CertificateRequests(authorizer, clock),
            MutatingPolicies(authorizer, catalog),
            Escalation(authorizer, rules),  # Behind everything that changes an object.
            ValidatingPolicies(authorizer, catalog),
        ]
    )
