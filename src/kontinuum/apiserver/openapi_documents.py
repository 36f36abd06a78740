"""The paths that tell of the server itself, as OpenAPI path items: discovery, version, and who issues tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kontinuum.apiserver.openapi_paths import ANY, FORMS, META, group_words

Item = dict[str, Any]
INFO = "io.k8s.apimachinery.pkg.version.Info"
KINDS = {f"{META}.{kind}" for kind in ("APIGroup", "APIGroupList", "APIResourceList", "APIVersions")} | {INFO}
"""The definitions that these paths answer."""
JSON = ("application/json",)


def resources_path(group: str, version: str, *, openapi: int) -> tuple[str, Item]:
    """The resources of one group and version, which belong to its own document."""
    root = f"/apis/{group}" if group else "/api"
    name = f"get{group_words(group)}{version.capitalize()}APIResources"
    tag = f"{_lower(group_words(group))}_{version}"
    return f"{root}/{version}/", _item(name, tag, "get available resources", f"{META}.APIResourceList", openapi)


def document_paths(groups: Iterable[str], *, openapi: int) -> Iterator[tuple[str, str, Item]]:
    """(document of version 3, path, path item) of what belongs to no version of a group."""
    versions = "get available API versions"
    yield "api", "/api/", _item("getCoreAPIVersions", "core", versions, f"{META}.APIVersions", openapi)
    yield "apis", "/apis/", _item("getAPIVersions", "apis", versions, f"{META}.APIGroupList", openapi)
    about = "get the version information for this server"
    yield "version", "/version/", _item("getCodeVersion", "version", about, INFO, openapi, media=JSON)
    for group in sorted(filter(None, groups)):
        words = group_words(group)
        answer = f"{META}.APIGroup"
        item = _item(f"get{words}APIGroup", _lower(words), "get information of a group", answer, openapi)
        yield f"apis/{group}", f"/apis/{group}/", item
    issuer, keys = "getServiceAccountIssuerOpenIDConfiguration", "getServiceAccountIssuerOpenIDKeyset"
    about = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"
    place = ".well-known/openid-configuration"
    yield place, f"/{place}/", _item(issuer, "WellKnown", about, "", openapi, media=JSON)
    about = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"
    media = ("application/jwk-set+json",)
    yield "openid/v1/jwks", "/openid/v1/jwks/", _item(keys, "openid", about, "", openapi, media=media)


def _item(name: str, tag: str, about: str, answer: str, openapi: int, *, media: tuple[str, ...] = FORMS) -> Item:
    """``answer`` is a definition, or empty for text."""
    place = "#/definitions/" if openapi == 2 else "#/components/schemas/"
    shape = {"$ref": place + answer} if answer else {"type": "string"}
    operation: Item = {"description": about, "operationId": name, "tags": [tag], "parameters": []}
    response: Item = {"description": "OK"}
    if openapi == 2:
        operation |= {"consumes": list(ANY), "produces": list(media)}
        response["schema"] = shape
    else:
        response["content"] = {each: {"schema": shape} for each in media}
    operation["responses"] = {"200": response, "401": {"description": "Unauthorized"}}
    return {"get": operation}


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]
