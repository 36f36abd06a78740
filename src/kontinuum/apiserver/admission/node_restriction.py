"""NodeRestriction: what a node may write, it may write about itself only.

    pods           mirror pods bound to itself; status and eviction of pods that run on it
    nodes          its own; no taints, no owners, and no labels that others trust
    claims         their status
    tokens         for service accounts, bound to a pod that runs on it
    leases         its own, in kube-node-lease
    CSINodes, ResourceSlices  its own

It looks at users ``system:node:NAME`` in the group system:nodes and at nobody else. Which objects of others a node may
read is the node authorizer's to say.
"""

from __future__ import annotations

from kontinuum.api.kubernetes import references
from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.node_labels import forbidden_labels
from kontinuum.apiserver.admission.node_tokens import check_token_request
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.authz.node import LEASES, node_of
from kontinuum.apiserver.authz.node_graph import MIRROR


class NodeRestriction(Base):
    """See the module."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        node = node_of(attributes.user)
        if node is None or attributes.operation == "CONNECT":
            return
        if not node:
            raise _refused(attributes, f'could not determine node from user "{attributes.user.name}"')
        resource = attributes.resource
        if resource == r.PODS:
            await _check_pod(node, attributes, reader)
        elif resource == r.NODES:
            _check_node(node, attributes)
        elif resource == r.PERSISTENTVOLUMECLAIMS:
            _check_claim(node, attributes)
        elif resource == r.SERVICEACCOUNTS:
            if attributes.operation == "CREATE" and attributes.subresource == "token":
                await check_token_request(node, attributes, reader, self._authorizer)
        elif resource == r.LEASES:
            if attributes.namespace != LEASES:
                raise _refused(attributes, f'can only access leases in the "{LEASES}" system namespace')
            _check_own(node, attributes, "node lease")
        elif resource == r.CSINODES:
            _check_own(node, attributes, "CSINode")
        elif resource == r.RESOURCESLICES:
            _check_slice(node, attributes)


async def _check_pod(node: str, asked: Attributes, reader: Reader) -> None:
    if asked.subresource == "status":
        _check_pod_status(node, asked)
    elif asked.subresource == "eviction":
        pod = await _pod(asked, reader)
        if _node_name(pod) != node:
            raise _refused(asked, f"node {node} can only evict pods with spec.nodeName set to itself")
    elif asked.subresource:
        problem = f"unexpected pod subresource \"{asked.subresource}\", only 'status' and 'eviction' are allowed"
        raise _refused(asked, problem)
    elif asked.operation == "CREATE":
        await _check_mirror_pod(node, asked, reader)
    elif asked.operation == "DELETE":
        if _node_name(asked.old or await _pod(asked, reader)) != node:
            raise _refused(asked, f'node "{node}" can only delete pods with spec.nodeName set to itself')
    else:
        problem = f'unexpected operation "{asked.operation}", node "{node}" can only create and delete mirror pods'
        raise _refused(asked, problem)


def _check_pod_status(node: str, asked: Attributes) -> None:
    pod, old = asked.obj or {}, asked.old or {}
    if asked.operation != "UPDATE":
        raise _refused(asked, f'unexpected operation "{asked.operation}"')
    if _node_name(old) != node:
        problem = f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        raise _refused(asked, problem)
    if (pod["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
        raise _refused(asked, f'node "{node}" cannot update labels through pod status')
    for field, what in (
        ("resourceClaimStatuses", "resource claim statuses"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if ((pod.get("status") or {}).get(field) or None) != ((old.get("status") or {}).get(field) or None):
            raise _refused(asked, f'node "{node}" cannot update {what}')


async def _check_mirror_pod(node: str, asked: Attributes, reader: Reader) -> None:
    pod = asked.obj or {}
    if MIRROR not in (pod["metadata"].get("annotations") or {}):
        raise _refused(asked, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods')
    if _node_name(pod) != node:
        raise _refused(asked, f'node "{node}" can only create pods with spec.nodeName set to itself')
    await _check_owner(node, asked, reader)
    if (pod.get("spec") or {}).get("serviceAccountName"):
        raise _refused(asked, f'node "{node}" can not create pods that reference a service account')
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    projected = [one for volume in volumes for one in (volume.get("projected") or {}).get("sources") or ()]
    for what, found in (
        ("secrets", any(references.secrets_of_pod(pod))),
        ("configmaps", any(references.config_maps_of_pod(pod))),
        ("clustertrustbundles", any(one.get("clusterTrustBundle") for one in projected)),
        ("persistentvolumeclaims", any(references.volume_claims_of_pod(pod))),
        ("resourceclaims", bool((pod.get("spec") or {}).get("resourceClaims"))),
    ):
        if found:
            raise _refused(asked, f'node "{node}" can not create pods that reference {what}')


async def _check_owner(node: str, asked: Attributes, reader: Reader) -> None:
    owners = (asked.obj or {})["metadata"].get("ownerReferences") or ()
    if len(owners) > 1:
        raise _refused(asked, f'node "{node}" can only create pods with a single owner reference set to itself')
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise _refused(asked, f'node "{node}" can only create pods with an owner reference set to itself')
    if not owner.get("controller"):
        raise _refused(asked, f'node "{node}" can only create pods with a controller owner reference set to itself')
    if owner.get("blockOwnerDeletion"):
        raise _refused(asked, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    found = await reader.find(r.NODES, "", node)
    if found is None:
        raise status.not_found(r.NODES, node)
    uid = found["metadata"]["uid"]
    if owner.get("uid") != uid:
        raise _refused(asked, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")


def _check_node(node: str, asked: Attributes) -> None:
    obj, old = asked.obj or {}, asked.old or {}
    name = asked.name or (obj.get("metadata") or {}).get("name") or ""
    if name != node:
        raise _refused(asked, f'node "{node}" is not allowed to modify node "{name}"')
    if asked.operation == "CREATE":
        labels = forbidden_labels(obj["metadata"].get("labels") or {}, {})
        if labels:
            problem = f'node "{node}" is not allowed to set the following labels: {", ".join(labels)}'
            raise _refused(asked, problem)
    elif asked.operation == "UPDATE":
        _check_node_change(node, asked, obj, old)


def _check_node_change(node: str, asked: Attributes, obj: Object, old: Object) -> None:
    if ((obj.get("spec") or {}).get("taints") or []) != ((old.get("spec") or {}).get("taints") or []):
        raise _refused(asked, f'node "{node}" is not allowed to modify taints')
    # The garbage collector would delete the node for a missing owner.
    if (obj["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
        raise _refused(asked, f'node "{node}" is not allowed to modify ownerReferences')
    labels = forbidden_labels(obj["metadata"].get("labels") or {}, old["metadata"].get("labels") or {})
    if labels:
        raise _refused(asked, f"is not allowed to modify labels: {', '.join(labels)}")


def _check_claim(node: str, asked: Attributes) -> None:
    if asked.subresource != "status":
        raise _refused(asked, "may only update PVC status")
    if asked.operation != "UPDATE":
        raise _refused(asked, f'unexpected operation "{asked.operation}"')
    if _without_capacity(asked.obj or {}) != _without_capacity(asked.old or {}):
        allowed = "status.capacity and status.conditions"
        raise _refused(asked, f'node "{node}" is not allowed to update fields other than {allowed}')


def _without_capacity(claim: Object) -> Object:
    changing = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses", "modifyVolumeStatus")
    state = {key: value for key, value in (claim.get("status") or {}).items() if key not in changing}
    metadata = {
        key: value for key, value in claim["metadata"].items() if key not in ("resourceVersion", "managedFields")
    }
    return {**claim, "metadata": metadata, "status": state}


def _check_own(node: str, asked: Attributes, what: str) -> None:
    name = asked.name or ((asked.obj or {}).get("metadata") or {}).get("name")
    if name != node:
        raise _refused(asked, f"can only access {what} with the same name as the requesting node")


def _check_slice(node: str, asked: Attributes) -> None:
    if asked.operation == "CREATE" and _node_name(asked.obj or {}) != node:
        raise _refused(asked, "can only create ResourceSlice with the same NodeName as the requesting node")
    if asked.operation == "DELETE" and asked.old is not None and _node_name(asked.old) != node:
        raise _refused(asked, "can only delete ResourceSlice with the same NodeName as the requesting node")


async def _pod(asked: Attributes, reader: Reader) -> Object:
    """Raises ApiError 404."""
    pod = await reader.find(r.PODS, asked.namespace, asked.name)
    if pod is None:
        raise status.not_found(r.PODS, asked.name)
    return pod


def _node_name(obj: Object) -> str:
    return (obj.get("spec") or {}).get("nodeName") or ""


def _refused(asked: Attributes, problem: str) -> status.ApiError:
    return status.forbidden(asked.resource, asked.name, problem)
