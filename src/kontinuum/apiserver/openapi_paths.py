"""The operations on a resource, as OpenAPI path items of version 2 or 3: what they take, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kontinuum.api.kubernetes import schema
from kontinuum.api.kubernetes.custom.publishing import definition_name as custom_name
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import openapi_parameters as parameters
from kontinuum.apiserver.discovery import BODIES, VerbsOf, body_kind
from kontinuum.apiserver.openapi_parameters import parameter
from kontinuum.apiserver.strategy import strategy_of

Item = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
ANY = ("*/*",)
FORMS = ("application/json", "application/yaml")
STREAMED = (*FORMS, "application/json;stream=watch")
STRATEGIC = "application/strategic-merge-patch+json"
PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", STRATEGIC, "application/apply-patch+yaml")
# verb on many, verb on one → HTTP method. "list" and "get" share GET, on different paths.
METHODS_OF_MANY = {"list": "get", "create": "post", "deletecollection": "delete"}
METHODS_OF_ONE = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}
ACTIONS = {"get": "read", "update": "replace", "deletecollection": "delete", "watchlist": "watch"}
QUERY: dict[str, Sequence[str]] = {
    "list": parameters.LIST, "watch": parameters.LIST, "watchlist": parameters.LIST,
    "create": parameters.WRITE, "update": parameters.WRITE, "patch": parameters.APPLY,
    "delete": parameters.DELETE, "deletecollection": parameters.DELETE_MANY,
}  # fmt: skip
CODES = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
REASONS = {"200": "OK", "201": "Created", "202": "Accepted"}
_OLD = "deprecated: use the 'watch' parameter with a list operation instead"
WORDS = {
    "list": "list or watch objects of kind {kind}", "create": "create {a_kind}",
    "deletecollection": "delete collection of {kind}", "get": "read the specified {kind}",
    "update": "replace the specified {kind}", "patch": "partially update the specified {kind}",
    "delete": "delete {a_kind}", "watchlist": f"watch individual changes to a list of {{kind}}. {_OLD}.",
    "watch": f"watch changes to an object of kind {{kind}}. {_OLD}, filtered to a single item with the "
    "'fieldSelector' parameter.",
}  # fmt: skip
WORDS_BELOW = {
    "create": "create {below} of {a_kind}", "get": "read {below} of the specified {kind}",
    "update": "replace {below} of the specified {kind}", "patch": "partially update {below} of the specified {kind}",
}  # fmt: skip


def paths_of(resource: Resource, verbs_of: VerbsOf, *, version: int) -> Iterator[tuple[str, Item]]:
    """(path, path item) of all that is answered about the resource: collection, object, subresources, old watches."""
    writer = _Writer(resource, version)
    namespace = "{namespace}" if resource.namespaced else ""
    collection, one = resource.path(namespace), resource.path(namespace, "{name}")
    verbs = set(verbs_of(resource, ""))
    found = []
    if resource.namespaced:
        found.append((resource.path(), writer.item(resource.path(), verbs & {"list"}, METHODS_OF_MANY)))
    found.append((collection, writer.item(collection, verbs, METHODS_OF_MANY)))
    found.append((one, writer.item(one, verbs - {"create"}, METHODS_OF_ONE)))
    for below in resource.subresources:
        path, answered = resource.path(namespace, "{name}", below), set(verbs_of(resource, below))
        found.append((path, writer.item(path, answered, METHODS_OF_ONE, below)))
        if below == "proxy":
            found.append((f"{path}/{{path}}", writer.item(f"{path}/{{path}}", answered, METHODS_OF_ONE, below)))
    if "watch" in verbs:
        found += [writer.watch(path, "watchlist") for path in dict.fromkeys((resource.path(), collection))]
        found.append(writer.watch(one, "watch"))
    return ((path, item) for path, item in found if item.keys() - {"parameters"})


def body_kinds(resource: Resource) -> Iterator[tuple[str, str]]:
    """(apiVersion, kind) of what subresources take and answer, where that is not the resource's own kind."""
    for below in resource.subresources:
        body = BODIES.get(below)
        if body is not None and below not in parameters.CONNECT:
            yield _version_of(body.group, body.version or resource.version), body.kind


def group_words(group: str) -> str:
    """``RbacAuthorization``, as names of operations have it."""
    return "".join(word.capitalize() for word in group.removesuffix(".k8s.io").split(".")) or "Core"


class _Writer:
    """The operations on one resource in one version of OpenAPI."""

    def __init__(self, resource: Resource, version: int) -> None:
        self._resource = resource
        self._version = version
        self._group = group_words(resource.group)
        self._tag = f"{self._group[0].lower()}{self._group[1:]}_{resource.version}"

    def item(self, path: str, verbs: set[str], methods: dict[str, str], below: str = "") -> Item:
        if below in parameters.CONNECT:
            answered = {method for verb, method in methods.items() if verb in verbs}
            if below == "proxy" and answered:
                answered |= {"head", "options"}
            item: Item = {method: self._connection(method, below, path) for method in sorted(answered)}
        else:
            item = {
                method: self._operation(verb, below, everywhere=self._is_everywhere(path))
                for verb, method in methods.items()
                if verb in verbs
            }
        return item | {"parameters": self._shared(path, below)}

    def watch(self, path: str, verb: str) -> tuple[str, Item]:
        root = f"/apis/{self._resource.group}" if self._resource.group else "/api"
        begin = f"{root}/{self._resource.version}"
        item = {"get": self._operation(verb, "", everywhere=self._is_everywhere(path))}
        return f"{begin}/watch{path.removeprefix(begin)}", item | {"parameters": self._shared(path, "")}

    def _is_everywhere(self, path: str) -> bool:
        return self._resource.namespaced and "{namespace}" not in path

    def _shared(self, path: str, below: str) -> list[Item]:
        """What every operation at the path takes."""
        names = [name for name in ("name", "namespace", "path") if f"{{{name}}}" in path]
        query = parameters.CONNECT.get(below, parameters.LOG if below == "log" else ("pretty",))
        found = [parameter(name, "path", version=self._version) for name in names]
        return found + [parameter(name, "query", version=self._version) for name in query]

    def _operation(self, verb: str, below: str, *, everywhere: bool) -> Item:
        own = self._resource
        body = BODIES.get(below)
        group, version, kind = own.group, own.version, own.kind
        if body is not None:
            group, version, kind = body.group or group, body.version or version, body.kind
        described = (WORDS_BELOW if below else WORDS)[verb]
        described = described.format(kind=own.kind, a_kind=_with_article(own.kind), below=below)
        if verb == "list" and not own.stored:
            described = described.replace("list or watch", "list")
        found: Item = {
            "description": described,
            "operationId": self._name(verb, below, everywhere=everywhere),
            "tags": [self._tag],
            "parameters": [parameter(name, "query", version=self._version) for name in QUERY.get(verb, ())],
            "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        }
        name = _definition_name(own, _version_of(group, version), kind)
        self._take(found, verb, name)
        self._answer(found, verb, below, name)
        return found

    def _connection(self, method: str, below: str, path: str) -> Item:
        own, kind = self._resource, body_kind(self._resource, below).kind
        namespaced = "Namespaced" if own.namespaced else ""
        found: Item = {
            "description": f"connect {method.upper()} requests to {below} of {own.kind}",
            "operationId": f"connect{self._group}{own.version.capitalize()}{method.capitalize()}{namespaced}{own.kind}"
            f"{below.capitalize()}{'WithPath' if path.endswith('{path}') else ''}",
            "tags": [self._tag],
            "parameters": [],
            "x-kubernetes-action": "connect",
            "x-kubernetes-group-version-kind": {"group": own.group, "version": own.version, "kind": kind},
        }
        if self._version == 2:
            found["consumes"] = list(ANY)
        self._respond(found, ("200",), {"type": "string"}, ANY)
        return found

    def _name(self, verb: str, below: str, *, everywhere: bool) -> str:
        """``readAppsV1NamespacedDeploymentScale``: generated clients name their functions by it."""
        own = self._resource
        words = [ACTIONS.get(verb, verb), self._group, own.version.capitalize()]
        words.append("Collection" if verb == "deletecollection" else "")
        words.append("Namespaced" if own.namespaced and not everywhere else "")
        words += [own.kind, below.capitalize(), "List" if verb == "watchlist" else ""]
        return "".join([*words, "ForAllNamespaces" if everywhere else ""])

    def _take(self, operation: Item, verb: str, name: str) -> None:
        """The body, where there is one."""
        bodies = {
            "create": name, "update": name, "patch": f"{META}.Patch",
            "delete": f"{META}.DeleteOptions", "deletecollection": f"{META}.DeleteOptions",
        }  # fmt: skip
        media = self._patch_types() if verb == "patch" else ANY
        if self._version == 2:
            operation["consumes"] = list(media)
        if verb not in bodies:
            return
        is_needed = {} if verb.startswith("delete") else {"required": True}
        if self._version == 2:
            body = {"name": "body", "in": "body", "schema": self._reference(bodies[verb]), **is_needed}
            operation["parameters"].insert(0, body)
            return
        content = {each: {"schema": self._reference(bodies[verb])} for each in media}
        operation["requestBody"] = {"content": content, **is_needed}

    def _patch_types(self) -> Sequence[str]:
        """kubectl merges strategically wherever this says that it can be done, which takes a built-in kind."""
        own = self._resource
        is_built_in = schema.is_known(own.api_version, own.kind)
        return [one for one in PATCH_TYPES if is_built_in or one != STRATEGIC]

    def _answer(self, operation: Item, verb: str, below: str, name: str) -> None:
        if below == "log":
            self._respond(operation, ("200",), {"type": "string"}, ("text/plain", *FORMS))
            return
        is_status = verb == "deletecollection" or (
            verb == "delete" and not strategy_of(self._resource).answers_deleted_object
        )
        if verb == "list":
            name = name.removesuffix(self._resource.kind) + self._resource.list_kind
        elif verb in ("watch", "watchlist"):
            name = f"{META}.WatchEvent"
        elif is_status:
            name = f"{META}.Status"
        media = STREAMED if verb in ("list", "watch", "watchlist") else FORMS
        self._respond(operation, CODES.get(verb, ("200",)), self._reference(name), media)

    def _respond(self, operation: Item, codes: Iterable[str], answer: Item, media: Sequence[str]) -> None:
        if self._version == 2:
            operation["produces"] = list(media)
            responses: Item = {code: {"description": REASONS[code], "schema": answer} for code in codes}
        else:
            content = {each: {"schema": answer} for each in media}
            responses = {code: {"description": REASONS[code], "content": content} for code in codes}
        operation["responses"] = {**responses, "401": {"description": "Unauthorized"}}

    def _reference(self, name: str) -> Item:
        place = "#/definitions/" if self._version == 2 else "#/components/schemas/"
        return {"$ref": place + name}


def _definition_name(resource: Resource, api_version: str, kind: str) -> str:
    """Of the resource's own kind, or of a kind that its subresource takes; those are all built in."""
    if schema.is_known(api_version, kind):
        return schema.definition_name(api_version, kind)
    return custom_name(resource)


def _with_article(kind: str) -> str:
    if kind.endswith("s") and not kind.endswith("ss"):
        return kind
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def _version_of(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version
