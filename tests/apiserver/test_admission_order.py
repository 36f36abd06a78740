"""Plug-ins are called in Kubernetes' order, twice at most, and no write of any kind gets past them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.apiserver.every_kind import SAMPLES, Sample
from tests.apiserver.hooks import EVERYTHING, VALIDATING, configure, deny, hook_server
from tests.apiserver.serving import Answer, Api

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.machinery.status import ApiError, bad_request
from kontinuum.apiserver.admission.chain import Attributes, Base, Chain, Operation, Plugin, Reader, kind_of
from kontinuum.apiserver.admission.plugins import all_plugins
from kontinuum.apiserver.admission.settings import AdmissionSettings
from kontinuum.apiserver.authn.users import authenticated
from kontinuum.apiserver.catalog import Catalog, Served
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.apiserver.strategy import strategy_of
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.clock import RealClock

ADMITTING = [
    "NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "Priority",
    "DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection", "RuntimeClass",
    "DefaultIngressClass", "PodTopologyLabels", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook",
]  # fmt: skip
"""As a real kube-apiserver 1.36 logs what it has loaded ("Loaded 14 mutating admission controller(s)")."""
VALIDATING_THERE = [
    "LimitRanger", "ServiceAccount", "PodSecurity", "Priority", "PersistentVolumeClaimResize", "RuntimeClass",
    "CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest", "CertificateSubjectRestriction",
    "PodResizeValidator", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
]  # fmt: skip
CALLED_THERE = {
    "NamespaceLifecycle": "NamespaceLifecycle",
    "LimitRanger": "LimitRanger",
    "ServiceAccount": "ServiceAccount",
    "NodeRestriction": "NodeRestriction",
    "TaintNodesByCondition": "TaintNodesByCondition",
    "PodSecurity": "PodSecurity",
    "Priority": "Priority",
    "DefaultTolerations": "DefaultTolerationSeconds",
    "PodTolerationRestriction": "PodTolerationRestriction",
    "ClaimResize": "PersistentVolumeClaimResize",
    "StorageObjectInUseProtection": "StorageObjectInUseProtection",
    "RuntimeClass": "RuntimeClass",
    "CertificateRequests": "CertificateApproval",
    "PodTopologyLabels": "PodTopologyLabels",
    "PodResizeValidator": "PodResizeValidator",
    "MutatingPolicies": "MutatingAdmissionPolicy",
    "MutatingWebhooks": "MutatingAdmissionWebhook",
    "ValidatingPolicies": "ValidatingAdmissionPolicy",
    "ValidatingWebhooks": "ValidatingAdmissionWebhook",
}
# Kubernetes does this in its registry, between mutating and validating admission.
NOT_ADMISSION_THERE = {"Escalation", "ParameterAccess", "VolumePhases"}


def catalog() -> Catalog:
    caches = {resource: WatchCache(resource) for resource in KINDS if resource.stored_as is None}
    return Catalog({
        resource: Served(resource, kind, strategy_of(resource), caches[resource.stored_as or resource])
        for resource, kind in KINDS.items()
    })  # fmt: skip


def names_of(plugins: Iterable[Plugin]) -> list[str]:
    # One class, two plug-ins.
    classes = iter(("DefaultStorageClass", "DefaultIngressClass"))
    found = []
    for plugin in plugins:
        name = type(plugin).__name__
        if name not in NOT_ADMISSION_THERE:
            found.append(next(classes) if name == "DefaultClass" else CALLED_THERE[name])
    return found


def chain_of(**chosen: Any) -> Chain:
    nothing: Any = None  # Nothing is decided here.
    settings = ServerSettings(admission=AdmissionSettings(**chosen))
    return all_plugins(nothing, nothing, settings, RealClock(), catalog())


def test_what_changes_objects_stands_in_kubernetes_order() -> None:
    names = names_of(one for one in chain_of().plugins if type(one).admit is not Base.admit)
    # Who may approve is asked earlier here than there, and nothing comes of it but a refusal.
    names.remove("CertificateApproval")
    assert names == ADMITTING


def test_what_judges_objects_stands_in_kubernetes_order() -> None:
    names = names_of(one for one in chain_of().plugins if type(one).validate is not Base.validate)
    here_in_one = {"CertificateSigning", "CertificateSubjectRestriction"}
    # A class's overhead is compared when it is filled in, ClusterTrustBundles are not served, and quota stands around
    # the write, where it can take back what is not stored after all.
    elsewhere = {"RuntimeClass", "ClusterTrustBundleAttest", "ResourceQuota"}
    assert names == [name for name in VALIDATING_THERE if name not in here_in_one | elsewhere]


def test_pods_tolerations_are_restricted_where_kubernetes_does_it() -> None:
    names = names_of(chain_of(pod_toleration_restriction=True).plugins)
    at = names.index("PodTolerationRestriction")
    assert names[at - 1 : at + 2 : 2] == ["DefaultTolerationSeconds", "DefaultStorageClass"]


SUBRESOURCES = [(resource, one) for resource in KINDS for one in resource.subresources]
OPERATIONS: tuple[Operation, ...] = ("CREATE", "UPDATE", "DELETE", "CONNECT")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_who_does_not_look_at_a_subresource_would_have_nothing_to_do_there(operation: Operation) -> None:
    nothing: Any = None  # Whoever asks for something does something.
    spared = [
        (plugin, resource, subresource)
        for plugin in chain_of().plugins
        for resource, subresource in SUBRESOURCES
        if plugin.below and subresource not in plugin.below
    ]
    assert {type(plugin).__name__ for plugin, *_ in spared} == {
        "LimitRanger", "ServiceAccount", "PodSecurity", "VolumePhases", "PodTopologyLabels", "PodResizeValidator",
    }  # fmt: skip
    for plugin, resource, subresource in spared:
        if plugin.concerns is not None and resource not in plugin.concerns:
            continue
        obj: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"nodeName": "n"}, "target": {"name": "n"}}
        before, old = orjson.dumps(obj), {"metadata": {"name": "x"}}
        user, kind = authenticated("u", ()), kind_of(resource)
        asked = Attributes(operation, resource, subresource, "n", "x", obj, old, user, kind)
        await plugin.admit(asked, nothing)
        await plugin.validate(asked, nothing)
        assert orjson.dumps(obj) == before


@dataclass(frozen=True)
class Behaviour:
    """What one plug-in does in each of its calls."""

    admits: bool
    validates: bool
    changes: bool = False
    """As a webhook does: others have to look again."""
    refuses_admission: bool = False
    refuses: bool = False


@dataclass
class Calls:
    made: list[tuple[str, int]] = field(default_factory=list)


class Admitting(Base):
    def __init__(self, number: int, behaviour: Behaviour, calls: Calls) -> None:
        self._number, self._behaviour, self._calls = number, behaviour, calls

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        self._calls.made.append(("again" if attributes.is_reinvocation else "admit", self._number))
        if self._behaviour.refuses_admission:
            raise bad_request(str(self._number))
        attributes.is_changed_outside |= self._behaviour.changes


class Judging(Base):
    def __init__(self, number: int, behaviour: Behaviour, calls: Calls) -> None:
        self._number, self._behaviour, self._calls = number, behaviour, calls

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        self._calls.made.append(("validate", self._number))
        if self._behaviour.refuses:
            raise bad_request(str(self._number))


class Both(Admitting, Judging):
    pass


def plugin_of(number: int, behaviour: Behaviour, calls: Calls) -> Base:
    kinds = {(True, True): Both, (True, False): Admitting, (False, True): Judging}
    kind = kinds.get((behaviour.admits, behaviour.validates))
    return kind(number, behaviour, calls) if kind is not None else Base()


def expected(behaviours: Sequence[Behaviour]) -> list[tuple[str, int]]:
    """What Kubernetes' ``reinvoker`` and ``chainAdmissionHandler`` do, said plainly."""
    made: list[tuple[str, int]] = []
    is_changed = False
    for turn in ("admit", "again"):
        for number, one in enumerate(behaviours):
            if not one.admits:
                continue
            made.append((turn, number))
            if one.refuses_admission:
                return made
            is_changed |= one.changes
        if not is_changed:
            break
    for number, one in enumerate(behaviours):
        if one.validates:
            made.append(("validate", number))
            if one.refuses:
                return made
    return made


RARELY = st.sampled_from([False, False, False, False, True])
BEHAVIOURS = st.builds(
    Behaviour, admits=st.booleans(), validates=st.booleans(), changes=RARELY, refuses_admission=RARELY, refuses=RARELY
)


@given(behaviours=st.lists(BEHAVIOURS, max_size=8))
@settings(max_examples=300, deadline=None)
async def test_a_chain_calls_what_kubernetes_would_call(behaviours: list[Behaviour]) -> None:
    calls = Calls()
    chain = Chain([plugin_of(number, one, calls) for number, one in enumerate(behaviours)])
    obj: dict[str, Any] = {"metadata": {"name": "x"}}
    asked = Attributes("CREATE", r.PODS, "", "n", "x", obj, None, authenticated("u", ()), kind_of(r.PODS))
    reader: Any = None  # Nobody here looks anything up.
    refused_by = ""
    try:
        await chain.review(asked, reader)
    except ApiError as error:
        refused_by = error.message
    wanted = expected(behaviours)
    assert calls.made == wanted
    assert not refused_by or refused_by == str(wanted[-1][1])


NOBODYS_BUSINESS = "/apis/admissionregistration.k8s.io/"
CLOSED = 'admission webhook "closed.example.com" denied the request: closed'


def collection_of(sample: Sample) -> str:
    """What limits a namespace is put into one of its own."""
    kind = sample.path.rsplit("/", 1)[1]
    return sample.path.replace("NS", "limited" if kind in ("limitranges", "resourcequotas") else "default")


def body_of(sample: Sample) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(orjson.dumps(sample.body).replace(b'"NS"', b'"default"'))
    return {**body, "metadata": {"name": sample.name, "labels": {"turn": "closed"}}}


async def writes_of(api: Api, sample: Sample) -> dict[str, Answer]:
    """Every way to write to the sample's object, which is there."""
    collection = collection_of(sample)
    path = f"{collection}/{sample.name}"
    now = (await api.get(path)).body
    labels = {"metadata": {"labels": {"other": "one"}}}
    added = [{"op": "add", "path": "/metadata/labels/other", "value": "one"}]
    config = {"apiVersion": now["apiVersion"], "kind": now["kind"], **labels}
    changed = {**now, "metadata": {**now["metadata"], "labels": {"turn": "closed", "other": "one"}}}
    found = {
        "create": await api.create(collection, body_of(sample)),
        "update": await api.update(path, changed),
        "merge patch": await api.patch(path, labels),
        "strategic patch": await api.patch(path, labels, "strategic"),
        "json patch": await api.patch(path, added, "json"),
        "apply": await api.patch(f"{path}?fieldManager=test", config, "apply"),
        "delete": await api.delete(path),
        "delete collection": await api.delete(f"{collection}?labelSelector=turn%3Dclosed"),
    }
    if sample.status is not None:
        found["status"] = await api.patch(f"{path}/status", {"status": sample.status})
    return found


async def test_no_write_of_any_kind_gets_past_a_webhook(api: Api, tmp_path: Path) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "limited"}})
    for name, sample in SAMPLES.items():
        made = await api.create(collection_of(sample), body_of(sample))
        # Some kinds are served in several groups and versions, and are one object in all of them.
        assert made.code in (201, 409), (name, made.body)
    async with hook_server(tmp_path) as hooks:
        hooks.at("/closed", deny("closed"))
        await configure(api, VALIDATING, "closed", hooks.webhook("/closed", EVERYTHING))
        for name, sample in SAMPLES.items():
            if sample.path.startswith(NOBODYS_BUSINESS):
                continue
            path = f"{collection_of(sample)}/{sample.name}"
            before = (await api.get(path)).body
            answers = await writes_of(api, sample)
            if name == "namespaces":
                assert answers.pop("delete collection").code == 405
            wrong = {how: one.body for how, one in answers.items() if one.body.get("message") != CLOSED}
            assert not wrong, name
            assert (await api.get(path)).body == before, name
