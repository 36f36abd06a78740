"""Which service account tokens a node may ask for: those of its pods, for audiences that the pods name (KEP-4412)."""

from __future__ import annotations

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Reader
from kontinuum.apiserver.authz import authorizer as authz

AUDIENCE_VERB = "request-serviceaccounts-token-audience"


async def check_token_request(node: str, asked: Attributes, reader: Reader, authorizer: authz.Authorizer) -> None:
    """Raises ApiError 403, or 404 if the pod is not there."""
    spec = (asked.obj or {}).get("spec") or {}
    bound = spec.get("boundObjectRef") or {}
    if (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod") or not bound.get("name"):
        raise _refused(asked, "node requested token not bound to a pod")
    if not bound.get("uid"):
        raise _refused(asked, "node requested token with a pod binding without a uid")
    pod = await reader.find(r.PODS, asked.namespace, bound["name"])
    if pod is None:
        raise status.not_found(r.PODS, bound["name"])
    if bound["uid"] != pod["metadata"]["uid"]:
        problem = (
            f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise _refused(asked, problem)
    if pod["spec"].get("nodeName") != node:
        raise _refused(asked, "node requested token bound to a pod scheduled on a different node")
    await _check_audience(asked, pod, spec.get("audiences") or [], reader, authorizer)


async def _check_audience(
    asked: Attributes, pod: Object, audiences: list[str], reader: Reader, authorizer: authz.Authorizer
) -> None:
    if len(audiences) > 1:
        raise _refused(asked, "node may only request 0 or 1 audiences")
    audience = audiences[0] if audiences else ""
    if await _is_named(audience, pod, reader):
        return
    question = authz.Attributes(asked.user, AUDIENCE_VERB, "", audience, "", asked.namespace, asked.name, "*")
    if not authorizer.decide(question).allowed:
        problem = f'audience "{audience}" not found in pod spec volume, {asked.user.name} is not authorized to request'
        raise _refused(asked, f"{problem} tokens for this audience")


async def _is_named(audience: str, pod: Object, reader: Reader) -> bool:
    """Whether a projected volume of the pod, or a CSI driver that it uses, wants a token for ``audience``."""
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken")
            if token is not None and (token.get("audience") or "") == audience:
                return True
        driver = await _driver_of(volume, pod, reader)
        found = await reader.find(r.CSIDRIVERS, "", driver) if driver else None
        requests = ((found or {}).get("spec") or {}).get("tokenRequests") or ()
        if any((one.get("audience") or "") == audience for one in requests):
            return True
    return False


async def _driver_of(volume: Object, pod: Object, reader: Reader) -> str:
    """The name of the CSI driver behind a volume of a pod, "" if there is none."""
    if volume.get("csi"):
        return volume["csi"].get("driver") or ""
    claim_name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    if volume.get("ephemeral") is not None:
        claim_name = f"{pod['metadata']['name']}-{volume['name']}"
    if not claim_name:
        return ""
    claim = await reader.find(r.PERSISTENTVOLUMECLAIMS, pod["metadata"]["namespace"], claim_name)
    name = ((claim or {}).get("spec") or {}).get("volumeName")
    found = await reader.find(r.PERSISTENTVOLUMES, "", name) if name else None
    return (((found or {}).get("spec") or {}).get("csi") or {}).get("driver") or ""


def _refused(asked: Attributes, problem: str) -> status.ApiError:
    return status.forbidden(asked.resource, asked.name, problem)
