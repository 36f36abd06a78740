"""The controllers ask for nothing that another conformant API server would not serve, or not allow them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import orjson
import pytest
from tests.controllers.cluster import Cluster, deployment, running
from tests.controllers.test_every_controller import DAYS, Day
from tests.reference import REFERENCE, needs_reference

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, RESOURCES
from kontinuum.api.machinery.status import ApiError, no_such_path
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.authz.defaults.cluster_roles import CLUSTER_ROLES
from kontinuum.apiserver.authz.defaults.controller_roles import CONTROLLER_ROLES
from kontinuum.apiserver.authz.defaults.notation import rules
from kontinuum.apiserver.authz.rules import Question, RoleRules
from kontinuum.client.transport.fake import routes
from kontinuum.client.transport.port import Request
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
ELSEWHERE = [name for name in DAYS if name != "isolation classes"]
"""The days of controllers that are on beside another API server too."""
USER = User("system:kube-controller-manager")
DISCOVERY = re.compile(r"/api|/apis|/api/v1|/apis/[^/]+/[^/]+")


@cache
def kubernetes_roles() -> list[RoleRules]:
    """What docs/how-to/beside-another-cluster.md binds; none of our own roles is among them."""
    texts = [CLUSTER_ROLES["system:kube-controller-manager"], *CONTROLLER_ROLES.values()]
    return [RoleRules(rules(text)) for text in texts]


@cache
def operations() -> set[tuple[str, str]]:
    """Method and path template of everything that a real API server serves."""
    paths = orjson.loads((REFERENCE / "swagger.json").read_bytes())["paths"]
    return {
        (method.upper(), re.sub(r"\{[^}]+\}", "{}", path.rstrip("/")))
        for path, methods in paths.items()
        for method in methods
    }


@cache
def asked(name: str) -> tuple[Request, ...]:
    """Every request of the controllers on one day."""
    return virtual_time.run(lambda: _live(DAYS[name]))


async def _live(day: Day) -> tuple[Request, ...]:
    found: dict[tuple[str, str, str, tuple[str, ...]], Request] = {}

    def note(request: Request) -> None:
        path = re.sub(r"-[a-z0-9]{5}\b", "", request.path)
        found.setdefault((request.method, path, request.content_type, tuple(request.query)), request)

    settings = ControllersSettings(
        enabled=day.controllers, root_ca=__file__, isolation_classes=False, terminated_pod_threshold=2
    )  # fmt: skip
    async with running(settings) as cluster:
        cluster.faults.refuse = note
        await day.do(cluster)
        await cluster.settle(day.settle)
    return tuple(found.values())


@pytest.mark.parametrize("name", ELSEWHERE)
def test_kubernetes_own_roles_allow_every_request(name: str) -> None:
    refused = {text for request in asked(name) if (text := _refused(request))}
    assert refused == set(), "a controller manager beside a real API server may not do this"


@needs_reference
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_real_api_server_serves_every_request(name: str) -> None:
    unknown = {
        f"{one.method} {one.path}" for one in asked(name) if (one.method, _template(one.path)) not in operations()
    }
    assert unknown == set()


def _refused(request: Request) -> str:
    if DISCOVERY.fullmatch(request.path):
        return ""  # everybody who is authenticated may (system:discovery)
    target = routes.parse(request.path, RESOURCES)
    reading = "watch" if request.is_watch else "get" if target.name else "list"
    attributes = Attributes(
        user=USER,
        verb=VERBS.get(request.method, reading),
        group=target.resource.group,
        resource=target.resource.plural,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name,
    )
    question = Question.of(attributes)
    if any(role.allow(question) for role in kubernetes_roles()):
        return ""
    what = f"{target.resource.plural}/{target.subresource}".rstrip("/")
    return f"{attributes.verb} {what}"


def _template(path: str) -> str:
    if DISCOVERY.fullmatch(path):
        return path
    target = routes.parse(path, RESOURCES)
    base = f"/apis/{target.resource.group}" if target.resource.group else "/api"
    parts = [base, target.resource.version]
    parts += ["namespaces", "{}"] if target.namespace else []
    parts += [target.resource.plural] + (["{}"] if target.name else []) + [one for one in [target.subresource] if one]
    return "/".join(parts)


def test_a_kind_that_the_server_does_not_serve_stops_only_those_who_need_it(tmp_path: Path) -> None:
    """Servers of older versions lack some; each of ours that cannot do without waits, and nobody else does."""

    def lacks(request: Request) -> ApiError | None:
        is_new = any(word in request.path for word in ("volumeattributesclasses", "servicecidrs", "resourceclaims"))
        return no_such_path() if is_new else None

    async def main() -> int:
        async with running(ControllersSettings(isolation_classes=False)) as cluster:
            cluster.faults.refuse = lacks
            await _deploy(cluster)
            return len(cluster.ready_pods())

    assert virtual_time.run(main) == 3


async def _deploy(cluster: Cluster) -> None:
    await cluster.client.create(DEPLOYMENTS, deployment())
    await cluster.settle(60)
