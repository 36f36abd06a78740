"""A container: its first process, its execs, and what it holds in the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kontinuum.runtime.guest.port import ContainerStats
from kontinuum.runtime.oci import Document, Role
from kontinuum.runtime.process import Process
from kontinuum.runtime.sandbox import Root
from kontinuum.runtime.task.errors import NoSuchProcess


@dataclass(slots=True)
class Container:
    """As containerd created it. A sandbox container holds nothing in the machine: it stands for the machine itself."""

    id: str
    bundle: Path
    role: Role
    spec: Document
    init: Process
    root: Root | None = None
    """The disks of its root file system, once they are there."""
    used: ContainerStats | None = None
    """What the agent last said that it uses."""
    execs: dict[str, Process] = field(default_factory=dict)

    def process(self, exec_id: str) -> Process:
        """Its first process, or an exec. Raises NoSuchProcess."""
        if not exec_id:
            return self.init
        if exec_id not in self.execs:
            raise NoSuchProcess(f"exec {exec_id} in container {self.id}: not found")
        return self.execs[exec_id]
