"""Which flow schema speaks of a request (apiserver ``util/flowcontrol/rule.go``). Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.serviceaccounts import claims
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes

Distinguish = Callable[[Attributes], str]
DISTINGUISHERS: dict[str, Distinguish] = {
    "ByUser": lambda asked: asked.user.name,
    "ByNamespace": lambda asked: asked.namespace,
}


def precedence(schema: Object) -> tuple[int, str]:
    """Schemas are asked in this order; the first that matches decides."""
    return schema["spec"].get("matchingPrecedence", 0), schema["metadata"]["name"]


def distinguisher(schema: Object) -> Distinguish:
    """What tells one flow of the schema from another: its requests share a queue and are served in turn."""
    method = (schema["spec"].get("distinguisherMethod") or {}).get("type", "")
    return DISTINGUISHERS.get(method, lambda asked: "")


def matches(schema: Object, asked: Attributes) -> bool:
    return any(_rule_matches(rule, asked) for rule in schema["spec"].get("rules") or ())


def _rule_matches(rule: Object, asked: Attributes) -> bool:
    if not any(_subject_matches(subject, asked.user) for subject in rule.get("subjects") or ()):
        return False
    if asked.is_resource:
        return any(_resource_matches(one, asked) for one in rule.get("resourceRules") or ())
    return any(_path_matches(one, asked) for one in rule.get("nonResourceRules") or ())


def _subject_matches(subject: Object, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return subject["user"]["name"] in ("*", user.name)
        case "Group":
            name = subject["group"]["name"]
            return name == "*" or name in user.groups
        case "ServiceAccount":
            account = claims.split_user_name(user.name)
            wanted = subject["serviceAccount"]
            return account is not None and account[0] == wanted["namespace"] and wanted["name"] in ("*", account[1])
    return False


def _says(values: Collection[str], value: str) -> bool:
    return "*" in values or value in values


def _resource_matches(rule: Object, asked: Attributes) -> bool:
    if not (
        _says(rule["verbs"], asked.verb)
        and _says(rule["apiGroups"], asked.group)
        and _says(rule["resources"], asked.combined)
    ):
        return False
    if not asked.namespace:
        return bool(rule.get("clusterScope"))
    return _says(rule.get("namespaces") or (), asked.namespace)


def _path_matches(rule: Object, asked: Attributes) -> bool:
    return _says(rule["verbs"], asked.verb) and _url_matches(rule["nonResourceURLs"], asked.path)


def _url_matches(urls: Sequence[str], path: str) -> bool:
    return any(url in ("*", path) or (url.endswith("/*") and path.startswith(url[:-1])) for url in urls)
