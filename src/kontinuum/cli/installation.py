"""Where one installation keeps its things: everything follows from its data directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kontinuum.node.settings import instance_of

RUN_MODE = 0o711
"""Of ``run``: a pod with users of its own passes through it to its root, and can list nothing on its way. What is
secret in it is closed by itself."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Paths. Data survives a reboot; ``run`` and ``templates`` do not, they are on a tmpfs."""

    data: Path

    @classmethod
    def at(cls, data_dir: Path) -> Installation:
        return cls(data_dir.absolute())

    @property
    def instance(self) -> str:
        """Eight hex digits that tell the installations of one machine apart."""
        return instance_of(str(self.data))

    @property
    def run(self) -> Path:
        """Sockets and state of what runs. Short, because UNIX sockets' paths must be."""
        return Path("/run/kontinuum") / self.instance

    @property
    def templates(self) -> Path:
        """Memory of template machines."""
        return Path("/dev/shm") / f"kontinuum-{self.instance}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.data / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def front_proxy(self) -> Path:
        """The authority of front proxies. Another than the clients', or every client could speak for everybody."""
        return self.pki / "front-proxy"

    @property
    def store(self) -> Path:
        return self.data / "store.db"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def settings_file(self) -> Path:
        """Read if it exists and no other file is named."""
        return self.data / "settings.yaml"

    @property
    def membership(self) -> Path:
        """What this machine was told when it joined another's cluster; there is none where it has its own."""
        return self.data / "membership.json"

    @property
    def state(self) -> Path:
        """What the supervisor writes about itself and its parts."""
        return self.run / "state.json"

    @property
    def told(self) -> Path:
        """The settings that the supervisor was told, or the API server where that runs alone."""
        return self.run / "settings.json"

    @property
    def api_socket(self) -> Path:
        """Where the API server listens for this machine's own parts."""
        return self.run / "api.sock"

    @property
    def api_tokens(self) -> Path:
        """By which they say there who they are."""
        return self.run / "api-tokens.csv"

    @property
    def shim_socket(self) -> Path:
        return self.run / "shim.sock"

    @property
    def runtime_config(self) -> Path:
        return self.run / "runtime.json"
