"""A machine joins by a token and nothing else, stays a member, and is let in by nobody else's word."""

from __future__ import annotations

import asyncio
import contextlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.ports import free_port

from kontinuum.api.kubernetes import bootstrap
from kontinuum.api.kubernetes.resources import CERTIFICATESIGNINGREQUESTS, EVENTS, NODES, SECRETS
from kontinuum.api.machinery.objects import name_of
from kontinuum.apiserver.app import ApiServer
from kontinuum.cli import joining, membership
from kontinuum.cli import settings as composing
from kontinuum.cli.assemble import administrator
from kontinuum.cli.commands import token as tokens
from kontinuum.cli.commands.part import leave_word
from kontinuum.cli.exits import NotRunning
from kontinuum.cli.preparation import prepare
from kontinuum.cli.settings import Settings
from kontinuum.client.connect import connect
from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.controllers import manager
from kontinuum.foundation.clock import RealClock, VirtualClock
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.pki import Authority, KeyPair, ends_after, fingerprint
from kontinuum.foundation.tasks import cancel
from kontinuum.node.joining import certificates, discovery
from kontinuum.node.joining.membership import NameTaken
from kontinuum.store.memory.store import MemoryStore

CLOCK = RealClock()
TOKEN = "abcdef.0123456789abcdef"
CONTROLLERS = (
    "bootstrap-signer", "token-cleaner", "certificatesigningrequest-approving",
    "certificatesigningrequest-signing", "node-ipam",
)  # fmt: skip


def settings_at(directory: Path, **values: Any) -> Settings:
    return composing.load(data_dir=directory, overrides=values, environment={})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Authority.ensure(tmp_path_factory.mktemp("ca"), CLOCK).certificate.read_bytes()


@contextlib.asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Settings]:
    """An API server that others may reach (on loopback, all the same) and the controllers that joining needs."""
    address = f"127.0.0.1:{free_port()}"
    settings = settings_at(directory, server={"listen": address, "pods_address": "127.0.0.1"})
    prepare(settings, CLOCK)
    server = ApiServer(MemoryStore(), settings.server, CLOCK)
    await server.start()
    try:
        async with administrator(settings) as client:
            told = replace(settings.controllers, enabled=CONTROLLERS)
            working = asyncio.create_task(manager.run(client, CLOCK, told))
            try:
                # The node that brings its own network along, and that of the installation itself.
                networks = list(settings.node.pod_networks)
                spec = {"podCIDR": networks[0], "podCIDRs": networks}
                await client.create(NODES, {"metadata": {"name": "a"}, "spec": spec})
                yield settings
            finally:
                await cancel(working)
    finally:
        await server.stop()


def host(directory: Path, of: Settings, name: str = "b", **node: Any) -> Settings:
    """The settings of a machine that is about to join."""
    told = {"name": name, "address": "192.0.2.7", **node}
    return settings_at(directory, member_of=composing.joining_address(of), node=told)


async def test_a_token_is_all_it_takes_and_is_needed_only_once(tmp_path: Path) -> None:
    async with cluster(tmp_path / "a") as own:
        leave_word(own)
        made = await tokens.create(tokens.running_settings(tmp_path / "a"), CLOCK, ttl=3600)
        assert made["command"].endswith(f"--server {made['server']} --token {made['token']} --ca-hash {made['caHash']}")
        wanted = host(tmp_path / "b", own)
        await joining.join(wanted, made["token"], [made["caHash"]], CLOCK)
        await tokens.delete(own, made["token"])
        # Who starts it anew says nothing of whose member it is.
        member = settings_at(tmp_path / "b")
        assert (member.member_of, member.node.name) == (made["server"], "b")
        assert member.node.cluster_dns == own.node.cluster_dns and member.node.service_cidrs == own.node.service_cidrs
        async with administrator(own) as client:
            node = await client.get(NODES, "b")
            assert node["spec"]["podCIDRs"] == [member.node.pod_cidr] != [own.node.pod_cidr]
            requests = len((await client.list(CERTIFICATESIGNINGREQUESTS)).items)
            assert requests == 3
            pki = member.installation.pki
            serving = x509.load_pem_x509_certificate((pki / "node-server.crt").read_bytes())
            names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [str(one.value) for one in names] == ["b", "192.0.2.7"]

            # A member's own start asks for what is missing and for nothing else.
            again = host(tmp_path / "b", own)
            assert await joining.prepare_member(again, CLOCK) > 3600
            assert len((await client.list(CERTIFICATESIGNINGREQUESTS)).items) == requests

            # Two thirds of a year later all three are asked for again, without a token.
            before = {file: file.read_bytes() for file in pki.glob("*.crt")}
            later = VirtualClock(time.time() + certificates_life(pki) * 0.75)
            await asyncio.wait_for(joining.prepare_member(again, _Hasty(later)), 60)
            changed = {file.name for file, content in before.items() if file.read_bytes() != content}
            assert changed == {"node.crt", "network.crt", "node-server.crt"}

        # After its end nobody takes it any more, and the operator is told what to do.
        with pytest.raises(certificates.MembershipOver, match="join again"):
            await joining.prepare_member(again, VirtualClock(time.time() + 10 * 365 * 86400))
    with pytest.raises(NotRunning, match="start it: kontinuum up"):
        tokens.running_settings(tmp_path / "a")


class _Hasty(VirtualClock):
    """Another time of day, but waiting takes as long as it does."""

    def __init__(self, other: VirtualClock) -> None:
        super().__init__(other.time())

    async def sleep(self, seconds: float) -> None:
        await CLOCK.sleep(min(seconds, 0.05))

    def monotonic(self) -> float:
        return CLOCK.monotonic()


def certificates_life(pki: Path) -> float:
    return ends_after(KeyPair(pki / "node.crt", pki / "node.key"), CLOCK)


async def test_a_member_whose_server_is_away_starts_with_what_it_has(tmp_path: Path) -> None:
    async with cluster(tmp_path / "a") as own:
        made = await tokens.create(own, CLOCK, ttl=None)
        wanted = host(tmp_path / "b", own)
        await joining.join(wanted, made["token"], [], CLOCK)
    later = VirtualClock(time.time() + certificates_life(wanted.installation.pki) * 0.75)
    assert await joining.prepare_member(wanted, later) == certificates.AGAIN_SECONDS


async def test_who_is_wrong_is_told_how(tmp_path: Path, authority: bytes) -> None:
    async with cluster(tmp_path / "a") as own:
        wanted = host(tmp_path / "b", own)
        with pytest.raises(discovery.TokenUnknown, match="no token was made there yet"):
            await joining.join(wanted, TOKEN, [], CLOCK)
        made = await tokens.create(own, CLOCK, ttl=3600, token=TOKEN)
        with pytest.raises(Refused, match="there is a token abcdef already"):
            await tokens.create(own, CLOCK, ttl=3600, token=TOKEN)
        with pytest.raises(discovery.NotBelieved, match="not signed with the token"):
            await joining.join(wanted, "abcdef.0123456789abcdeg", [], CLOCK)
        with pytest.raises(discovery.NotBelieved, match=r"authority is sha256:.*, and not the one"):
            await joining.join(wanted, TOKEN, [fingerprint(authority)], CLOCK)
        assert not wanted.installation.pki.exists(), "who is not let in leaves nothing behind"
        # A token that signs but does not let in.
        async with administrator(own) as client:
            secret = await client.get(SECRETS, "bootstrap-token-abcdef", namespace="kube-system")
            secret["data"]["usage-bootstrap-authentication"] = "ZmFsc2U="
            await client.update(SECRETS, secret)
            with pytest.raises(joining.NotLetIn, match="does not take the token"):
                await joining.join(wanted, TOKEN, [made["caHash"]], CLOCK)
            await tokens.delete(own, TOKEN)
            with pytest.raises(tokens.NoSuchToken):
                await tokens.delete(own, TOKEN)
            # One name, two machines.
            made = await tokens.create(own, CLOCK, ttl=3600)
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            await client.create(NODES, {"metadata": {"name": "b"}})
            await client.patch(NODES, "b", {"status": ready}, subresource="status")
            with pytest.raises(NameTaken, match='a node "b" is in the cluster already'):
                await joining.join(wanted, made["token"], [], CLOCK)
    with pytest.raises(Unreachable, match="is an API server up there"):
        await joining.join(wanted, TOKEN, [], CLOCK)


async def test_a_server_that_only_its_machine_reaches_gives_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(tokens.NotReachable, match="up --listen ADDRESS:6443"):
        await tokens.create(settings_at(tmp_path), CLOCK, ttl=None)


async def test_a_node_gets_no_certificate_that_others_would_take_for_somebody_elses(tmp_path: Path) -> None:
    async with cluster(tmp_path / "a") as own:
        made = await tokens.create(own, CLOCK, ttl=3600)
        wanted = host(tmp_path / "b", own)
        await joining.join(wanted, made["token"], [], CLOCK)
        pki = wanted.installation.pki
        member = connect(
            Connection(
                server=made["server"], certificate_authority=pki / "ca.crt",
                client_certificate=pki / "node.crt", client_key=pki / "node.key",
            )
        )  # fmt: skip
        try:
            refused = {
                "the address 127.0.0.1 is loopback's or a Service's, and no node's": ("b", ["127.0.0.1"]),
                "the address 10.96.0.1 is loopback's or a Service's, and no node's": ("b", ["10.96.0.1"]),
                "the address 192.0.2.1 is an API server's or another node's too": ("b", ["192.0.2.1"]),
                "the name kubernetes.default.svc is not the node's alone": ("b", ["kubernetes.default.svc"]),
                "the name a is not the node's alone": ("b", ["a"]),
                "the subject is system:node:a, the requester system:node:b": ("a", ["a"]),
            }
            async with administrator(own) as client:
                address = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
                await client.patch(NODES, "a", {"status": address}, subresource="status")
            asked = {why: certificates.kinds(name, hosts)[2] for why, (name, hosts) in refused.items()}
            names = {await ask(member, kind): why for why, kind in asked.items()}
            # One that is granted, asked for last: the others have been looked at when it is there.
            granted = await ask(member, certificates.kinds("b", ["b", "192.0.2.9"])[2])
            async with asyncio.timeout(30), administrator(own) as client:
                issued: set[str] = set()
                while granted not in issued:
                    await asyncio.sleep(0.05)
                    found = (await client.list(CERTIFICATESIGNINGREQUESTS)).items
                    issued = {name_of(one) for one in found if one.get("status")}
                assert not issued & set(names)
                # Who waits for nobody knows is told: kubectl describe csr.
                told: dict[str, str] = {}
                while len(told) < len(names):
                    await asyncio.sleep(0.05)
                    events = (await client.list(EVENTS, fields="reason=NotApproved")).items
                    told = {one["involvedObject"]["name"]: one["message"] for one in events}
            assert told == {
                name: f"{why}; if it is to have it: kubectl certificate approve {name}" for name, why in names.items()
            }
        finally:
            await member.close()


async def ask(client: Client, kind: certificates.Kind) -> str:
    _, request = kind.wanted.request()
    spec = {"request": b64encode(request).decode(), "signerName": kind.signer, "usages": list(kind.usages)}
    made = await client.create(CERTIFICATESIGNINGREQUESTS, {"metadata": {"generateName": "t-"}, "spec": spec})
    return name_of(made)


@given(st.data())
def test_nothing_is_believed_that_the_tokens_secret_has_not_signed(authority: bytes, data: st.DataObject) -> None:
    info = bootstrap.info("https://192.0.2.1:6443", authority)
    content = info["data"][bootstrap.KUBECONFIG]
    signed = bootstrap.signature(content, "abcdef", "0123456789abcdef")
    info["data"][f"{bootstrap.SIGNATURE}abcdef"] = signed
    assert discovery.believe(info, TOKEN, [fingerprint(authority)]) == authority
    what = data.draw(st.sampled_from([bootstrap.KUBECONFIG, f"{bootstrap.SIGNATURE}abcdef"]))
    text = info["data"][what]
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda one: one != text[at]))
    info["data"][what] = text[:at] + other + text[at + 1 :]
    with pytest.raises(discovery.NotBelieved):
        discovery.believe(info, TOKEN)


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400.0), ("1h30m", 5400.0), ("90s", 90.0), ("2d", 172800.0), ("0", None)]
)
def test_lives_of_tokens_are_written_as_kubeadms(text: str, seconds: float | None) -> None:
    assert tokens.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "24", "24 h", "-1h", "1h x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="--ttl"):
        tokens.seconds_of(text)


def test_what_a_machine_was_told_gives_way_to_what_its_operator_says(tmp_path: Path) -> None:
    paths = settings_at(tmp_path).installation
    membership.write(paths, "https://192.0.2.1:6443", {"name": "b", "pod_cidr": "10.244.7.0/24"})
    told = settings_at(tmp_path, node={"pod_cidr": "10.9.0.0/24"})
    assert (told.member_of, told.node.name, told.node.pod_cidr) == ("https://192.0.2.1:6443", "b", "10.9.0.0/24")
