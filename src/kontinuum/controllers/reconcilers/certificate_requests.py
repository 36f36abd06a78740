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
from typing import Protocol

from kontinuum.api.kubernetes.resources import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.rest import Client
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.certificate_requests import is_open, is_to_be_signed, seconds_to_live, with_condition
from kontinuum.controllers.settings import ControllersSettings

LEAST_SECONDS = 600.0
"""No certificate is valid for less, whatever was asked for."""
OWN = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
OTHERS = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
"""What somebody must be allowed to create for a node's request of theirs to be approved, and what is said then."""
REVIEWED = {"user": "username", "uid": "uid", "groups": "groups", "extra": "extra"}
"""Who asks, as a review and as a request call it."""


class CertificateApproval:
    """Approves what nodes ask for in order to speak to the API."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock

    async def reconcile(self, csr: Object) -> Result:
        # Here, because only clusters in which somebody asks for certificates need the library.
        from kontinuum.controllers.lib import signers

        if csr["spec"].get("signerName") != signers.KUBELET_CLIENT or not is_open(csr):
            return DONE
        asked = signers.read(csr)
        if signers.kubelet_client_problem(asked):
            return DONE
        is_own = csr["spec"].get("username") == asked.common_name
        for subresource, message in (OWN, OTHERS) if is_own else (OTHERS,):
            if await may_create(self._client, csr["spec"], subresource):
                approved = with_condition(csr, "Approved", "AutoApproved", message, self._clock.time())
                await self._client.update(CERTIFICATESIGNINGREQUESTS, approved, subresource="approval")
                return DONE
        return DONE


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
