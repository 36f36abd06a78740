"""The node's HTTPS server: what the API server asks a kubelet for (logs, exec, attach), for its certificate alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from kontinuum.node.port import ContainerRuntime
from kontinuum.node.settings import NodeSettings
from kontinuum.node.worker import PodWorker

FindPod = Callable[[str, str], PodWorker | None]


class NodeServer:
    """An async context manager; ``port`` is known inside it."""

    def __init__(self, settings: NodeSettings, runtime: ContainerRuntime, find_pod: FindPod) -> None:
        self._settings = settings
        self._runtime = runtime
        self._find_pod = find_pod
        self.port = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
