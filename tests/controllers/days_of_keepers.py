"""Days of the controllers that keep house: who sign, protect, provide and clean. Each says what must never happen.

What must never happen is looked for in everything that the API ever stored, because an end that is right may have been
reached by way of a moment that was not: a certificate that was issued twice, data that had gone while it was used.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.controllers import storage
from tests.controllers.cluster import Cluster
from tests.controllers.days import LOOK_AGAIN_SECONDS, Day, create, pod, settle_until

from kontinuum.api.kubernetes.account_tokens import (
    ACCOUNT_NAME,
    DAY_SECONDS,
    INVALID_SINCE,
    LAST_USED,
    SINCE,
    TRACKING,
    TYPE,
    day_of,
)
from kontinuum.api.kubernetes.resources import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLES,
    CONFIGMAPS,
    EVENTS,
    IPADDRESSES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    RUNTIMECLASSES,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICECIDRS,
    VOLUMEATTRIBUTESCLASSES,
)
from kontinuum.api.machinery.conditions import get_condition, is_true
from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.transport.fake.storage import Entry
from kontinuum.client.transport.port import Request
from kontinuum.controllers.lib import bootstrap
from kontinuum.controllers.lib.certificate_requests import with_condition
from kontinuum.controllers.lib.signers import CLIENT, KUBELET_CLIENT
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

HOUR = 3600.0


def versions(log: Sequence[Entry], resource: Resource) -> Iterable[Object]:
    """Every version that was ever stored."""
    return (entry.new for entry in log if entry.resource is resource and entry.new is not None)


def ends(log: Sequence[Entry], resource: Resource) -> Iterable[tuple[int, Object]]:
    """What was removed, and where in the log."""
    found = enumerate(log)
    return ((at, entry.old) for at, entry in found if entry.resource is resource and not entry.new and entry.old)


def there(log: Sequence[Entry], at: int, resource: Resource) -> list[Object]:
    """Everything of the kind at that moment."""
    now: dict[str, Object | None] = {}
    for entry in log[:at]:
        if entry.resource is resource:
            now[key_of(entry.new or entry.old or {})] = entry.new
    return [one for one in now.values() if one is not None]


# Bootstrap tokens: signer and cleaner.


def token(name: str, now: float, seconds: float | None, **more: str) -> Object:
    data = {"token-id": name, "token-secret": f"{name:0<16}", "usage-bootstrap-signing": "true", **more}
    if seconds is not None:
        data["expiration"] = rfc3339(now + seconds)
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": f"bootstrap-token-{name}", "namespace": "kube-system"}
    return {"metadata": metadata, "type": bootstrap.TYPE, "data": encoded}


async def bootstrap_tokens(cluster: Cluster) -> None:
    now = cluster.clock.time()
    info = {"metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": {"kubeconfig": "one"}}
    await create(cluster, (SECRETS, token("always", now, None)), (CONFIGMAPS, info))
    await create(cluster, (SECRETS, token("minute", now, 60)), (SECRETS, token("longer", now, HOUR)))
    await create(cluster, (SECRETS, token("silent", now, None, **{"usage-bootstrap-signing": "false"})))
    await create(cluster, (SECRETS, {**token("others", now, 30), "type": "Opaque"}))
    await cluster.settle(10)
    await cluster.client.patch(CONFIGMAPS, "cluster-info", {"data": {"kubeconfig": "two"}}, namespace="kube-public")
    await cluster.settle(60)
    await cluster.client.delete(SECRETS, "bootstrap-token-longer", namespace="kube-system")


def no_token_goes_early_or_signs_late(log: Sequence[Entry]) -> None:
    gone = {name_of(one): one for _, one in ends(log, SECRETS)}
    assert gone.keys() == {"bootstrap-token-minute", "bootstrap-token-longer"}, "a token went that was good"
    for at, entry in enumerate(log):
        if entry.resource is not CONFIGMAPS or not entry.new or name_of(entry.new) != "cluster-info":
            continue
        before = (entry.old or {}).get("data") or {}
        added = {key: text for key, text in entry.new["data"].items() if before.get(key) != text}
        tokens = {labels: one for one in there(log, at, SECRETS) if (labels := name_of(one))}
        for key, text in added.items():
            if key == "kubeconfig":
                assert text in ("one", "two"), "what is signed is the user's"
                continue
            name = key.removeprefix(bootstrap.SIGNATURE)
            assert name in ("always", "minute", "longer"), "a token signed that is not for signing, or none"
            # A signer that has not heard yet that one was taken away may sign once more; nobody can use it.
            known = tokens.get(f"bootstrap-token-{name}") or gone[f"bootstrap-token-{name}"]
            signer = bootstrap.signing_token(known, 0)
            assert signer is not None, "a token signed that must not"
            assert text in [bootstrap.signature(one, *signer) for one in ("one", "two")]


# Certificates: approval and signing.

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@cache
def certificate_request(common_name: str, organization: str) -> str:
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def csr(name: str, user: str, *, node: str = "", signer: str = KUBELET_CLIENT) -> Object:
    request = certificate_request(f"system:node:{node}" if node else user, "system:nodes" if node else "people")
    spec = {"signerName": signer, "request": request, "usages": ["digital signature", "client auth"], "username": user}
    return {"metadata": {"name": name}, "spec": spec}


def may(request: Request) -> Object:
    """The reviewer's answer: nodes may renew their own, and the joiner may ask for any node."""
    spec = orjson.loads(request.body)["spec"]
    kind = spec["resourceAttributes"]["subresource"]
    is_allowed = (kind == "selfnodeclient") or (kind == "nodeclient" and spec["user"] == "joiner")
    return {"metadata": {}, "status": {"allowed": is_allowed}}


async def certificates(cluster: Cluster) -> None:
    cluster.nodes.names = ()
    cluster.api.aggregated[REVIEWS] = may
    requests = (
        csr("own", "system:node:a", node="a"),
        csr("joining", "joiner", node="b"),
        csr("strange", "stranger", node="c"),
        csr("person", "anna", signer=CLIENT),
        csr("wrong", "bert", signer=KUBELET_CLIENT),
    )
    await create(cluster, *((CERTIFICATESIGNINGREQUESTS, one) for one in requests))
    await cluster.settle(5)
    for name in ("person", "wrong"):
        asked = await cluster.client.get(CERTIFICATESIGNINGREQUESTS, name)
        decided = with_condition(asked, "Approved", "KubectlApprove", "by hand", cluster.clock.time())
        await cluster.client.update(CERTIFICATESIGNINGREQUESTS, decided, subresource="approval")


def no_certificate_twice_or_unapproved(log: Sequence[Entry]) -> None:
    issued: dict[str, str] = {}
    for one in versions(log, CERTIFICATESIGNINGREQUESTS):
        approved, status = is_true(one, "Approved"), one.get("status") or {}
        assert not (approved and name_of(one) == "strange"), "a stranger may not have a node's certificate"
        if certificate := status.get("certificate"):
            assert approved, "a certificate was issued that nobody approved"
            assert not is_true(one, "Failed"), "a certificate was issued though the request had failed"
            assert issued.setdefault(name_of(one), certificate) == certificate, "a request got two certificates"
        kinds = [condition["type"] for condition in status.get("conditions") or ()]
        assert len(kinds) == len(set(kinds)), "a request was decided twice"
    assert issued.keys() == {"own", "joining", "person"}


# ClusterRoles that are sums.


def role(name: str, *verbs: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]} for verb in verbs]
    return {"metadata": {"name": name, "labels": labels or {}}, "rules": rules, **more}


async def sums_of_roles(cluster: Cluster) -> None:
    view, edit = {"to-view": "true"}, {"to-edit": "true"}
    sum_of_view = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": view}]}}
    sum_of_edit = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": edit}]}}
    await create(
        cluster,
        (CLUSTERROLES, role("view", labels=edit, **sum_of_view)),
        (CLUSTERROLES, role("edit", "escalate", **sum_of_edit)),
        (CLUSTERROLES, role("reads", "get", labels=view)),
        (CLUSTERROLES, role("writes", "update", labels=edit)),
        (CLUSTERROLES, role("secret", "impersonate")),
    )
    await cluster.settle(5)
    await create(cluster, (CLUSTERROLES, role("lists", "list", labels=view)))
    await cluster.client.delete(CLUSTERROLES, "writes")
    await cluster.settle(5)
    await cluster.client.patch(CLUSTERROLES, "reads", {"rules": role("reads", "watch")["rules"]})


def no_role_gives_more_than_its_parts(log: Sequence[Entry]) -> None:
    """``view`` may be of ``reads`` and ``lists``, ``edit`` of those and ``writes``; what its author wrote was his."""
    allowed = {"view": {"get", "list", "watch"}, "edit": {"get", "list", "watch", "update", "escalate"}}
    for one in versions(log, CLUSTERROLES):
        given = {verb for rule in one["rules"] or () for verb in rule["verbs"]}
        assert given <= allowed.get(name_of(one), given), f"{name_of(one)} gives {given}"
        assert not ({"escalate", "update"} <= given), "what the sum's author wrote by hand stays beside its parts"


# Ephemeral volumes' claims.


def scratch(name: str, *volumes: str) -> Object:
    template = {"metadata": {"labels": {"kept": "yes"}}, "spec": storage.claim("x")["spec"]}
    made = [{"name": one, "ephemeral": {"volumeClaimTemplate": template}} for one in volumes]
    return pod(name, volumes=made)


async def ephemeral_volumes(cluster: Cluster) -> None:
    await storage.create(cluster, storage.claim("taken-a"))
    await create(cluster, *((PODS, scratch(name, "a", "b")) for name in ("first", "taken", "gone")))
    await settle_until(cluster, PERSISTENTVOLUMECLAIMS, "first-b", lambda one: True)
    await cluster.client.delete(PODS, "gone", namespace="default")
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "first-b", namespace="default")
    await cluster.settle(60)
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "taken-a", namespace="default")


def no_claim_of_somebody_else_is_taken(log: Sequence[Entry]) -> None:
    users = [one for one in versions(log, PERSISTENTVOLUMECLAIMS) if not one["metadata"].get("ownerReferences")]
    assert {name_of(one) for one in users} == {"taken-a"} and len({uid_of(one) for one in users}) == 1
    pods = {uid_of(one): name_of(one) for one in versions(log, PODS)}
    owners: dict[str, str] = {}
    for one in versions(log, PERSISTENTVOLUMECLAIMS):
        for reference in one["metadata"].get("ownerReferences") or ():
            assert pods[reference["uid"]] == reference["name"], "a claim belongs to another pod than it says"
            assert owners.setdefault(uid_of(one), reference["uid"]) == reference["uid"], "a claim changed hands"


# The classes of isolation.


async def isolation_classes(cluster: Cluster) -> None:
    await cluster.settle(5)
    mine = {"overhead": {"podFixed": {"memory": "1Gi"}}}
    await cluster.client.patch(RUNTIMECLASSES, "microvm", mine)
    await cluster.client.delete(RUNTIMECLASSES, "container")


def no_class_is_changed(log: Sequence[Entry]) -> None:
    changes = [entry for entry in log if entry.resource is RUNTIMECLASSES and entry.new and entry.old]
    assert [name_of(one.new or {}) for one in changes] == ["microvm"], "only the administrator changes a class"


# Claims that grow.


async def growing_claims(cluster: Cluster) -> None:
    for name in ("grows", "stays", "foreign"):
        reference = {"namespace": "default", "name": name, "uid": "another's" if name == "foreign" else ""}
        claim = storage.claim(name, volumeName=f"v-{name}")
        made = await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim)
        reference["uid"] = reference["uid"] or uid_of(made)
        await create(cluster, (PERSISTENTVOLUMES, storage.volume(f"v-{name}", claimRef=reference)))
        given = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, name, given, namespace="default", subresource="status")
    for name in ("grows", "foreign"):
        more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, name, more, namespace="default")


def nothing_grows_by_itself(log: Sequence[Entry]) -> None:
    """Only a volume's driver knows whether it grew; and of what is not the claim's nothing is promised."""
    told = {one["involvedObject"]["name"] for one in versions(log, EVENTS)}
    assert told <= {"grows"}, f"told of {told}"
    assert all(one["spec"]["capacity"] == {"storage": "1Gi"} for one in versions(log, PERSISTENTVOLUMES))
    sizes = [(one.get("status") or {}).get("capacity") for one in versions(log, PERSISTENTVOLUMECLAIMS)]
    assert all(size in (None, {"storage": "1Gi"}) for size in sizes)


# Storage that is used.


def held(made: Object, finalizer: str) -> Object:
    return {**made, "metadata": {**made["metadata"], "finalizers": [f"kubernetes.io/{finalizer}"]}}


async def used_volumes(cluster: Cluster) -> None:
    for name, phase in (("bound", "Bound"), ("free", "Available"), ("wanted", "Bound")):
        await create(cluster, (PERSISTENTVOLUMES, held(storage.volume(name), "pv-protection")))
        await cluster.client.patch(PERSISTENTVOLUMES, name, {"status": {"phase": phase}}, subresource="status")
    await create(cluster, (VOLUMEATTRIBUTESCLASSES, held({"metadata": {"name": "gold"}}, "vac-protection")))
    await create(cluster, (VOLUMEATTRIBUTESCLASSES, held({"metadata": {"name": "tin"}}, "vac-protection")))
    await create(cluster, (PERSISTENTVOLUMECLAIMS, storage.claim("user", volumeAttributesClassName="gold")))
    await cluster.settle(5)
    for name in ("bound", "free", "wanted"):
        await cluster.client.delete(PERSISTENTVOLUMES, name)
    for name in ("gold", "tin"):
        await cluster.client.delete(VOLUMEATTRIBUTESCLASSES, name)
    await cluster.settle(20)
    await cluster.client.patch(PERSISTENTVOLUMES, "bound", {"status": {"phase": "Released"}}, subresource="status")
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "user", namespace="default")


def nothing_used_goes(log: Sequence[Entry]) -> None:
    for _, gone in ends(log, PERSISTENTVOLUMES):
        assert gone["status"]["phase"] != "Bound", "a volume went that was bound"
    for at, gone in ends(log, VOLUMEATTRIBUTESCLASSES):
        claims = there(log, at, PERSISTENTVOLUMECLAIMS)
        assert all(one["spec"].get("volumeAttributesClassName") != name_of(gone) for one in claims)
    removed = {name_of(one) for kind in (PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES) for _, one in ends(log, kind)}
    assert removed == {"bound", "free", "gold", "tin"}


# Ranges of addresses.


def address(name: str) -> Object:
    return {"metadata": {"name": name, "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}}}


async def service_ranges(cluster: Cluster) -> None:
    for name, network in (("main", "10.0.0.0/16"), ("more", "10.1.0.0/16"), ("spare", "10.2.0.0/16")):
        await create(cluster, (SERVICECIDRS, {"metadata": {"name": name}, "spec": {"cidrs": [network]}}))
    await create(cluster, *((IPADDRESSES, address(ip)) for ip in ("10.0.0.7", "10.1.0.7")))
    await cluster.settle(5)
    for name in ("more", "spare"):
        await cluster.client.delete(SERVICECIDRS, name)
    await cluster.settle(30)
    await cluster.client.delete(IPADDRESSES, "10.1.0.7")


def no_range_goes_before_its_addresses(log: Sequence[Entry]) -> None:
    networks = {"more": "10.1.", "spare": "10.2."}
    removed = [(at, name_of(one)) for at, one in ends(log, SERVICECIDRS)]
    assert sorted(name for _, name in removed) == sorted(networks)
    for at, name in removed:
        assert not [one for one in there(log, at, IPADDRESSES) if name_of(one).startswith(networks[name])]


# Disruptions that did not come.


async def stale_disruptions(cluster: Cluster) -> None:
    for name, reason in (("stale", "PreemptionByScheduler"), ("slow", "TerminationByKubelet")):
        await create(cluster, (PODS, pod(name)))
        await cluster.settle(5)
        found = await cluster.client.get(PODS, name, namespace="default")
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        condition["lastTransitionTime"] = rfc3339(cluster.clock.time())
        conditions = [*found["status"]["conditions"], condition]
        status = {"status": {"conditions": conditions}}
        await cluster.client.patch(PODS, name, status, namespace="default", subresource="status")


def no_disruption_is_taken_back_early(log: Sequence[Entry]) -> None:
    since: dict[str, str] = {}
    for one in versions(log, PODS):
        found = get_condition(one, "DisruptionTarget")
        if found is not None and found["status"] == "True":
            since.setdefault(name_of(one), found["lastTransitionTime"])
        elif found is not None:
            assert name_of(one) == "stale", "a node may take its time"
            assert parse_rfc3339(found["lastTransitionTime"]) - parse_rfc3339(since["stale"]) >= 120
        elif name_of(one) in since:
            raise AssertionError("the condition was lost")


# Tokens that nobody uses.


async def unused_tokens(cluster: Cluster) -> None:
    """A token is superfluous after a day here; who is in use in any way stays."""
    cluster.nodes.names = ()
    since = {"metadata": {"name": TRACKING, "namespace": "kube-system"}, "data": {SINCE: day_of(cluster.clock.time())}}
    names = ("idle", "used", "mounted", "asked-for", "saved")
    secrets = [{"name": one} for one in names if one != "asked-for"]
    account = {"metadata": {"name": "a", "namespace": "default"}, "secrets": secrets}
    await create(cluster, (CONFIGMAPS, since), (SERVICEACCOUNTS, account))
    for name in names:
        metadata = {"name": name, "namespace": "default", "annotations": {ACCOUNT_NAME: "a"}}
        await create(cluster, (SECRETS, {"metadata": metadata, "type": TYPE}))
    await create(cluster, (PODS, pod("p", volumes=[{"name": "v", "secret": {"secretName": "mounted"}}])))
    for _ in range(5):
        cluster.clock.jump(DAY_SECONDS)
        await cluster.settle(LOOK_AGAIN_SECONDS)
        used = {"metadata": {"labels": {LAST_USED: day_of(cluster.clock.time())}}}
        await cluster.client.patch(SECRETS, "used", used, namespace="default")
        found = cluster.api.storage.get(SECRETS, "default/saved")
        if found is not None and INVALID_SINCE in labels_of(found):
            await cluster.client.patch(SECRETS, "saved", used, namespace="default")


def no_token_in_use_goes(log: Sequence[Entry]) -> None:
    marked = {name_of(one) for one in versions(log, SECRETS) if INVALID_SINCE in labels_of(one)}
    assert marked == {"idle", "saved"}
    [(_, gone)] = ends(log, SECRETS)
    assert name_of(gone) == "idle" and INVALID_SINCE in labels_of(gone), "one went that had not been refused before"


KEEPERS = {
    "unused tokens": Day(
        ("legacy-serviceaccount-token-cleaner",), unused_tokens, 30, least_writes=3, never=no_token_in_use_goes
    ),
    "bootstrap tokens": Day(
        ("bootstrap-signer", "token-cleaner"), bootstrap_tokens, 30, least_writes=5,
        never=no_token_goes_early_or_signs_late,
    ),
    "certificates": Day(
        ("certificatesigningrequest-approving", "certificatesigningrequest-signing"), certificates, 60, least_writes=6,
        never=no_certificate_twice_or_unapproved,
    ),
    "sums of roles": Day(
        ("clusterrole-aggregation",), sums_of_roles, 30, least_writes=6, never=no_role_gives_more_than_its_parts
    ),
    "ephemeral volumes": Day(
        ("ephemeral-volume", "garbage-collector"), ephemeral_volumes, 120, least_writes=8,
        never=no_claim_of_somebody_else_is_taken,
    ),
    "isolation classes": Day(("isolation-classes",), isolation_classes, 30, least_writes=3, never=no_class_is_changed),
    "growing claims": Day(
        ("persistentvolume-expander",), growing_claims, 30, tells=True, never=nothing_grows_by_itself
    ),
    "used volumes": Day(
        ("persistentvolume-protection", "volumeattributesclass-protection"), used_volumes, 60, least_writes=4,
        never=nothing_used_goes,
    ),
    "service ranges": Day(
        ("service-cidr",), service_ranges, 60, least_writes=8, never=no_range_goes_before_its_addresses
    ),
    "stale disruptions": Day(
        ("stale-disruption",), stale_disruptions, 200, never=no_disruption_is_taken_back_early
    ),
}  # fmt: skip
