"""Which form of an answer a client gets: tables, metadata, gzip, line breaks; of one object, of lists, in watches."""

from __future__ import annotations

import pytest
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, TABLE, Api, configmap, deployment, pod

SELF_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REVIEW = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}}
ENDPOINTS_WARNING = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


def accept(kind: str, version: str = "v1") -> str:
    return f"application/json;as={kind};v={version};g=meta.k8s.io"


@pytest.mark.behaviour(
    "Servers with support for Table transformation should return a 406 for a backend which does not implement metadata"
)
async def test_what_has_no_columns_is_no_table(api: Api) -> None:
    refused = await api.create(SELF_REVIEW, REVIEW, accept=accept("Table"))
    assert (refused.code, refused.body["reason"]) == (406, "NotAcceptable")
    assert (await api.create(SELF_REVIEW, REVIEW, accept=TABLE)).body["kind"] == "SelfSubjectAccessReview"
    await api.create(PODS, pod("p"))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await api.create(f"{PODS}/p/eviction", eviction, accept=accept("Table"))).code == 406


async def test_metadata_of_a_list_is_not_that_of_one_object(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    one = await api.get(f"{CONFIGMAPS}/a", accept=accept("PartialObjectMetadataList"))
    assert one.code == 406 and one.body["message"].startswith("you requested PartialObjectMetadataList, but")
    many = await api.get(CONFIGMAPS, accept=accept("PartialObjectMetadata"))
    assert many.code == 406 and many.body["message"].startswith("you requested PartialObjectMetadata, but")


async def test_old_clients_get_tables_and_metadata_of_the_version_they_know(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    table = (await api.get(CONFIGMAPS, accept=accept("Table", "v1beta1"))).body
    assert table["apiVersion"] == table["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"
    listed = (await api.get(CONFIGMAPS, accept=accept("PartialObjectMetadataList", "v1beta1"))).body
    assert listed["apiVersion"] == listed["items"][0]["apiVersion"] == "meta.k8s.io/v1beta1"
    assert (await api.get(CONFIGMAPS, accept=accept("Table", "v2"))).code == 406


async def test_a_table_of_a_page_says_where_it_goes_on(api: Api) -> None:
    for name in "abc":
        await api.create(CONFIGMAPS, configmap(name))
    page = (await api.get(f"{CONFIGMAPS}?limit=2", accept=TABLE)).body
    assert page["metadata"]["remainingItemCount"] == 1 and len(page["rows"]) == 2
    rest = (await api.get(f"{CONFIGMAPS}?limit=2&continue={page['metadata']['continue']}", accept=TABLE)).body
    assert [row["cells"][0] for row in rest["rows"]] == ["c"] and "continue" not in rest["metadata"]


async def test_a_table_that_includes_something_unknown_is_refused(api: Api) -> None:
    refused = await api.get(f"{CONFIGMAPS}?includeObject=Spec", accept=TABLE)
    assert refused.code == 400 and refused.body["message"].startswith("Unable to convert to Table as requested: ")


async def test_scale_is_shown_as_a_table(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", replicas=3))
    table = (await api.get(f"{DEPLOYMENTS}/web/scale", accept=TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["web", 3, 0]


async def test_a_table_watch_tells_its_columns_once(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    async with api.watch(CONFIGMAPS, "timeoutSeconds=1&allowWatchBookmarks=true", accept=TABLE) as events:
        await api.create(CONFIGMAPS, configmap("b"))
        seen = await events.rest()
    assert [event["type"] for event in seen] == ["ADDED", "ADDED", "BOOKMARK"]
    assert [bool(event["object"]["columnDefinitions"]) for event in seen] == [True, False, False]
    assert [event["object"]["kind"] for event in seen] == ["Table"] * 3


async def test_a_metadata_watch_sends_nothing_else_not_even_bookmarks(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a", x="1"))
    query = "timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with api.watch(CONFIGMAPS, query, accept=accept("PartialObjectMetadata")) as events:
        seen = await events.rest()
    assert [event["type"] for event in seen] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    assert {event["object"]["kind"] for event in seen} == {"PartialObjectMetadata"}
    assert seen[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_large_object_is_compressed_for_those_who_accept_it(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("large", text="x" * 200_000))
    packed = await api.get(f"{CONFIGMAPS}/large", accept_encoding="gzip")
    plain = await api.get(f"{CONFIGMAPS}/large", accept_encoding="identity")
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert packed.body == plain.body
    await api.create(CONFIGMAPS, configmap("small"))
    assert "Content-Encoding" not in (await api.get(f"{CONFIGMAPS}/small", accept_encoding="gzip")).headers


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("form", ["", "Table", "PartialObjectMetadataList"])
async def test_a_long_list_is_whole_in_every_form(api: Api, form: str, encoding: str) -> None:
    for number in range(60):
        await api.create(CONFIGMAPS, configmap(f"c{number:02}", {"text": "x" * 60}, text="x" * 12_000))
    wanted = accept(form) if form else "application/json"
    listed = await api.get(f"{CONFIGMAPS}?includeObject=Object", accept=wanted, accept_encoding=encoding)
    items = [row["object"] for row in listed.body["rows"]] if form == "Table" else listed.body["items"]
    assert [item["metadata"]["name"] for item in items] == [f"c{number:02}" for number in range(60)]
    head = await api.call("HEAD", CONFIGMAPS, accept=wanted, accept_encoding=encoding)
    assert head.code == 200 and head.body == ""


async def test_people_get_line_breaks(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    for path in (f"{CONFIGMAPS}/a", CONFIGMAPS):
        lines = await _lines(api, path)
        assert lines == 1 and await _lines(api, f"{path}?pretty=true") > 5
        assert await _lines(api, path, user_agent="curl/8.0") > 5
        assert await _lines(api, f"{path}?pretty=false", user_agent="curl/8.0") == 1


async def _lines(api: Api, path: str, **headers: str) -> int:
    async with api.session.get(
        api.address + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as found:
        return len((await found.text()).strip().splitlines())


async def test_replies_about_deprecated_kinds_carry_a_warning(api: Api) -> None:
    path = "/api/v1/namespaces/default/endpoints"
    answers = [
        await api.create(path, {"metadata": {"name": "e"}}),
        await api.get(path),
        await api.patch(f"{path}/e", {"metadata": {"labels": {"a": "b"}}}),
        await api.delete(f"{path}/e"),
    ]
    assert [answer.headers.getall("Warning") for answer in answers] == [[ENDPOINTS_WARNING]] * 4
    status = await api.get("/api/v1/componentstatuses")
    assert status.headers["Warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    assert status.body["items"][0]["metadata"]["name"] == "etcd-0"
    assert (await api.get("/api/v1/componentstatuses/etcd-0", accept=TABLE)).body["rows"][0]["cells"][1] == "Healthy"
    assert (await api.get("/api/v1/componentstatuses/none")).code == 404


async def test_replies_about_unlikely_objects_carry_warnings(api: Api) -> None:
    body = deployment("a.b")
    body["spec"]["template"]["spec"]["nodeSelector"] = {"beta.kubernetes.io/os": "linux"}
    made = await api.create(DEPLOYMENTS, body)
    name, selector = made.headers.getall("Warning")
    assert made.code == 201 and "a DNS label is recommended: [must not contain dots]" in name
    assert "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14" in selector
    assert "Warning" not in (await api.patch(f"{DEPLOYMENTS}/a.b", {"metadata": {"labels": {"a": "b"}}})).headers
    changed = await api.patch(f"{DEPLOYMENTS}/a.b", {"spec": {"replicas": 3}})
    assert changed.headers.getall("Warning") == [selector]
    assert "Warning" not in (await api.get(f"{DEPLOYMENTS}/a.b")).headers


@pytest.mark.parametrize(
    ("accepts", "media"),
    [
        ("application/yaml;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, application/yaml", "application/yaml"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/vnd.kubernetes.protobuf, */*", "application/json"),
        ("application/yaml;q=x, application/json", "application/yaml"),
    ],
)
async def test_a_client_gets_the_form_that_it_wants_most(api: Api, accepts: str, media: str) -> None:
    assert (await api.get(CONFIGMAPS, accept=accepts)).headers["Content-Type"] == media
