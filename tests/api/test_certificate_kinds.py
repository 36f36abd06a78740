"""certificates.k8s.io: what a request must be, and who may change what of its status."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.kinds.certificates import stamp_conditions
from kontinuum.api.machinery.patches import copy

CSR = r.CERTIFICATESIGNINGREQUESTS
PEM = serialization.Encoding.PEM
APPROVED = {"type": "Approved", "status": "True", "reason": "r"}
DENIED = {"type": "Denied", "status": "True"}


def _request() -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "u")])
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return b64encode(signed.public_bytes(PEM)).decode()


REQUEST = _request()


def csr(**spec: Any) -> dict[str, Any]:
    whole = {"request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"]}
    return {"spec": {**whole, **spec}}


def written(subresource: str, status: dict[str, Any], before: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a write of ``status`` through a subresource stores, and what is wrong with it."""
    old = {**made(CSR, csr()), "status": before}
    new = {**copy(old), "status": copy(status)}
    KINDS[CSR].prepare_subresource(subresource, new, old)
    return new["status"], [str(one) for one in KINDS[CSR].validate_subresource(subresource, new, old)]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (csr(usages=[]), "spec.usages: Required value"),
        (csr(usages=["any", "any"]), 'spec.usages[1]: Duplicate value: "any"'),
        (csr(expirationSeconds=60), "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than "
         "600 seconds (10 minutes)"),
        (csr(signerName="kubernetes.io/legacy-unknown"), 'spec.signerName: Invalid value: '
         '"kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'),
        (csr(signerName="a"), 'spec.signerName: Invalid value: "a": must be a fully qualified domain and path of the '
         "form 'example.com/signer-name'"),
        (csr(signerName="local/a"), 'spec.signerName: Invalid value: "local": should be a domain with at least two '
         "segments separated by dots"),
        (csr(request="bm8="), 'spec.request: Invalid value: "bm8=": PEM block type must be CERTIFICATE REQUEST'),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(CSR, csr()) == []
    assert problems(CSR, obj) == [expected]


def test_unknown_usages_and_broken_requests_are_refused() -> None:
    assert problems(CSR, csr(usages=["fun"]))[0].startswith('spec.usages[0]: Unsupported value: "fun": supported')
    broken = b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n").decode()
    assert "asn1: structure error" in problems(CSR, csr(request=broken))[0]


def test_a_request_once_made_stays() -> None:
    new, errors = changed(CSR, csr(usages=["server auth"]), csr())
    assert (new["spec"]["usages"], errors) == (["client auth"], [])


def test_a_new_request_is_not_approved() -> None:
    assert made(CSR, {**csr(), "status": {"conditions": [APPROVED]}})["status"] == {}


def test_only_approval_approves() -> None:
    assert written("approval", {"conditions": [APPROVED]}, {}) == ({"conditions": [APPROVED]}, [])
    _, errors = written("status", {"conditions": [APPROVED]}, {})
    assert errors == ['status.conditions: Forbidden: updates may not add a condition of type "Approved"']


def test_an_approval_stays_and_excludes_a_denial() -> None:
    _, errors = written("approval", {"conditions": []}, {"conditions": [APPROVED]})
    assert errors == ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']
    _, errors = written("approval", {"conditions": [APPROVED, DENIED]}, {"conditions": [APPROVED]})
    assert errors == [
        'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]
    _, errors = written("approval", {"conditions": [{**APPROVED, "status": "False"}]}, {})
    assert errors == ['status.conditions[0].status: Unsupported value: "False": supported values: "True"']


def test_only_status_issues_and_only_once() -> None:
    status, errors = written("approval", {"certificate": "bm8=", "conditions": [APPROVED]}, {})
    assert (status, errors) == ({"conditions": [APPROVED]}, [])
    _, errors = written("status", {"certificate": "bm8="}, {})
    assert errors == [
        'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'
    ]
    request = written("status", {"certificate": REQUEST}, {})[1]
    assert request[0].endswith('only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"')
    _, errors = written("status", {"certificate": ""}, {"certificate": "aXNzdWVk"})
    assert errors == ["status.certificate: Forbidden: updates may not modify existing certificate content"]


def test_a_signer_leaves_the_approval_as_it_was() -> None:
    status, errors = written("status", {"conditions": [{**APPROVED, "reason": "other"}]}, {"conditions": [APPROVED]})
    assert (status, errors) == ({"conditions": [APPROVED]}, [])


def test_conditions_say_since_when() -> None:
    earlier = [{"type": "A", "status": "True", "lastTransitionTime": "then"}]
    conditions = [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]
    stamp_conditions(conditions, earlier, "now")
    assert [(one["lastUpdateTime"], one["lastTransitionTime"]) for one in conditions] == [
        ("now", "then"),
        ("now", "now"),
    ]


def test_the_table_tells_how_far_it_has_come() -> None:
    shown = row(CSR, csr(expirationSeconds=3600, username="u"), conditions=[APPROVED], certificate="bm8=")
    assert (shown["RequestedDuration"], shown["Requestor"], shown["Condition"]) == ("60m", "u", "Approved,Issued")
    assert row(CSR, csr())["Condition"] == "Pending"
