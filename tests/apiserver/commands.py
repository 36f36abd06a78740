"""A real kubectl against a server of this directory's tests."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.apiserver.serving import Api, Certificates
from tests.conformance.cluster import KUBECONFIG
from tests.kubectls import ENVIRONMENT, newest_kubectl


class Kubectl:
    """The newest there is, as the administrator; what it learns about the server stays in ``home``."""

    def __init__(self, api: Api, certificates: Certificates, home: Path) -> None:
        config = home / "kubeconfig"
        admin = certificates.admin
        config.write_text(
            KUBECONFIG.format(
                server=api.address, authority=certificates.authority, certificate=admin.certificate, key=admin.key
            )
        )
        self._environment = {"KUBECONFIG": str(config), "HOME": str(home), "PATH": os.environ["PATH"], **ENVIRONMENT}

    async def __call__(self, *arguments: str) -> str:
        """What a command prints that succeeds."""
        running = await asyncio.create_subprocess_exec(
            newest_kubectl(), *arguments, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await running.communicate()
        assert running.returncode == 0, err.decode()
        return out.decode()
