"""Is a service account's token (still) good? Signature and times once; the objects behind it at every request.

A token ends with its service account, and with the pod, Secret or node that it is bound to: when they are gone, or
others by the same name have taken their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.kubernetes.account_tokens import day_of
from kontinuum.api.kubernetes.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authn.objects import Objects
from kontinuum.apiserver.authn.port import Audiences, BadCredential, Remarks, TokenUser, both
from kontinuum.apiserver.authn.serviceaccounts import claims as of
from kontinuum.apiserver.authn.serviceaccounts.secret_tokens import INVALIDATED, SecretTokens
from kontinuum.apiserver.authn.users import User
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock, parse_rfc3339

REMEMBERED = 16_384
"""Tokens whose signature has been verified are remembered, because that is what costs."""
LEEWAY_SECONDS = 60.0
"""A token of an object that is being deleted stays good for so long: its owner has goodbyes to say."""


@dataclass(slots=True)
class Seen:
    """A token whose signature is good. ``revisions`` are those of its objects when they were last found in order.

    ``remarks`` is what there is to say of one that stands in a Secret; its use is noted on each ``day``.
    """

    identity: of.Identity
    user: User
    revisions: tuple[int, ...] = ()
    remarks: Remarks | None = None
    day: str = ""


@dataclass(frozen=True, slots=True)
class _Bond:
    """An object that must be there."""

    resource: Resource
    namespace: str
    reference: of.Reference
    uid_matters: bool = True


class ServiceAccountTokens:
    """``issuers``: the first one signs new tokens, the others are still accepted; ``audiences`` are the server's."""

    def __init__(
        self,
        objects: Objects,
        clock: Clock,
        *,
        keys: Sequence[jwt.VerifyingKey],
        issuers: Sequence[str],
        audiences: Audiences,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._keys = keys
        self._issuers = frozenset([*issuers, of.LEGACY_ISSUER])
        self._audiences = audiences
        self._seen: dict[str, Seen] = {}
        self.in_secrets = SecretTokens(objects, clock)

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        seen = self._seen.get(token) or self._verify(token)
        if seen is None:
            return None
        identity = seen.identity
        now = self._clock.time()
        if now >= identity.expires:
            raise BadCredential("service account token has expired")
        if now + LEEWAY_SECONDS < identity.not_before:
            raise BadCredential("service account token is not valid yet")
        # The older tokens say nothing of audiences: they are meant for this server.
        meant = identity.audiences or self._audiences
        agreed = both(audiences, meant)
        if not agreed:
            wanted, has = (" ".join(f'"{one}"' for one in some) for some in (audiences, meant))
            raise BadCredential(f"token audiences [{has}] is invalid for the target audiences [{wanted}]")
        await self._check_bonds(seen, token)
        if seen.remarks is not None:
            self.in_secrets.count(seen.remarks)
        return TokenUser(seen.user, agreed, seen.remarks)

    def _verify(self, token: str) -> Seen | None:
        try:
            _, claims = jwt.unverified(token)
        except jwt.BadToken:
            return None
        if claims.get("iss") not in self._issuers:
            return None
        try:
            identity = of.read(jwt.verify(token, self._keys))
        except jwt.BadToken as error:
            raise BadCredential(str(error)) from error
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        seen = self._seen[token] = Seen(identity, of.user_of(identity))
        return seen

    async def _check_bonds(self, seen: Seen, token: str) -> None:
        bonds = _bonds(seen.identity)
        revisions = tuple(
            self._objects.revision_of(bond.resource, bond.namespace, bond.reference.name) for bond in bonds
        )
        day = day_of(self._clock.time()) if seen.identity.is_legacy else ""
        if revisions == seen.revisions and 0 not in revisions and day == seen.day:
            return
        seen.revisions = ()
        ending = False
        for bond in bonds:
            ending |= await self._check_bond(bond)
        if seen.identity.is_legacy:
            seen.remarks = await self.in_secrets.check(seen.identity, token)
            seen.day = day
        if not ending:
            seen.revisions = revisions

    async def _check_bond(self, bond: _Bond) -> bool:
        """Whether the object is about to end. Raises BadCredential if it is gone or another."""
        found = await self._objects.identify(bond.resource, bond.namespace, bond.reference.name)
        if found is None or (bond.uid_matters and found.uid != bond.reference.uid):
            raise BadCredential(INVALIDATED)
        if not found.deletion:
            return False
        if parse_rfc3339(found.deletion) < self._clock.time() - LEEWAY_SECONDS:
            raise BadCredential(INVALIDATED)
        return True


def _bonds(identity: of.Identity) -> list[_Bond]:
    namespace = identity.namespace
    found = [_Bond(SERVICEACCOUNTS, namespace, identity.account)]
    if identity.secret is not None:
        found.append(_Bond(SECRETS, namespace, identity.secret, uid_matters=not identity.is_legacy))
    if identity.pod is not None:
        found.append(_Bond(PODS, namespace, identity.pod))
    elif identity.node is not None:
        # A pod's token only reports its node; one that is bound to the node itself ends with it.
        found.append(_Bond(NODES, "", identity.node))
    return found
