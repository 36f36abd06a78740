"""Every route of the server, found by walking what it serves, is documented and answers nobody who may not ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.apiserver.people import nobody, serving_people
from tests.apiserver.serving import Api, Certificates

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import handler
from kontinuum.apiserver.authn.serviceaccounts import discovery
from kontinuum.apiserver.dispatch import verbs
from kontinuum.apiserver.health import ENDPOINTS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "paths.md"
COLLECTION, OBJECT = ("GET", "HEAD", "POST", "DELETE"), ("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST")
METHODS = {
    "get": "get", "list": "get", "watch": "get", "create": "post", "update": "put", "patch": "patch",
    "delete": "delete", "deletecollection": "delete",
}  # fmt: skip
ABOUT_ONESELF = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
EVERYBODY = {"/healthz", "/livez", "/readyz", "/version"}
PEOPLE = {"stranger": ("visitors",), "monitor": ("system:monitoring",), "account": ("system:serviceaccounts",)}


class Asked(NamedTuple):
    method: str
    path: str
    resource: Resource


def root(resource: Resource) -> str:
    return f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"


def places(resource: Resource) -> Iterator[str]:
    """The paths of a resource's collection."""
    if resource.namespaced:
        yield f"{root(resource)}/namespaces/default/{resource.plural}"
    yield f"{root(resource)}/{resource.plural}"


def routes() -> Iterator[Asked]:
    for resource in KINDS:
        for place in places(resource):
            yield from (Asked(method, place, resource) for method in COLLECTION)
            yield Asked("GET", f"{place}?watch=true", resource)
        place = next(places(resource))
        for path in (f"{place}/x", *(f"{place}/x/{sub}" for sub in resource.subresources)):
            yield from (Asked(method, path, resource) for method in OBJECT)


def documents() -> list[str]:
    """Everything else that is answered with a document."""
    versions = {root(resource) for resource in KINDS}
    groups = {one.rpartition("/")[0] for one in versions if one.startswith("/apis/")}
    openapi = {f"/openapi/v3{one}" for one in versions}
    return sorted({"/", "/api", "/apis", "/openapi/v2", "/openapi/v3", "/version", *versions, *groups, *openapi})


def others() -> list[str]:
    dumps = ("dump_priority_levels", "dump_queues", "dump_requests")
    health = [f"/{one}" for one in ENDPOINTS] + [f"/{one}/ping" for one in ENDPOINTS]
    return ["/metrics", *health, *(f"/debug/api_priority_and_fairness/{one}" for one in dumps), *discovery.PATHS]


def documented() -> list[tuple[list[str], str]]:
    """The patterns of each line of the page, and who may read them."""
    lines = re.findall(r"^\| (`/.*?) \|.*\| (.*?) \|$", PAGE.read_text(), flags=re.MULTILINE)
    return [(re.findall(r"`([^`]+)`", paths), who.strip("`")) for paths, who in lines]


def may_read(path: str) -> str:
    """Who may, as the page says it; the first pattern without a star wins. Fails for an undocumented path."""
    found = [("*" in pattern, who) for patterns, who in documented() for pattern in patterns if fnmatch(path, pattern)]
    assert found, f"{path} is not in {PAGE}"
    return min(found)[1]


async def test_nobody_is_answered_without_a_credential(certificates: Certificates, tmp_path: Path) -> None:
    async with (
        serving_people(certificates, tmp_path, PEOPLE) as everybody,
        nobody(everybody.admin, certificates) as unknown,
    ):
        wrong = [one for one in routes() if (await unknown.call(one.method, one.path)).code != 401]
        assert not wrong
        for path in (*documents(), *others()):
            assert (await unknown.get(path)).code == (200 if path in EVERYBODY else 401), path


async def test_anonymous_users_may_no_more_than_their_roles_say(certificates: Certificates, tmp_path: Path) -> None:
    async with (
        serving_people(certificates, tmp_path, PEOPLE, anonymous="always") as everybody,
        nobody(everybody.admin, certificates) as unknown,
    ):
        wrong = [one for one in routes() if (await unknown.call(one.method, one.path)).code != 403]
        assert not wrong
        for path in (*documents(), *others()):
            assert (await unknown.get(path)).code == (200 if path in EVERYBODY else 403), path


async def test_a_stranger_is_refused_everywhere_but_where_everybody_may_ask(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with serving_people(certificates, tmp_path, PEOPLE) as everybody:
        stranger = everybody.as_user("stranger")
        wrong = []
        for one in routes():
            allowed = one.method == "POST" and one.resource.plural in ABOUT_ONESELF
            code = (await stranger.call(one.method, one.path)).code
            if (code != 403) != allowed:
                wrong.append((one.method, one.path, code))
        assert not wrong
        unserved = ("/api/v1/gadgets", "/apis/example.com/v1/gadgets", "/nowhere", "/api/v1/nodes/x/proxy/metrics")
        for path in unserved:
            assert (await stranger.get(path)).code == 403, path


GROUPS = {"system:monitoring": "monitor", "service accounts": "account"}


async def test_documents_are_read_by_those_for_whom_they_are_documented(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with serving_people(certificates, tmp_path, PEOPLE) as everybody:
        for path in (*documents(), *others()):
            who = may_read(path)
            for name in PEOPLE:
                allowed = who in ("everybody", "whoever is authenticated") or GROUPS.get(who) == name
                code = (await everybody.as_user(name).get(path)).code
                assert (code != 403) == allowed, (path, name, code)
            # 404 where no tokens are issued, which is for the administrator to see.
            assert (await everybody.admin.get(path)).code in (200, 404)
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert (await everybody.as_user("monitor").call(method, path)).code == 403, (method, path)


def test_every_path_that_the_handler_knows_by_name_is_documented() -> None:
    text = Path(handler.__file__).read_text()
    body = text[text.index("async def _answer_other") : text.index("def _refuse")]
    for path in re.findall(r'"(/[a-z/_]+)"', body):
        may_read(path)


async def test_the_root_lists_what_answers(api: Api) -> None:
    listed = (await api.get("/")).body["paths"]
    assert {path for path in documents() if not path.startswith("/openapi/v3/")} <= {"/", *listed}
    for path in listed:
        # 404 where no tokens are issued.
        assert (await api.get(path)).code == (404 if path in discovery.PATHS else 200), path


async def test_every_verb_of_every_resource_is_in_the_servers_openapi(api: Api) -> None:
    paths = (await api.get("/openapi/v2")).body["paths"]
    missing = []
    for resource in KINDS:
        place = next(places(resource)).replace("/default/", "/{namespace}/")
        for subresource in ("", *resource.subresources):
            for verb in verbs(resource, subresource):
                is_one = verb in ("get", "update", "patch", "delete") or subresource
                path = f"{place}/{{name}}" if is_one else place
                path += f"/{subresource}" if subresource else ""
                if METHODS[verb] not in paths.get(path, {}):
                    missing.append((verb, path))
    assert not missing


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "BREW"])
async def test_other_methods_are_refused(api: Api, method: str) -> None:
    assert (await api.call(method, "/api/v1/pods")).code in (400, 405)
