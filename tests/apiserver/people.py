"""Users beside the administrator: a server that knows them by token, and one client for each."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from tests.apiserver.serving import Api, Certificates, serving

from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Store


class Everybody:
    """``admin`` is a member of system:masters; ``as_user`` gives the others, by their name."""

    def __init__(self, admin: Api, others: Mapping[str, Api]) -> None:
        self.admin = admin
        self._others = others

    def as_user(self, name: str) -> Api:
        return self._others[name]


@contextlib.asynccontextmanager
async def serving_people(
    certificates: Certificates,
    directory: Path,
    people: Mapping[str, tuple[str, ...]],
    *,
    store: Store | None = None,
    **settings: Any,
) -> AsyncIterator[Everybody]:
    """A server for ``people``: names and the groups of each."""
    file = directory / "tokens.csv"
    file.write_text(
        "".join(f'token-{name},{name},uid-{name},"{",".join(groups)}"\n' for name, groups in people.items())
    )
    async with contextlib.AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            serving(store or MemoryStore(), certificates, token_file=file, **settings)
        )
        others = {}
        for name in people:
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificates.authority)))
            session = aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer token-{name}"})
            others[name] = Api(await stack.enter_async_context(session), admin.server)
        yield Everybody(admin, others)


@contextlib.asynccontextmanager
async def nobody(api: Api, certificates: Certificates) -> AsyncIterator[Api]:
    """A client that shows no credential."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificates.authority)))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Api(session, api.server)


def rule(verbs: str, resources: str = "", group: str = "", names: str = "", paths: str = "") -> dict[str, Any]:
    """A PolicyRule from words."""
    if paths:
        return {"nonResourceURLs": paths.split(), "verbs": verbs.split()}
    found: dict[str, Any] = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return {**found, "resourceNames": names.split()} if names else found


def role(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, role_kind: str, role_name: str, *users: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "apiGroup": group, "name": user} for user in users]
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": role_kind, "name": role_name},
        "subjects": subjects,
    }


RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLUSTER_ROLES = f"{RBAC}/clusterroles"
CLUSTER_BINDINGS = f"{RBAC}/clusterrolebindings"
ROLES = f"{RBAC}/namespaces/default/roles"
BINDINGS = f"{RBAC}/namespaces/default/rolebindings"


async def grant(everybody: Everybody, user: str, *rules: dict[str, Any], namespace: str = "") -> None:
    """Let ``user`` do what ``rules`` say, in ``namespace`` or everywhere."""
    kind, base = ("Role", f"{RBAC}/namespaces/{namespace}/") if namespace else ("ClusterRole", f"{RBAC}/cluster")
    made = await everybody.admin.create(f"{base}roles", role(f"of-{user}", *rules))
    assert made.code == 201, made.body
    made = await everybody.admin.create(f"{base}rolebindings", binding(f"of-{user}", kind, f"of-{user}", user))
    assert made.code == 201, made.body
