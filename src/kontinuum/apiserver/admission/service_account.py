"""ServiceAccount: every pod runs as an account that exists, and is given its token, the API's CA and its namespace.

    /var/run/secrets/kubernetes.io/serviceaccount/{token,ca.crt,namespace}     in every container

One projected volume holds the three; the node keeps the token fresh. A pod or its account may decline it
(``automountServiceAccountToken: false``), and a container that mounts something else there keeps that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kontinuum.api.kubernetes.resources import PODS, SERVICEACCOUNTS
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.identifiers import new_suffix

MIRROR = "kubernetes.io/config.mirror"
ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
ROOT_CA = "kube-root-ca.crt"

PAUSE_SECONDS = 0.05
PATIENCE = 30
"""So often the ``default`` account is looked for: a controller creates it right after its namespace."""


class ServiceAccount(Base):
    """See the module."""

    concerns = frozenset({PODS})
    below = ("ephemeralcontainers",)

    def __init__(self) -> None:
        self._volume = VOLUME_PREFIX + new_suffix()
        """Kubernetes draws a name for each pod. With one for all, pods of a template are equal, and what was found out
        about one holds for the others (``foundation.familiar``). No pod has another volume of that name: whatever
        begins so is taken for the token's."""

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if pod is None or not _is_creation(attributes) or _is_mirror(pod):
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
        # The older name is kept equal, as Kubernetes' conversion does.
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await _account(attributes, name, reader)
        if wants_token(spec, account):
            mount_token(spec, self._volume)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(one) for one in account["imagePullSecrets"]]

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if pod is None or not (_is_creation(attributes) or _is_debugging(attributes)):
            return
        spec = pod.get("spec") or {}
        if _is_mirror(pod):
            problem = mirror_problem(spec)
        else:
            account = await _account(attributes, spec.get("serviceAccountName") or DEFAULT, reader)
            is_strict = annotations_of(account).get(ENFORCE_SECRETS, "").lower() == "true"
            problem = secrets_problem(spec, account) if is_strict else ""
        if problem:
            raise status.forbidden(PODS, attributes.name, problem)


def wants_token(spec: Object, account: Object) -> bool:
    """The pod's word counts more than its account's; without either it does."""
    for decides in (spec, account):
        if decides.get("automountServiceAccountToken") is not None:
            return bool(decides["automountServiceAccountToken"])
    return True


def mount_token(spec: Object, volume_name: str) -> None:
    """Mount the token's volume into every container of the pod's ``spec``, in place."""
    volumes: list[Object] = spec.get("volumes") or []
    existing = next((one["name"] for one in volumes if str(one.get("name")).startswith(VOLUME_PREFIX)), None)
    mount = {"name": existing or volume_name, "readOnly": True, "mountPath": MOUNT_PATH}
    is_needed = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if any(one.get("mountPath") == MOUNT_PATH for one in mounts):
            continue
        container["volumeMounts"] = [*mounts, dict(mount)]
        is_needed = True
    if is_needed and existing is None:
        spec["volumes"] = [*volumes, {"name": volume_name, "projected": projection()}]


def projection() -> Object:
    """What stands in the token's volume."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
        "defaultMode": 0o644,
    }


def mirror_problem(spec: Object) -> str:
    """Why a mirror pod (which a node shows of a pod from its own files) may not be; "" if it may."""
    if spec.get("serviceAccountName"):
        return "a mirror pod may not reference service accounts"
    if _secret_references(spec) or spec.get("imagePullSecrets"):
        return "a mirror pod may not reference secrets"
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(one.get("serviceAccountToken") for one in sources):
            return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def secrets_problem(spec: Object, account: Object) -> str:
    """Why an account that lets its pods use only the Secrets it lists forbids this one; "" if it does not."""
    owner = f"is not allowed because service account {name_of(account)} does not reference that secret"
    allowed = {one.get("name") for one in account.get("secrets") or ()}
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if volume.get("secret") is not None and secret not in allowed:
            return f'volume with secret.secretName="{secret}" {owner}'
    for words, container, variable, secret in _environment(spec):
        if secret not in allowed:
            return f'{words} {container} with envVar {variable} referencing secret.secretName="{secret}" {owner}'
    pullable = {one.get("name") for one in account.get("imagePullSecrets") or ()}
    for index, one in enumerate(spec.get("imagePullSecrets") or ()):
        if one.get("name") not in pullable:
            problem = f"service account {name_of(account)} does not reference that imagePullSecret"
            return f'imagePullSecrets[{index}].name="{one.get("name")}" is not allowed because {problem}'
    return ""


def _environment(spec: Object) -> list[tuple[str, str, str, str]]:
    """What each variable that comes from a Secret is called: kind and name of its container, variable, Secret."""
    found = []
    kinds = (("init container", "initContainers"), ("container", "containers"),
             ("ephemeral container", "ephemeralContainers"))  # fmt: skip
    for words, field in kinds:
        for container in spec.get(field) or ():
            for variable in container.get("env") or ():
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if reference:
                    found.append(
                        (words, container.get("name", ""), variable.get("name", ""), reference.get("name", ""))
                    )
    return found


def _secret_references(spec: Object) -> list[Any]:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    whole = [one for container in containers for one in container.get("envFrom") or () if one.get("secretRef")]
    volumes = spec.get("volumes") or ()
    mounted = [one for one in volumes if one.get("secret") is not None]
    projected = [
        source
        for one in volumes
        for source in (one.get("projected") or {}).get("sources") or ()
        if source.get("secret")
    ]
    return [*_environment(spec), *whole, *mounted, *projected]


async def _account(attributes: Attributes, name: str, reader: Reader) -> Object:
    """Raises ApiError 403 if there is none."""
    namespace = attributes.namespace
    for attempt in range(PATIENCE if name == DEFAULT else 1):
        if attempt:
            await asyncio.sleep(PAUSE_SECONDS)
        account = await reader.find(SERVICEACCOUNTS, namespace, name)
        if account is not None:
            return account
    problem = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
    raise status.forbidden(PODS, attributes.name, problem)


def _is_creation(attributes: Attributes) -> bool:
    return attributes.resource == PODS and attributes.operation == "CREATE" and not attributes.subresource


def _is_debugging(attributes: Attributes) -> bool:
    is_update = attributes.resource == PODS and attributes.operation == "UPDATE"
    return is_update and attributes.subresource == "ephemeralcontainers"


def _is_mirror(pod: Object) -> bool:
    return MIRROR in annotations_of(pod)
