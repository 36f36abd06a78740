"""What is wrong with a CertificateSigningRequest, and who may change what of it.

             /approval                      /status
(pending) ─────────────▶ Approved | Denied ─────────▶ certificate, Failed
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import identifiers
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

APPROVAL = ("Approved", "Denied")
LASTING = ("Approved", "Denied", "Failed")
"""Conditions that are True if they are there, and that stay."""
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
LEAST_SECONDS = 600
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
BLOCK = re.compile(rb"-----BEGIN ([^-\n]+)-----\s*\n(.*?)-----END \1-----", re.DOTALL)


def validate_request(obj: Object) -> list[FieldError]:
    """The request itself, which never changes once it is made."""
    spec = obj.get("spec") or {}
    request, usages, seconds = spec.get("request", ""), spec.get("usages") or [], spec.get("expirationSeconds")
    problem = _request_problem(request)
    errors = [fields.invalid("spec.request", request, problem)] if problem else []
    errors += [] if usages else [fields.required("spec.usages")]
    for index, usage in enumerate(usages):
        if usage not in USAGES:
            errors.append(fields.not_supported(f"spec.usages[{index}]", usage, USAGES))
    for index, usage in enumerate(usages):
        errors += [fields.duplicate(f"spec.usages[{index}]", usage)] if usage in usages[:index] else []
    signer = spec.get("signerName", "")
    if signer == LEGACY_SIGNER:
        problem = "the legacy signerName is not allowed via this API version"
        errors.append(fields.invalid("spec.signerName", signer, problem))
    else:
        errors += identifiers.signer_name(signer, "spec.signerName")
    if seconds is not None and seconds < LEAST_SECONDS:
        problem = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(fields.invalid("spec.expirationSeconds", seconds, problem))
    return errors


def validate_state(obj: Object, old: Object, subresource: str) -> list[FieldError]:
    """A change of the status; only ``approval`` may approve or deny, and only ``status`` may issue."""
    status, before = obj.get("status") or {}, old.get("status") or {}
    conditions, earlier = status.get("conditions") or [], before.get("conditions") or []
    errors = _conditions(conditions)
    certificate, issued = status.get("certificate", ""), before.get("certificate", "")
    if certificate != issued and (problem := certificate_problem(certificate)):
        errors.append(fields.invalid("status.certificate", "<certificate data>", problem))
    errors += _lasting(conditions, earlier, may_approve=subresource == "approval")
    if certificate != issued and subresource != "status":
        errors.append(fields.forbidden("status.certificate", "updates may not set certificate content"))
    elif certificate != issued and issued:
        problem = "updates may not modify existing certificate content"
        errors.append(fields.forbidden("status.certificate", problem))
    return errors


def _conditions(conditions: Sequence[Object]) -> list[FieldError]:
    errors = []
    types = [one.get("type", "") for one in conditions]
    for index, condition in enumerate(conditions):
        path = f"status.conditions[{index}]"
        kind, value = types[index], condition.get("status", "")
        allowed = ("True",) if kind in LASTING else ("False", "True", "Unknown")
        errors += [] if kind else [fields.required(f"{path}.type")]
        if not value:
            errors.append(fields.required(f"{path}.status"))
        elif value not in allowed:
            errors.append(fields.not_supported(f"{path}.status", value, allowed))
        if kind in APPROVAL and set(types[:index]) & (set(APPROVAL) - {kind}):
            problem = "Approved and Denied conditions are mutually exclusive"
            errors.append(fields.invalid(f"{path}.type", kind, problem))
        errors += [fields.duplicate(f"{path}.type", kind)] if kind in types[:index] else []
    return errors


def _lasting(conditions: Sequence[Object], earlier: Sequence[Object], *, may_approve: bool) -> list[FieldError]:
    errors = []
    path = "status.conditions"
    for kind in LASTING:
        now, before = ([one for one in some if one.get("type") == kind] for some in (conditions, earlier))
        if len(now) < len(before):
            problem = f"updates may not remove a condition of type {fields.quoted(kind)}"
            errors.append(fields.forbidden(path, problem))
        elif may_approve or kind not in APPROVAL:
            continue
        elif len(now) > len(before):
            errors.append(fields.forbidden(path, f"updates may not add a condition of type {fields.quoted(kind)}"))
        elif now != before:
            problem = f"updates may not modify a condition of type {fields.quoted(kind)}"
            errors.append(fields.forbidden(path, problem))
    return errors


def _request_problem(encoded: str) -> str:
    """Why ``spec.request`` is no PKCS#10 request that its key has signed; "" if it is one."""
    # Only the server, and only for these, needs the library; clients share this package.
    from cryptography import x509

    block = BLOCK.search(b64decode(encoded))
    if block is None or block[1] not in (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"):
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        request = x509.load_pem_x509_csr(block[0].replace(b"NEW CERTIFICATE", b"CERTIFICATE") + b"\n")
        return "" if request.is_signature_valid else "x509: invalid signature"
    # Old or unknown algorithms are refused like broken bytes.
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as problem:
        return f"asn1: structure error: {problem}"


def certificate_problem(encoded: str) -> str:
    """Why ``status.certificate`` is not one or more PEM certificates; "" if it is, or is empty."""
    from cryptography import x509

    if not encoded:
        return ""
    blocks = list(BLOCK.finditer(b64decode(encoded)))
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    for block in blocks:
        if block[1] != b"CERTIFICATE":
            kind = fields.quoted(block[1].decode(errors="replace"))
            return f"only CERTIFICATE PEM blocks are allowed, found {kind}"
        if b":" in block[2]:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block[0] + b"\n")
        except ValueError as problem:
            return f"x509: malformed certificate: {problem}"
    return ""
