"""A machine joins another's cluster, and stays a member: what ``node.joining`` can do, in the order that it needs."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.machinery.status import ApiError
from kontinuum.cli import membership
from kontinuum.cli.installation import Installation
from kontinuum.cli.preparation import kubeconfig_of, make_directories
from kontinuum.cli.settings import Settings, source_address
from kontinuum.client.connect import connect
from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.files import make_directory, write_atomic, write_if_changed
from kontinuum.node.joining import certificates, discovery
from kontinuum.node.joining import membership as joining
from kontinuum.node.settings import NodeSettings

USER_AGENT = "kontinuum-join"


class NotLetIn(Refused):
    """The API server does not take the token."""


async def join(settings: Settings, token: str, hashes: Sequence[str], clock: Clock) -> None:
    """Make this machine a member of the cluster of the API server ``settings.member_of``; it runs nothing yet.

    May be repeated. Raises Unreachable, TokenUnknown, NotBelieved, NotLetIn, NameTaken, NotIssued, NotApproved,
    NoNetwork, ApiError, OSError.
    """
    paths, node, server = settings.installation, settings.node, settings.member_of
    before = membership.read(paths)
    if not source_address(server):
        raise Unreachable(f"there is no route to {server}")
    authorities = await discovery.discover(server, token, hashes, clock)
    make_directories(paths)
    make_directory(paths.pki, mode=0o700)
    write_atomic(paths.pki / "ca.crt", authorities)
    first, *others = certificates.kinds(node.name, [node.name, node.address])
    bearer = connect(discovery.as_bearer(server, authorities, token), user_agent=USER_AGENT)
    try:
        if before.get("member_of") != server:
            await joining.check_name(bearer, node.name)
        await certificates.ensure(bearer, clock, paths.pki, [first])
    except ApiError as error:
        if error.code in (401, 403):
            raise NotLetIn(f"{server} does not take the token: {error}; {discovery.NEW_TOKEN}") from error
        raise
    finally:
        await bearer.close()
    member = _member(paths, server)
    try:
        await certificates.ensure(member, clock, paths.pki, others)
        told = await joining.shared_settings(member)
        wanted = () if node.pod_cidr == NodeSettings().pod_cidr else node.pod_networks
        given = await joining.networks(member, clock, node.name, wanted)
    finally:
        await member.close()
    membership.write(paths, server, {**told, "name": node.name, "pod_cidr": given})


async def prepare_member(settings: Settings, clock: Clock) -> float:
    """What must stand before a member's parts start; renews what is about to expire. Returns seconds until the next.

    Raises MembershipOver, OSError.
    """
    paths, node = settings.installation, settings.node
    make_directories(paths)
    credentials = {"client-certificate": str(paths.pki / "node.crt"), "client-key": str(paths.pki / "node.key")}
    document = kubeconfig_of(settings.member_of, paths.pki / "ca.crt", f"system:node:{node.name}", credentials)
    write_if_changed(paths.kubeconfig, document, mode=0o600)
    kinds = certificates.kinds(node.name, [node.name, node.address])
    member = _member(paths, settings.member_of)
    try:
        return await certificates.keep(member, clock, paths.pki, kinds)
    finally:
        await member.close()


def _member(paths: Installation, server: str) -> Client:
    return connect(
        Connection(
            server=server,
            certificate_authority=paths.pki / "ca.crt",
            client_certificate=paths.pki / "node.crt",
            client_key=paths.pki / "node.key",
        ),
        user_agent=USER_AGENT,
    )
