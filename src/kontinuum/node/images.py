"""Having a container's image: pull policies, and what is told when it cannot be had."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Iterator

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.images.references import BadReference, registry_of, with_tag
from kontinuum.node.container_status import go_duration
from kontinuum.node.port import Config, ContainerRuntime, Image, RuntimeFailed
from kontinuum.node.sources import SourceMissing, Sources

Tell = Callable[[str, str, str], None]
"""Records an event of the container: type, reason, message."""


class ImageTrouble(Retryable):
    """The image cannot be had; ``reason`` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Puller:
    """Finds or pulls images."""

    def __init__(self, runtime: ContainerRuntime, sources: Sources, clock: Clock) -> None:
        self._runtime = runtime
        self._sources = sources
        self._clock = clock

    async def have(self, pod: Object, container: Object, sandbox_config: Config, tell: Tell) -> Image:
        """The image of ``container``, pulled if its policy says so. Raises ImageTrouble."""
        try:
            reference = with_tag(container["image"])
        except BadReference as error:
            message = f'Failed to apply default image tag "{container["image"]}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("InvalidImageName", message) from error
        policy = container.get("imagePullPolicy") or default_policy(reference)
        try:
            present = await self._runtime.image(reference)
        except RuntimeFailed as error:
            message = f'Failed to inspect image "{reference}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("ImageInspectError", message) from error
        if present is not None and policy != "Always":
            tell("Normal", "Pulled", f'Container image "{container["image"]}" already present on machine')
            return present
        if policy == "Never":
            message = f'Container image "{container["image"]}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageTrouble("ErrImageNeverPull", message)
        return await self._pull(pod, container["image"], reference, sandbox_config, tell)

    async def _pull(self, pod: Object, name: str, reference: str, sandbox_config: Config, tell: Tell) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        began = self._clock.monotonic()
        try:
            credentials = await self._credentials(pod, reference)
            await self._runtime.pull(reference, credentials, sandbox_config)
            image = await self._runtime.image(reference)
        except KontinuumError as error:
            tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
            raise ImageTrouble("ErrImagePull", str(error)) from error
        if image is None:
            raise ImageTrouble("ErrImagePull", f'image "{name}" vanished while it was pulled')
        took = go_duration(self._clock.monotonic() - began)
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: {image.size} bytes.',
        )
        return image

    async def _credentials(self, pod: Object, reference: str) -> Config | None:
        """The first of the pod's ``imagePullSecrets`` that knows the image's registry."""
        for secret in pod["spec"].get("imagePullSecrets") or ():
            try:
                obj = await self._sources.get("secret", pod["metadata"]["namespace"], secret["name"])
            except SourceMissing:
                # As with the kubelet: the registry may let us in without.
                continue
            found = credentials_for(obj or {}, registry_of(reference))
            if found is not None:
                return found
        return None


def named_by(pods: Iterable[Object]) -> Iterator[str]:
    """The full names of all images that ``pods`` name, for containers and volumes, as far as they are names."""
    for pod in pods:
        spec = pod.get("spec") or {}
        kinds = ("initContainers", "containers", "ephemeralContainers")
        names = [one.get("image") for kind in kinds for one in spec.get(kind) or ()]
        names += [(one.get("image") or {}).get("reference") for one in spec.get("volumes") or ()]
        for name in names:
            with contextlib.suppress(BadReference):
                yield with_tag(name or "")


def default_policy(reference: str) -> str:
    return "Always" if reference.endswith(":latest") else "IfNotPresent"


def credentials_for(secret: Object, registry: str) -> Config | None:
    """The CRI's AuthConfig for ``registry`` from a ``kubernetes.io/dockerconfigjson`` secret."""
    raw = (secret.get("data") or {}).get(".dockerconfigjson")
    if not raw:
        return None
    for server, entry in (orjson.loads(base64.b64decode(raw)).get("auths") or {}).items():
        host = server.removeprefix("https://").removeprefix("http://").split("/", 1)[0]
        if host == registry or (registry == "docker.io" and host == "index.docker.io"):
            return {
                "username": entry.get("username", ""),
                "password": entry.get("password", ""),
                "auth": entry.get("auth", ""),
                "server_address": server,
            }
    return None
