"""Containers' logs on the disk, where log collectors look for them in every Kubernetes, and no longer than needed.

pods/NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log              what the runtime writes
containers/POD_NAMESPACE_CONTAINER-ID.log  ──▶ the same   a link for each, by which collectors know whose it is
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import structlog

from kontinuum.api.machinery.objects import Object
from kontinuum.node.observed import Observed
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
LONGEST_NAME = 255
"""Bytes that a file's name may have."""


def link(settings: NodeSettings, pod: Object, container: str, container_id: str, path: Path) -> None:
    """Link the log at ``path`` under the name that collectors know, if it is not. Without links pods run as well."""
    place = _link_path(settings, pod, container, container_id)
    if place.is_symlink():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    except OSError as error:
        log.warning("a container's log cannot be linked", place=str(place), error=str(error))


def prune(settings: NodeSettings, pod: Object, directory: Path, observed: Observed) -> None:
    """Remove logs of attempts that are gone, with their links; ``directory`` is the pod's. Raises OSError.

    What is newer than all that was observed is just being made, and stays.
    """
    attempts: dict[str, set[int]] = {}
    for one in observed.containers:
        attempts.setdefault(one.name, set()).add(one.attempt)
    has_removed = False
    for name, there in attempts.items():
        for path in (directory / name).glob("*.log*"):
            number = path.name.split(".", 1)[0]
            if number.isdigit() and int(number) < max(there) and int(number) not in there:
                path.unlink(missing_ok=True)
                has_removed = True
    # All pods' links are in one directory: it is read only if one of them leads nowhere now.
    for place in _links(settings, pod) if has_removed else ():
        if not place.exists():
            place.unlink(missing_ok=True)


def unlink_all(settings: NodeSettings, pod: Object, directory: Path) -> None:
    """Remove the links to all of the pod's logs, of which ``directory`` is the place. Raises OSError."""
    for place in _links(settings, pod):
        if place.readlink().is_relative_to(directory):
            place.unlink(missing_ok=True)


def _links(settings: NodeSettings, pod: Object) -> Iterator[Path]:
    """Links of this pod, and of others of its name."""
    return settings.container_logs.glob(f"{_prefix(pod)}*.log")


def _prefix(pod: Object) -> str:
    return f"{pod['metadata']['name']}_{pod['metadata']['namespace']}_"


def _link_path(settings: NodeSettings, pod: Object, container: str, container_id: str) -> Path:
    name = f"{_prefix(pod)}{container}-{container_id}"
    return settings.container_logs / f"{name[: LONGEST_NAME - len('.log')]}.log"
