"""``serviceaccounts/token``: a token of the account, for some audiences and a while, perhaps bound to an object.

Nothing is stored: who asks gets the token in the answer, and nobody can read it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp.web_response import StreamResponse
from msgspec.structs import replace

from kontinuum.api.kubernetes.resources import NODES, PODS, SECRETS
from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import options, replies, writing
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import attributes_of
from kontinuum.apiserver.authn.serviceaccounts.claims import Reference
from kontinuum.apiserver.authn.serviceaccounts.issuer import LEAST_SECONDS, Issuer
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.foundation.clock import rfc3339

TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest")
DEFAULT_SECONDS = 3600
MOST_SECONDS = 1 << 32
ISSUED = "authentication.kubernetes.io/issued-credential-id"
BINDABLE = {"Pod": PODS, "Node": NODES, "Secret": SECRETS}


@dataclass(frozen=True, slots=True)
class Bond:
    """What a token is going to be bound to."""

    pod: Object | None = None
    node: Reference | None = None
    secret: Object | None = None


async def request_token(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409 (the bound object is another one), 422, 500 (this server issues none)."""
    issuer = context.identity.issuer
    if issuer is None:
        raise status.internal_error("this server issues no tokens: it has no service_account_key")
    request = await read_as(context, call, definition_of(TOKEN_REQUEST.api_version, TOKEN_REQUEST.kind))
    if request is None:
        raise status.bad_request("the body is empty; expected a TokenRequest")
    account = await context.find(served.resource, call.route.namespace, call.route.name)
    if account is None:
        raise status.not_found(served.resource, call.route.name)
    # Whoever asks for no audience is admitted as such: nodes may ask only for what their pods name.
    complete(request, account)
    request["metadata"]["creationTimestamp"] = rfc3339(context.clock.time())
    dry_run = options.dry_run(call)
    attributes = attributes_of("CREATE", served, call, request, kind=TOKEN_REQUEST, dry_run=dry_run)
    await context.admission.admit(attributes, context)
    # Once more, because admission may have changed what is asked for.
    spec = complete(request, account, issuer.audiences)
    await context.admission.validate(attributes, context)
    bond = await _bond(context, spec.get("boundObjectRef"), account)
    seconds = shortened(spec, issuer, call)
    issued = issuer.issue(account, spec["audiences"], seconds, pod=bond.pod, node=bond.node, secret=bond.secret)
    call.annotations[ISSUED] = f"JTI={issued.token_id}"
    request["status"] = {"token": issued.token, "expirationTimestamp": rfc3339(issued.expires)}
    return replies.of_object(request, replies.headers(call.audit_id, call.warnings, call.output.media), 201)


def complete(request: Object, account: Object, audiences: Sequence[str] = ()) -> Object:
    """Fill in what was left out, and answer the request's spec. Raises ApiError 422."""
    metadata = writing.metadata_of(request)
    for key, value in (("name", name_of(account)), ("namespace", namespace_of(account))):
        metadata[key] = metadata.get(key) or value
        if metadata[key] != value:
            problem = f"must match the service account {key} if specified"
            raise _invalid(name_of(account), fields.invalid(f"metadata.{key}", metadata[key], problem))
    request["kind"], request["apiVersion"] = TOKEN_REQUEST.kind, TOKEN_REQUEST.api_version
    spec: Object = request.get("spec") or {}
    request["spec"] = spec
    if audiences and not spec.get("audiences"):
        spec["audiences"] = list(audiences)
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = DEFAULT_SECONDS
    seconds = spec["expirationSeconds"]
    if seconds < LEAST_SECONDS:
        problem = "may not specify a duration less than 10 minutes"
        raise _invalid("", fields.invalid("spec.expirationSeconds", seconds, problem))
    if seconds > MOST_SECONDS:
        problem = "may not specify a duration larger than 2^32 seconds"
        raise _invalid("", fields.invalid("spec.expirationSeconds", seconds, problem))
    return spec


def shortened(spec: Object, issuer: Issuer, call: Call) -> int:
    """The token's lifetime in seconds, as the settings allow."""
    seconds, longest = int(spec["expirationSeconds"]), issuer.longest_seconds
    if longest and seconds > longest:
        call.warnings.append(f"requested expiration of {seconds} seconds shortened to {longest} seconds")
        spec["expirationSeconds"] = longest
        return longest
    return seconds


async def _bond(context: Context, reference: Object | None, account: Object) -> Bond:
    """The object that the token is to be bound to, as it is now. Raises ApiError 400, 404, 409."""
    if not reference:
        return Bond()
    version, kind, name = reference.get("apiVersion") or "", reference.get("kind") or "", reference.get("name") or ""
    resource = BINDABLE.get(kind)
    if resource is None or "/" in version:
        group, _, plain = version.rpartition("/")
        raise status.bad_request(f"cannot bind token to object of type {group}/{plain}, Kind={kind}")
    found = await context.find(resource, namespace_of(account) if resource.namespaced else "", name)
    if found is None:
        raise status.not_found(resource, name)
    if resource == PODS and (found.get("spec") or {}).get("serviceAccountName") != name_of(account):
        problem = "to pod running with different serviceaccount name."
        raise status.bad_request(f'cannot bind token for serviceaccount "{name_of(account)}" {problem}')
    _check_uid(reference, found, resource)
    if resource == NODES:
        return Bond(node=Reference(name, uid_of(found)))
    if resource == SECRETS:
        return Bond(secret=found)
    return Bond(pod=found, node=await _node_of(context, found))


def _check_uid(reference: Object, found: Object, resource: Resource) -> None:
    uid = reference.get("uid")
    if uid and uid != uid_of(found):
        problem = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise status.conflict(replace(resource, plural=resource.kind), name_of(found), problem)


async def _node_of(context: Context, pod: Object) -> Reference | None:
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        return None
    node = await context.find(NODES, "", name)
    return Reference(name, uid_of(node) if node is not None else "")


def _invalid(name: str, cause: FieldError) -> status.ApiError:
    return status.invalid(TOKEN_REQUEST.kind, name, [cause], group=TOKEN_REQUEST.group)
