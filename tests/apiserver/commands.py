"""A real kubectl against a server of this directory's tests."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.apiserver.serving import Api, Certificates
from tests.conformance.cluster import KUBECONFIG, kubectl_programs

NEWEST = kubectl_programs()[-1:]
"""The newest kubectl that is installed, as a list of parameters that may be empty."""


class Kubectl:
    """The administrator's; what it learns about the server stays in ``home``."""

    def __init__(self, program: Path, api: Api, certificates: Certificates, home: Path) -> None:
        self._program = program
        config = home / "kubeconfig"
        admin = certificates.admin
        config.write_text(
            KUBECONFIG.format(
                server=api.address, authority=certificates.authority, certificate=admin.certificate, key=admin.key
            )
        )
        self._environment = {"KUBECONFIG": str(config), "HOME": str(home), "PATH": os.environ["PATH"]}

    async def __call__(self, *arguments: str) -> str:
        """What a command prints that succeeds."""
        running = await asyncio.create_subprocess_exec(
            self._program, *arguments, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await running.communicate()
        assert running.returncode == 0, err.decode()
        return out.decode()
