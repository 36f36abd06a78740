"""The built-in signers' rules: which requests are whose, and what is wrong with them (``pkg/apis/certificates``).

    kubernetes.io/kube-apiserver-client            anybody's client certificate
    kubernetes.io/kube-apiserver-client-kubelet    a node's, as which its agent speaks to the API
    kubernetes.io/kubelet-serving                  a node's, that its own server shows

``kubernetes.io/legacy-unknown`` can no longer be asked for in this version of the API.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib.hosts import NODE, NODES
from kontinuum.foundation.signing import alternatives_of

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"

USAGES: Mapping[str, str | ObjectIdentifier] = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}
"""What a certificate says, by what the API calls it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    request: x509.CertificateSigningRequest
    common_name: str
    organizations: Sequence[str]
    dns: Sequence[str]
    addresses: Sequence[str]
    emails: Sequence[str]
    uris: Sequence[str]
    usages: frozenset[str]


def read(csr: Object) -> Asked:
    """A CertificateSigningRequest's request; the API server has looked at it."""
    request = x509.load_pem_x509_csr(b64decode(csr["spec"]["request"]))
    names = alternatives_of(request)

    def named(oid: ObjectIdentifier) -> list[str]:
        return [str(one.value) for one in request.subject.get_attributes_for_oid(oid)]

    def alternative(kind: type[x509.GeneralName]) -> list[str]:
        return [str(one.value) for one in names or () if isinstance(one, kind)]

    return Asked(
        request=request,
        # Of several, Go's parser keeps the last one.
        common_name=next(reversed(named(NameOID.COMMON_NAME)), ""),
        organizations=named(NameOID.ORGANIZATION_NAME),
        dns=alternative(x509.DNSName),
        addresses=alternative(x509.IPAddress),
        emails=alternative(x509.RFC822Name),
        uris=alternative(x509.UniformResourceIdentifier),
        usages=frozenset(csr["spec"].get("usages") or ()),
    )


def marks(usages: Iterable[str]) -> list[str | ObjectIdentifier]:
    """What the certificate says of ``usages``, each once."""
    return list(dict.fromkeys(USAGES[usage] for usage in usages))


def client_problem(asked: Asked) -> str:
    for usage in sorted(asked.usages - {"digital signature", "key encipherment", "client auth"}):
        return f"usage {usage} is not allowed for a client certificate"
    return "" if "client auth" in asked.usages else "client auth is required for a client certificate"


def kubelet_client_problem(asked: Asked) -> str:
    if list(asked.organizations) != [NODES]:
        return f"subject organization is not {NODES}"
    for kind, found in (("DNS", asked.dns), ("email", asked.emails), ("IP", asked.addresses), ("URI", asked.uris)):
        if found:
            return f"{kind} subjectAltNames are not allowed"
    if not asked.common_name.startswith(NODE):
        return f'subject common name does not begin with "{NODE}"'
    return _usages_problem(asked, "client auth")


def kubelet_serving_problem(asked: Asked) -> str:
    if list(asked.organizations) != [NODES]:
        return f"subject organization is not {NODES}"
    if not asked.dns and not asked.addresses:
        return "at least one DNS or IP subjectAltName is required"
    for kind, found in (("email", asked.emails), ("URI", asked.uris)):
        if found:
            return f"{kind} subjectAltNames are not allowed"
    if not asked.common_name.startswith(NODE):
        return f'subject common name does not begin with "{NODE}"'
    return _usages_problem(asked, "server auth")


def _usages_problem(asked: Asked, purpose: str) -> str:
    """Keys that are not RSA's cannot encipher keys, so that usage may be left out."""
    needed = {"digital signature", purpose}
    if asked.usages in (needed, needed | {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(sorted(needed))}]"


PROBLEMS: Mapping[str, Callable[[Asked], str]] = {
    CLIENT: client_problem,
    KUBELET_CLIENT: kubelet_client_problem,
    KUBELET_SERVING: kubelet_serving_problem,
}
"""What a signer objects to a request, "" if nothing, by the signer's name."""
