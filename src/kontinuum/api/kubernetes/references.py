"""What a pod, or a persistent volume, names of other objects: secrets, config maps, claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kontinuum.api.machinery.objects import Object

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
# Volume sources whose secret is named by ``secretRef``, and the few that name it otherwise.
_BY_REFERENCE = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos")


def secrets_of_pod(pod: Object) -> Iterator[str]:
    """Names of secrets in the pod's namespace; the same may come several times."""
    spec = pod.get("spec") or {}
    for one in spec.get("imagePullSecrets") or ():
        yield from _name(one)
    for container in _containers(spec):
        yield from _environment(container, "secretKeyRef", "secretRef")
    for volume in spec.get("volumes") or ():
        yield from _named(volume.get("secret"), "secretName")
        yield from _named(volume.get("azureFile"), "secretName")
        yield from _name((volume.get("csi") or {}).get("nodePublishSecretRef"))
        for source in _BY_REFERENCE:
            yield from _name((volume.get(source) or {}).get("secretRef"))
        for projection in (volume.get("projected") or {}).get("sources") or ():
            yield from _name(projection.get("secret"))


def config_maps_of_pod(pod: Object) -> Iterator[str]:
    """Names of config maps in the pod's namespace; the same may come several times."""
    spec = pod.get("spec") or {}
    for container in _containers(spec):
        yield from _environment(container, "configMapKeyRef", "configMapRef")
    for volume in spec.get("volumes") or ():
        yield from _name(volume.get("configMap"))
        for projection in (volume.get("projected") or {}).get("sources") or ():
            yield from _name(projection.get("configMap"))


def volume_claims_of_pod(pod: Object) -> Iterator[str]:
    """Names of persistent volume claims in the pod's namespace, those of ephemeral volumes included."""
    name = pod["metadata"]["name"]
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        yield from _named(volume.get("persistentVolumeClaim"), "claimName")
        if volume.get("ephemeral") is not None:
            yield f"{name}-{volume['name']}"


def resource_claims_of_pod(pod: Object) -> Iterator[str]:
    """Names of resource claims in the pod's namespace, as far as those made from templates exist already."""
    status = pod.get("status") or {}
    made = {one.get("name"): one.get("resourceClaimName") for one in status.get("resourceClaimStatuses") or ()}
    for claim in (pod.get("spec") or {}).get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or made.get(claim.get("name"))
        if name:
            yield name
    yield from _named(status.get("extendedResourceClaimStatus"), "resourceClaimName")


def secrets_of_volume(volume: Object) -> Iterator[tuple[str, str]]:
    """Namespace and name of each secret that a node needs to mount a persistent volume."""
    spec = volume.get("spec") or {}
    home = (spec.get("claimRef") or {}).get("namespace") or ""
    azure = spec.get("azureFile") or {}
    if azure.get("secretName"):
        yield azure.get("secretNamespace") or home, azure["secretName"]
    csi = spec.get("csi") or {}
    references = [csi.get(field) for field in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")]
    references += [(spec.get(source) or {}).get("secretRef") for source in _BY_REFERENCE]
    for reference in references:
        if reference and reference.get("name"):
            yield reference.get("namespace") or home, reference["name"]


def _containers(spec: Object) -> Iterator[Object]:
    for field in CONTAINERS:
        yield from spec.get(field) or ()


def _environment(container: Object, key_reference: str, reference: str) -> Iterator[str]:
    for variable in container.get("env") or ():
        yield from _name((variable.get("valueFrom") or {}).get(key_reference))
    for source in container.get("envFrom") or ():
        yield from _name(source.get(reference))


def _name(reference: Object | None) -> Iterator[str]:
    yield from _named(reference, "name")


def _named(reference: Object | None, field: str) -> Iterator[str]:
    if reference and reference.get(field):
        yield reference[field]
