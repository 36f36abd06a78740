"""A file of the folder as a pod of this node. Pure; the rules are the kubelet's (``pkg/kubelet/config``)."""

from __future__ import annotations

import hashlib

import orjson

from kontinuum.api.kubernetes import references
from kontinuum.api.kubernetes.defaults.pods import default_pod
from kontinuum.api.kubernetes.structure import conform
from kontinuum.api.kubernetes.validation import metadata, names
from kontinuum.api.kubernetes.validation.pods import validate_pod_spec
from kontinuum.api.machinery.codecs import decode_configuration
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.errors import Refused
from kontinuum.node.pods import CONFIG_HASH, CONFIG_SOURCE

STAYS = {"operator": "Exists", "effect": "NoExecute"}
"""No taint drives away what the node itself wants to run."""


class BadManifest(Refused):
    """The file describes no pod that this node may run; the message says what is wrong."""


def read(content: bytes, path: str, node: str) -> Object:
    """The pod that ``content`` of the file ``path`` describes, named and bound for ``node``. Raises BadManifest.

    Its UID is a hash of what it says, where, and on which node: another content is another pod.
    """
    try:
        pod, _ = decode_configuration(content, strictly=False)
        if (pod.get("apiVersion"), pod.get("kind")) != ("v1", "Pod"):
            raise BadManifest(f"it holds {pod.get('apiVersion')} {pod.get('kind')}, and must hold one v1 Pod")
        said = orjson.dumps(pod, option=orjson.OPT_SORT_KEYS)
        unknown = conform(pod, "v1", "Pod")
    except ApiError as error:
        raise BadManifest(str(error)) from error
    if unknown:
        raise BadManifest(f'unknown field "{unknown[0]}"')
    uid = hashlib.md5(said + f"host:{node}file:{path}".encode(), usedforsecurity=False).hexdigest()
    meta, spec = pod.setdefault("metadata", {}), pod.setdefault("spec", {})
    if not meta.get("name"):
        raise BadManifest("metadata.name: Required value")
    _refuse_references(pod)
    default_pod(spec)
    spec["nodeName"] = node
    spec["tolerations"] = [*(one for one in spec.get("tolerations") or () if one != STAYS), STAYS]
    annotations = {**(meta.get("annotations") or {}), CONFIG_SOURCE: "file", CONFIG_HASH: uid}
    name, namespace = f"{meta['name']}-{node.lower()}", meta.get("namespace") or "default"
    pod["metadata"] = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "annotations": annotations,
        **({"labels": meta["labels"]} if meta.get("labels") else {}),
    }
    problems = [
        *metadata.validate(pod["metadata"], namespaced=True, check_name=names.dns_subdomain),
        *validate_pod_spec(spec, "spec"),
    ]
    if problems:
        raise BadManifest("; ".join(map(str, problems)))
    return pod


def _refuse_references(pod: Object) -> None:
    """A pod that must run without an API server cannot need what only that has."""
    spec = pod["spec"]
    found = {
        "serviceaccounts": bool(spec.get("serviceAccountName") or spec.get("serviceAccount")),
        "secrets": any(references.secrets_of_pod(pod)),
        "configmaps": any(references.config_maps_of_pod(pod)),
        "persistentvolumeclaims": any(references.volume_claims_of_pod(pod)),
        "resourceclaims": bool(spec.get("resourceClaims")),
        "service account tokens": any(
            one.get("serviceAccountToken")
            for volume in spec.get("volumes") or ()
            for one in (volume.get("projected") or {}).get("sources") or ()
        ),
    }
    for what, is_there in found.items():
        if is_there:
            raise BadManifest(f"static pods may not reference {what}")
    if spec.get("ephemeralContainers"):
        raise BadManifest("static pods may not have ephemeral containers")
