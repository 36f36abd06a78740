"""Which parts one machine runs, and what each must be told: the list that the supervisor keeps running.

``Preparation`` is what they wait for. The API server starts at once and imports while certificates are made. When they
are, a second core is free: the controllers import there, and work as soon as the server answers. Everything else lets
the server pass first, because all of it waits for the API anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from kontinuum.cli.keeper import Part
from kontinuum.cli.settings import Settings, encode
from kontinuum.foundation import settings as loading
from kontinuum.foundation.files import replace_file
from kontinuum.node import containerd

PYTHON = (sys.executable, "-P")
"""-P: whatever directory we are started in, nothing is imported from there."""
TRUSTS_WHAT_IT_IS_TOLD = {"SSL_CERT_FILE": os.devnull}
"""For parts that talk HTTPS: aiohttp reads the system's list of authorities while it is imported, a sixth of the API
server's start, and our parts use only those that their settings name. A default context finds the system's still, one
at a time and when asked, in the system's directory. Not for containerd, whose registries an operator may vouch for."""
HEAD_START_SECONDS = 3.0


@dataclass
class Preparation:
    """Facts that are found out while the first parts are starting already."""

    settings: Settings
    certified: asyncio.Event = field(default_factory=asyncio.Event)
    """Directories, certificates and kubeconfig are there."""
    passed: asyncio.Event = field(default_factory=asyncio.Event)
    """The API server serves, or has had its head start."""
    probed: asyncio.Event = field(default_factory=asyncio.Event)
    """``settings`` say what VMs run on here, and the runtime's configuration is written."""

    def learn_machines(self, *, accelerator: str, vmm: str) -> None:
        """Fill in what VMs run on where the operator has not decided it, and write the runtime's configuration."""
        node = self.settings.node
        node = replace(node, accelerator=node.accelerator or accelerator, vmm=node.vmm or vmm)
        runtime = replace(self.settings.runtime, accelerator=self.settings.runtime.accelerator or accelerator)
        self.settings = replace(self.settings, node=node, runtime=runtime)
        document = msgspec.json.encode(loading.to_plain(runtime))
        replace_file(self.settings.installation.runtime_config, document, mode=0o600)
        self.probed.set()

    async def let_server_pass(self) -> None:
        """Wait for the API server's first readiness, but not for ever: pods must start again without it too."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.passed.wait(), HEAD_START_SECONDS)
        self.passed.set()

    async def until_certified(self) -> None:
        await self.certified.wait()

    async def told_when_certified(self) -> bytes:
        await self.certified.wait()
        return encode(self.settings)

    async def told_when_served(self) -> bytes:
        await self.let_server_pass()
        return encode(self.settings)

    async def told_when_probed(self) -> bytes:
        await self.certified.wait()
        await self.probed.wait()
        return encode(self.settings)

    async def containerd_is_configured(self) -> None:
        await self.certified.wait()
        await self.let_server_pass()
        containerd.write(self.settings.node)

    async def runtime_is_configured(self) -> None:
        await self.probed.wait()


def parts(preparation: Preparation) -> list[Part]:
    """Every part of one machine, in the order in which they are started. A member of a cluster has but a node's."""
    of_node = _parts_of_node(preparation)
    return of_node if preparation.settings.member_of else [*_parts_of_cluster(preparation), *of_node]


def _parts_of_cluster(preparation: Preparation) -> list[Part]:
    paths = preparation.settings.installation
    return [
        Part(
            name="server",
            command=(*PYTHON, "-m", "kontinuum.cli.run", "server"),
            environment=TRUSTS_WHAT_IT_IS_TOLD,
            log=paths.logs / "server.log",
            standard_input=preparation.told_when_certified,
        ),
        Part(
            name="controllers",
            command=(*PYTHON, "-m", "kontinuum.cli.run", "controllers"),
            environment=TRUSTS_WHAT_IT_IS_TOLD,
            log=paths.logs / "controllers.log",
            before=preparation.until_certified,
            standard_input=preparation.told_when_served,
        ),
    ]


def _parts_of_node(preparation: Preparation) -> list[Part]:
    paths, node = preparation.settings.installation, preparation.settings.node
    return [
        Part(
            name="containerd",
            command=tuple(containerd.command(node)),
            environment=containerd.environment(node),
            log=paths.logs / "containerd.log",
            before=preparation.containerd_is_configured,
            socket=node.socket,
        ),
        Part(
            name="node",
            command=(*PYTHON, "-m", "kontinuum.cli.run", "node"),
            environment={"PATH": containerd.environment(node)["PATH"], **TRUSTS_WHAT_IT_IS_TOLD},
            log=paths.logs / "node.log",
            before=preparation.let_server_pass,
            standard_input=preparation.told_when_probed,
        ),
        Part(
            name="network",
            command=(*PYTHON, "-m", "kontinuum.cli.run", "network"),
            environment=TRUSTS_WHAT_IT_IS_TOLD,
            log=paths.logs / "network.log",
            before=preparation.let_server_pass,
            standard_input=preparation.told_when_certified,
        ),
        Part(
            name="shim-parent",
            command=(*PYTHON, "-m", "kontinuum.cli.run", "shim-parent", "--config", str(paths.runtime_config)),
            environment={"PATH": containerd.environment(node)["PATH"]},
            log=paths.logs / "shim.log",
            before=preparation.runtime_is_configured,
        ),
    ]


def parts_for_pods(preparation: Preparation) -> list[Part]:
    """The parts that are needed to stop pods when nothing else runs."""
    return [part for part in _parts_of_node(preparation) if part.name in ("containerd", "shim-parent")]
