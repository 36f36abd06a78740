"""Directories of pods that are gone: a crash between a pod's end and its clean-up leaves them."""

from __future__ import annotations

import structlog

from kontinuum.node.settings import NodeSettings
from kontinuum.node.volumes import mounting, provisioned

log = structlog.get_logger(__name__)


def remove(settings: NodeSettings, known: set[str]) -> None:
    """Remove volumes of pods that are not ``known`` (by UID)."""
    directory = settings.data / "pods"
    if not directory.is_dir():
        return
    for place in directory.iterdir():
        if place.name not in known:
            try:
                mounting.remove(place)
            except OSError as error:
                log.warning("a gone pod's volumes cannot be removed", place=str(place), error=str(error))
    provisioned.let_go(settings.volumes, settings.data / "pods")
