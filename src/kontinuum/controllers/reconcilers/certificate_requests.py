"""CertificateSigningRequests: nodes' are approved by what they may do, approved ones are signed, old ones removed.

asked ──a node asks for its own, and may──▶ Approved ──the signer's rules──▶ certificate
  │   └─somebody: kubectl certificate approve ──▲                      └──▶ Failed
  └── a day without a decision, an hour after one, or the certificate has run out ──▶ removed
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from kontinuum.api.kubernetes.bootstrap import INFO, INFO_NAMESPACE, clusters_of
from kontinuum.api.kubernetes.resources import (
    CERTIFICATESIGNINGREQUESTS,
    CONFIGMAPS,
    ENDPOINTSLICES,
    NODES,
    SUBJECTACCESSREVIEWS,
)  # fmt: skip
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.rest import Client
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import hosts
from kontinuum.controllers.lib.certificate_requests import is_open, is_to_be_signed, seconds_to_live, with_condition
from kontinuum.controllers.lib.cidrs import split
from kontinuum.controllers.settings import ControllersSettings

if TYPE_CHECKING:
    from kontinuum.controllers.lib.signers import Asked

LEAST_SECONDS = 600.0
"""No certificate is valid for less, whatever was asked for."""
OWN = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
OTHERS = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
"""What somebody must be allowed to create for a node's request of theirs to be approved, and what is said then."""
SERVING = "Auto approving kubelet serving certificate: names and addresses are the node's alone."
NETWORK = "Auto approving the certificate of a node's network part."
LEFT_TO_PEOPLE = "NotApproved"
"""The event's reason by which people learn that a node waits for them."""
REVIEWED = {"user": "username", "uid": "uid", "groups": "groups", "extra": "extra"}
"""Who asks, as a review and as a request call it."""


class Verdict(NamedTuple):
    """With which words a request is approved, or what speaks against it; without either it is for people to judge."""

    approval: str = ""
    objection: str = ""


class CertificateApproval:
    """Approves what nodes ask for in order to speak to the API and to be spoken to.

    Kubernetes leaves nodes' server certificates to people; ``lib.hosts`` says which ones need nobody's word here.
    """

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.recorder("certificatesigningrequest-approving-controller")
        self._is_asked_for_hosts = bool(context.settings.approve_hosts)
        self._service_networks = split(context.settings.service_cidrs)

    async def reconcile(self, csr: Object) -> Result:
        # Here, because only clusters in which somebody asks for certificates need the library.
        from kontinuum.controllers.lib import signers

        judges = {signers.KUBELET_CLIENT: self._client_certificate}
        if self._is_asked_for_hosts:
            judges |= {signers.KUBELET_SERVING: self._serving_certificate, signers.CLIENT: self._network_certificate}
        signer = csr["spec"].get("signerName", "")
        if signer not in judges or not is_open(csr):
            return DONE
        asked = signers.read(csr)
        if signers.PROBLEMS[signer](asked):
            return DONE
        verdict = await judges[signer](csr["spec"], asked)
        if verdict.approval:
            approved = with_condition(csr, "Approved", "AutoApproved", verdict.approval, self._clock.time())
            await self._client.update(CERTIFICATESIGNINGREQUESTS, approved, subresource="approval")
        elif verdict.objection:
            message = f"{verdict.objection}; if it is to have it: kubectl certificate approve {name_of(csr)}"
            self._events.event(csr, "Warning", LEFT_TO_PEOPLE, message)
        return DONE

    async def _client_certificate(self, spec: Object, asked: Asked) -> Verdict:
        is_own = spec.get("username") == asked.common_name
        for subresource, message in (OWN, OTHERS) if is_own else (OTHERS,):
            if await may_create(self._client, spec, subresource):
                return Verdict(message)
        return Verdict()

    async def _serving_certificate(self, spec: Object, asked: Asked) -> Verdict:
        if not (node := hosts.requesting_node(spec)):
            return Verdict()
        nodes = (await self._client.list(NODES)).items
        known = hosts.reserved(nodes, await self._servers(), self._service_networks, node=node)
        objection = hosts.serving_refusal(asked, node, known)
        return Verdict(objection=objection) if objection else Verdict(SERVING)

    async def _network_certificate(self, spec: Object, asked: Asked) -> Verdict:
        if not hosts.requesting_node(spec):
            return Verdict()
        objection = hosts.network_refusal(asked)
        return Verdict(objection=objection) if objection else Verdict(NETWORK)

    async def _servers(self) -> list[str]:
        """Where API servers are reached: behind the Service ``kubernetes``, and where machines that join find them."""
        found = await self._client.list(
            ENDPOINTSLICES, namespace="default", labels="kubernetes.io/service-name=kubernetes"
        )
        addresses = [one for part in found.items for end in part.get("endpoints") or () for one in end["addresses"]]
        try:
            info = await self._client.get(CONFIGMAPS, INFO, namespace=INFO_NAMESPACE)
        except ApiError as error:
            if not error.is_not_found:
                raise
            return addresses
        return [*addresses, *(urlsplit(server).hostname or "" for server, _ in clusters_of(info))]


async def may_create(client: Client, requester: Object, subresource: str) -> bool:
    """Whether who asks for a certificate may create requests of this sort."""
    attributes = {
        "group": CERTIFICATESIGNINGREQUESTS.group, "version": "*", "resource": CERTIFICATESIGNINGREQUESTS.plural,
        "subresource": subresource, "verb": "create",
    }  # fmt: skip
    who = {key: requester[field] for key, field in REVIEWED.items() if requester.get(field)}
    review = {"metadata": {}, "spec": {**who, "resourceAttributes": attributes}}
    answer = await client.create(SUBJECTACCESSREVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))


class CertificateSigning:
    """Signs what is approved and keeps to its signer's rules."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._longest = context.settings.signing_seconds
        self._certificate = Path(context.settings.signing_certificate)
        self._key = Path(context.settings.signing_key)

    async def reconcile(self, csr: Object) -> Result:
        from kontinuum.controllers.lib import signers
        from kontinuum.foundation.signing import RequestSigner

        spec = csr["spec"]
        judge = signers.PROBLEMS.get(spec.get("signerName", ""))
        if judge is None or not is_to_be_signed(csr):
            return DONE
        asked = signers.read(csr)
        if problem := judge(asked):
            failed = with_condition(csr, "Failed", "SignerValidationFailure", problem, self._clock.time())
            await self._client.update(CERTIFICATESIGNINGREQUESTS, failed, subresource="status")
            return DONE
        wanted = spec.get("expirationSeconds")
        seconds = self._longest if wanted is None else min(max(LEAST_SECONDS, float(wanted)), self._longest)
        signer = RequestSigner(self._certificate, self._key, self._clock)
        certificate = signer.sign(asked.request, signers.marks(spec.get("usages") or ()), seconds)
        signed = {**csr, "status": {**(csr.get("status") or {}), "certificate": b64encode(certificate).decode()}}
        await self._client.update(CERTIFICATESIGNINGREQUESTS, signed, subresource="status")
        return DONE


class CertificateCleaning:
    """Removes what nobody needs any more."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock

    async def reconcile(self, csr: Object) -> Result:
        if seconds := seconds_to_live(csr, self._clock.time()):
            return Result(seconds)
        try:
            await self._client.delete(CERTIFICATESIGNINGREQUESTS, name_of(csr))
        except ApiError as error:
            if not error.is_not_found:
                raise
        return DONE


class _Step(Protocol):
    """What one of them does about a request."""

    def __init__(self, context: Context) -> None: ...

    async def reconcile(self, csr: Object) -> Result: ...


class CertificateRequestsReconciler(KeyReconciler):
    """One of the three at work. Keys are requests' names."""

    def __init__(self, context: Context, *, name: str, step: type[_Step]) -> None:
        self.name = name
        super().__init__(context, CERTIFICATESIGNINGREQUESTS)
        self._step = step(context).reconcile

    async def reconcile(self, key: str) -> Result:
        """Take one request one step further."""
        csr = self._objects.get(key)
        return DONE if csr is None else await self._step(csr)


def certificate_reconcilers(
    settings: ControllersSettings,
) -> dict[str, Callable[[Context], CertificateRequestsReconciler]]:
    """How each is made, by its name; signing only with an authority to sign with."""
    steps: dict[str, type[_Step]] = {
        "certificatesigningrequest-approving-controller": CertificateApproval,
        "certificatesigningrequest-cleaner-controller": CertificateCleaning,
    }
    if settings.signing_certificate and settings.signing_key:
        steps["certificatesigningrequest-signing-controller"] = CertificateSigning
    return {name: partial(CertificateRequestsReconciler, name=name, step=step) for name, step in steps.items()}
