"""CertificateSigningRequests through a server: who asks, who approves, who signs."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.apiserver.serving import Api

from kontinuum.api.kubernetes.resources import CERTIFICATESIGNINGREQUESTS
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.certificate_requests import CertificateRequests
from kontinuum.apiserver.admission.chain import Attributes, kind_of
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import ALLOWED, NO_OPINION, AlwaysAllow, Decision
from kontinuum.apiserver.authz.authorizer import Attributes as Question
from kontinuum.foundation.clock import RealClock

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def request_for(name: str, *groups: str) -> str:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    signed = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes)).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )  # fmt: skip
    return b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def csr(request: str, **spec: Any) -> dict[str, Any]:
    whole = {"request": request, "signerName": "example.com/s", "usages": ["client auth"]}
    return {"metadata": {"name": "c"}, "spec": {**whole, **spec}}


async def test_the_server_writes_who_asks_and_since_when_a_condition_holds(api: Api) -> None:
    created = await api.create(REQUESTS, csr(request_for("u"), username="somebody", groups=["else"]))
    assert created.code == 201
    spec = created.body["spec"]
    assert spec["username"] == "kubernetes-admin" and "system:masters" in spec["groups"]
    approval = {**created.body, "status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    approved = await api.update(f"{REQUESTS}/c/approval", approval)
    (condition,) = approved.body["status"]["conditions"]
    assert approved.code == 200 and condition["lastUpdateTime"] and condition["lastTransitionTime"]
    plain = await api.patch(f"{REQUESTS}/c", {"status": {"conditions": []}, "spec": {"usages": ["any"]}})
    assert plain.body["status"] == approved.body["status"] and plain.body["spec"] == spec


async def test_a_request_without_a_good_signature_is_refused(api: Api) -> None:
    refused = await api.create(REQUESTS, csr("bm8="))
    assert (refused.code, refused.body["details"]["causes"][0]["field"]) == (422, "spec.request")


async def test_nobody_gets_a_certificate_of_an_administrator(api: Api) -> None:
    masters = csr(request_for("u", "system:masters"), signerName="kubernetes.io/kube-apiserver-client")
    refused = await api.create(REQUESTS, masters)
    assert refused.code == 403 and refused.body["message"].endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )


class OnlySigner:
    """Lets everybody do one thing with one signer."""

    def __init__(self, verb: str, name: str) -> None:
        self._allowed = verb, name

    def decide(self, attributes: Question) -> Decision:
        return ALLOWED if (attributes.verb, attributes.name) == self._allowed else NO_OPINION

    rules = AlwaysAllow.rules


async def judged(verb: str, signer: str, subresource: str) -> str:
    """What somebody is told who may ``verb`` for ``signer`` alone, and writes a subresource."""
    old = csr(request_for("u"))
    new = {**old, "status": {"conditions": [{"type": "Approved", "status": "True"}], "certificate": "x"}}
    attributes = Attributes(
        "UPDATE", CERTIFICATESIGNINGREQUESTS, subresource, "", "c", new, old, User("u"),
        kind_of(CERTIFICATESIGNINGREQUESTS),
    )  # fmt: skip
    try:
        await CertificateRequests(OnlySigner(verb, signer), RealClock()).validate(attributes, None)  # type: ignore[arg-type]
    except ApiError as error:
        return error.message
    return ""


async def test_approving_and_signing_need_a_right_for_the_signer() -> None:
    assert await judged("approve", "example.com/s", "approval") == ""
    assert await judged("approve", "example.com/*", "approval") == ""
    assert await judged("sign", "example.com/s", "status") == ""
    refused = await judged("sign", "example.com/s", "approval")
    assert refused.endswith('user not permitted to approve requests with signerName "example.com/s"')
    refused = await judged("sign", "example.org/*", "status")
    assert refused.endswith('user not permitted to sign requests with signerName "example.com/s"')
