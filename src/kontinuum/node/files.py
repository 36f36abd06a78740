"""The files that a pod leaves on this machine besides its cgroups."""

from __future__ import annotations

import shutil

from kontinuum.api.machinery.objects import Object
from kontinuum.node import log_files
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.settings import NodeSettings
from kontinuum.node.volumes import mounting, provisioned


def remove_pod_files(settings: NodeSettings, pod: Object) -> None:
    """Volumes, with what is mounted there, and logs. Raises OSError."""
    mounting.remove(settings.data / "pods" / str(pod["metadata"]["uid"]))
    provisioned.let_go(settings.volumes, settings.data / "pods")
    logs = log_directory(settings, pod)
    log_files.unlink_all(settings, pod, logs)
    if logs.exists():
        shutil.rmtree(logs)
