"""CertificateSigningRequests: who asks is written by the server; approving and signing need a right for the signer.

Kubernetes' plug-ins CertificateApproval, CertificateSigning and CertificateSubjectRestriction, and what its strategy
takes from the request's user.
"""

from __future__ import annotations

from base64 import b64decode

from kontinuum.api.kubernetes.kinds.certificates import stamp_conditions
from kontinuum.api.kubernetes.resources import CERTIFICATESIGNINGREQUESTS
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import MASTERS, Authorizer
from kontinuum.apiserver.authz.authorizer import Attributes as Question
from kontinuum.foundation.clock import Clock, rfc3339

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
RIGHTS = {"approval": "approve", "status": "sign"}


class CertificateRequests(Base):
    """See the module. Behind every plug-in that could change who seems to ask."""

    concerns = frozenset({CERTIFICATESIGNINGREQUESTS})

    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        request = attributes.obj
        if attributes.resource != CERTIFICATESIGNINGREQUESTS or request is None:
            return
        if attributes.operation == "CREATE" and not attributes.subresource:
            spec = request.get("spec") or {}
            request["spec"] = {field: value for field, value in spec.items() if field not in REQUESTER}
            request["spec"] |= requester(attributes.user)
        elif attributes.subresource:
            earlier = ((attributes.old or {}).get("status") or {}).get("conditions") or []
            conditions = (request.get("status") or {}).get("conditions") or []
            stamp_conditions(conditions, earlier, rfc3339(self._clock.time()))

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        request = attributes.obj
        if attributes.resource != CERTIFICATESIGNINGREQUESTS or request is None:
            return
        signer = (request.get("spec") or {}).get("signerName", "")
        if attributes.operation == "CREATE" and signer == CLIENT_SIGNER and MASTERS in organizations(request):
            raise _refused(attributes, f"use of {signer} signer with {MASTERS} group is not allowed")
        right = RIGHTS.get(attributes.subresource)
        if right is None or not _is_touched(attributes.subresource, request, attributes.old or {}):
            return
        if not self._may(attributes.user, right, signer):
            raise _refused(attributes, f'user not permitted to {right} requests with signerName "{signer}"')

    def _may(self, user: User, right: str, signer: str) -> bool:
        """For this signer, or for all of its domain."""
        domain = signer.partition("/")[0]
        return any(
            self._authorizer.decide(
                Question(user, right, group=CERTIFICATESIGNINGREQUESTS.group, resource="signers", name=name)
            ).allowed
            for name in (signer, f"{domain}/*")
        )


REQUESTER = ("username", "uid", "groups", "extra")


def requester(user: User) -> Object:
    """What a request's spec says of who asks."""
    found: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        found["uid"] = user.uid
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


def organizations(request: Object) -> list[str]:
    """The groups that the certificate would put its holder in. The request has been found to be well-formed."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parsed = x509.load_pem_x509_csr(b64decode(request["spec"]["request"]))
    return [str(one.value) for one in parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _is_touched(subresource: str, request: Object, old: Object) -> bool:
    """A status in which nothing changes that a signer decides needs no right to sign."""
    now, before = request.get("status") or {}, old.get("status") or {}
    return subresource == "approval" or any(
        now.get(field) != before.get(field) for field in ("certificate", "conditions")
    )


def _refused(attributes: Attributes, problem: str) -> status.ApiError:
    return status.forbidden(attributes.resource, attributes.name, problem)
