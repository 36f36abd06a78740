"""Having a container's image: pull policies, and what is told when it cannot be had."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.images.references import BadReference, Reference, parse, with_tag
from kontinuum.node.container_status import go_milliseconds
from kontinuum.node.port import Config, ContainerRuntime, Image, RuntimeFailed
from kontinuum.node.pull_records import PullRecords, may_use, must_verify
from kontinuum.node.pull_secrets import PullSecret, pull_secrets
from kontinuum.node.settings import NodeSettings
from kontinuum.node.sources import SourceMissing, Sources

Tell = Callable[[str, str, str], None]
"""Records an event of the container: type, reason, message."""


class ImageTrouble(Retryable):
    """The image cannot be had; ``reason`` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Puller:
    """Finds or pulls images, a few at a time."""

    def __init__(self, runtime: ContainerRuntime, sources: Sources, clock: Clock, settings: NodeSettings) -> None:
        self._runtime = runtime
        self._sources = sources
        self._clock = clock
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_parallel_image_pulls)
        self._records = PullRecords(settings.data / "image-pulls")

    async def have(self, pod: Object, container: Object, sandbox_config: Config, tell: Tell) -> Image:
        """The image of ``container``, pulled if its policy says so. Raises ImageTrouble."""
        name = container["image"]
        try:
            reference = parse(name)
        except BadReference as error:
            message = f'Failed to apply default image tag "{name}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("InvalidImageName", message) from error
        policy = container.get("imagePullPolicy") or default_policy(str(reference))
        secrets = pull_secrets(await self._secrets(pod), reference)
        present = await self._present(name, reference, policy, tell)
        if present is not None and self._may_use(present, reference, secrets):
            tell(
                "Normal",
                "Pulled",
                f'Container image "{name}" already present on machine and can be accessed by the pod',
            )
            return present
        if policy == "Never":
            message = (
                f'Container image "{name}" is present with pull policy of Never, but the pod has none of the secrets '
                "that it was pulled with"
                if present
                else f'Container image "{name}" is not present with pull policy of Never'
            )
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageTrouble("ErrImageNeverPull", message)
        return await self._pull(name, reference, secrets, sandbox_config, tell)

    async def _present(self, name: str, reference: Reference, policy: str, tell: Tell) -> Image | None:
        """The image if it is here and need not be looked for again."""
        if policy == "Always":
            return None
        try:
            return await self._runtime.image(str(reference))
        except RuntimeFailed as error:
            message = f'Failed to inspect image "{name}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("ImageInspectError", message) from error

    def _may_use(self, image: Image, reference: Reference, secrets: Sequence[PullSecret]) -> bool:
        settings = self._settings
        asked = must_verify(
            settings.image_pull_credentials_verification_policy,
            settings.preloaded_images_verification_allowlist,
            reference,
            pulled_here=self._records.was_pulled_here(reference, image.id),
        )
        return not asked or may_use(self._records.find(image.id), reference, secrets)

    async def _pull(
        self, name: str, reference: Reference, secrets: Sequence[PullSecret], sandbox_config: Config, tell: Tell
    ) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        waiting_since = self._clock.monotonic()
        try:
            async with self._slots:
                began = self._clock.monotonic()
                image = await self._fetch(name, reference, secrets, sandbox_config)
        except (KontinuumError, OSError) as error:
            tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
            raise pull_trouble(name, error) from error
        now = self._clock.monotonic()
        took, in_all = go_milliseconds(now - began), go_milliseconds(now - waiting_since)
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{name}" in {took} ({in_all} including waiting). '
            f"Image size: {image.size} bytes.",
        )
        return image

    async def _fetch(
        self, name: str, reference: Reference, secrets: Sequence[PullSecret], sandbox_config: Config
    ) -> Image:
        """One credential after the other, as the kubelet; none at all only if none is for this registry."""
        whole = str(reference)
        self._records.begin(reference)
        try:
            failure: KontinuumError = ImageTrouble("ErrImagePull", f'image "{name}" vanished while it was pulled')
            for secret in secrets or (None,):
                try:
                    await self._runtime.pull(whole, secret.auth if secret else None, sandbox_config)
                except RuntimeFailed as error:
                    failure = error
                    continue
                image = await self._runtime.image(whole)
                if image is not None:
                    self._records.note(reference, image.id, secret)
                    return image
            raise failure
        finally:
            self._records.end(reference)

    async def _secrets(self, pod: Object) -> list[Object]:
        """The pod's ``imagePullSecrets``; its service account's were put among them when it was created."""
        found = []
        for secret in pod["spec"].get("imagePullSecrets") or ():
            # As with the kubelet: the registry may let us in without one that is missing.
            with contextlib.suppress(SourceMissing):
                found.append(await self._sources.get("secret", pod["metadata"]["namespace"], secret["name"]))
        return [one for one in found if one is not None]

    def keep_only(self, image_ids: Collection[str]) -> None:
        """Forget who may use images that are gone."""
        self._records.keep_only(image_ids)


KNOWN_FAILURES = {
    "RegistryUnavailable": "the registry is unavailable",
    "SignatureValidationFailed": "the signature validation failed",
}
"""The CRI's own words at the beginning of an error, which become the waiting reason."""


def pull_trouble(name: str, error: Exception) -> ImageTrouble:
    """Why a container waits after a pull that failed."""
    for reason, words in KNOWN_FAILURES.items():
        if str(error).startswith(reason):
            message = f"image pull failed for {name} because {words}{str(error).removeprefix(reason)}"
            return ImageTrouble(reason, message)
    return ImageTrouble("ErrImagePull", str(error))


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
