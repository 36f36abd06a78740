"""May somebody do something? ``kubectl auth can-i`` asks for oneself, extension servers and kubelets for others.

SubjectAccessReview        may USER do this?
LocalSubjectAccessReview   the same, for who may ask only within one namespace
SelfSubjectAccessReview    may I do this?
SelfSubjectRulesReview     what may I do in this namespace?
"""

from __future__ import annotations

from typing import Any

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes, Opinion
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.reviews.exchange import admitted, answer
from kontinuum.apiserver.reviews.selectors import SelectorText, field_selector_of, label_selector_of


async def review_subject(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403, 422."""
    sent = await admitted(context, served, call)
    spec = _spec(sent)
    _check(served, sent, _spec_problems(spec) + _user_problems(spec))
    return _judge(context, call, sent, _subject(spec))


async def review_local_subject(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403, 422."""
    sent = await admitted(context, served, call)
    spec, metadata = _spec(sent), sent["metadata"]
    if metadata.setdefault("namespace", call.route.namespace) != call.route.namespace:
        problem = f"spec.resourceAttributes.namespace must match namespace: {call.route.namespace}"
        raise status.bad_request(problem)
    _check(served, sent, _spec_problems(spec) + _user_problems(spec) + _local_problems(spec, call.route.namespace))
    return _judge(context, call, sent, _subject(spec))


async def review_own_access(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403, 422."""
    sent = await admitted(context, served, call)
    _check(served, sent, _spec_problems(_spec(sent)))
    return _judge(context, call, sent, call.user)


async def review_own_rules(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403."""
    sent = await admitted(context, served, call)
    namespace = _spec(sent).get("namespace")
    if not namespace:
        raise status.bad_request("no namespace on request")
    rules = context.authorizer.rules(call.user, namespace)
    found: Object = {
        "resourceRules": [
            _picked(rule, "verbs", "apiGroups", "resources", "resourceNames") for rule in rules.resources
        ],
        "nonResourceRules": [_picked(rule, "verbs", "nonResourceURLs") for rule in rules.paths],
        "incomplete": rules.incomplete,
    }
    if rules.problem:
        found["evaluationError"] = rules.problem
    sent["spec"] = {}
    sent["status"] = found
    return answer(call, sent)


def _judge(context: Context, call: Call, review: Object, user: User) -> StreamResponse:
    spec = _spec(review)
    asked = spec.get("resourceAttributes")
    problems: list[str] = []
    if asked is None:
        path = spec["nonResourceAttributes"]
        attributes = Attributes(user, path.get("verb") or "", path=path.get("path") or "/")
    else:
        attributes = _on_resource(user, asked, problems)
    decision = context.authorizer.decide(attributes)
    found: Object = {"allowed": decision.allowed}
    if decision.opinion is Opinion.DENY:
        found["denied"] = True
    if decision.reason:
        found["reason"] = decision.reason
    problems = [decision.problem, *problems] if decision.problem else problems
    if problems:
        found["evaluationError"] = "; ".join(problems)
    review["status"] = found
    return answer(call, review)


def _on_resource(user: User, asked: Object, problems: list[str]) -> Attributes:
    by_field = field_selector_of(asked.get("fieldSelector"))
    by_label = label_selector_of(asked.get("labelSelector"))
    problems += [*_ignored("fieldSelector", by_field), *_ignored("labelSelector", by_label)]
    words = ("verb", "group", "resource", "subresource", "namespace", "name")
    verb, group, resource, subresource, namespace, name = (asked.get(word) or "" for word in words)
    return Attributes(
        user, verb, group, resource, subresource, namespace, name, asked.get("version") or "*",
        field_selector=by_field.text, label_selector=by_label.text,
    )  # fmt: skip


def _ignored(name: str, selector: SelectorText) -> list[str]:
    if not selector.is_broken:
        return []
    partially = "partially ignored" if selector.text else "ignored"
    return [f"spec.resourceAttributes.{name} {partially} due to parse error"]


def _subject(spec: Object) -> User:
    extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)


def _spec(review: Object) -> Object:
    spec: Object = review.get("spec") or {}
    return spec


def _picked(rule: Object, *names: str) -> Object:
    return {name: rule[name] for name in names if rule.get(name) is not None}


def _check(served: Served, review: Object, problems: list[FieldError]) -> None:
    """Raises ApiError 422."""
    given = {key: value for key, value in review["metadata"].items() if value and key != "managedFields"}
    if served.resource.namespaced:
        given.pop("namespace", None)
        text = "must be empty except for namespace"
    else:
        text = "must be empty"
    if given:
        problems = [*problems, fields.invalid("metadata", given, text)]
    if problems:
        raise status.invalid(served.resource.kind, "", problems, group=served.resource.group)


def _spec_problems(spec: Object) -> list[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        text = "cannot be specified in combination with resourceAttributes"
        return [fields.invalid("spec.nonResourceAttributes", path, text)]
    if resource is None and path is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [fields.invalid("spec.resourceAttributes", None, text)]
    if resource is None:
        return []
    return _selector_problems(resource)


def _selector_problems(asked: Object) -> list[FieldError]:
    problems = []
    for name in ("fieldSelector", "labelSelector"):
        selector: Any = asked.get(name)
        path = f"spec.resourceAttributes.{name}"
        if selector is None:
            continue
        if selector.get("rawSelector") and selector.get("requirements"):
            text = "may not specified at the same time as requirements"
            problems.append(fields.invalid(f"{path}.rawSelector", selector["rawSelector"], text))
        if not selector.get("rawSelector") and not selector.get("requirements"):
            text = "when " + path + " is specified, requirements or rawSelector is required"
            problems.append(fields.required(f"{path}.requirements", text))
    return problems


def _user_problems(spec: Object) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [fields.invalid("spec.user", "", "at least one of user or group must be specified")]


def _local_problems(spec: Object, namespace: str) -> list[FieldError]:
    asked = spec.get("resourceAttributes")
    problems = []
    if asked is not None and (asked.get("namespace") or "") != namespace:
        path = "spec.resourceAttributes.namespace"
        problems.append(fields.invalid(path, asked.get("namespace") or "", "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        text = "disallowed on this kind of request"
        problems.append(fields.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], text))
    return problems
