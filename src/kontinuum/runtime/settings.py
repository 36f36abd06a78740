"""What an operator may decide about the runtime. Written as JSON to the file that containerd's ``ConfigPath`` names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from kontinuum.foundation.errors import Broken

MEBIBYTE = 1 << 20
STARTS = "machine-starts"
"""Counted together: machines of pods that became ready, by how (``warm``, ``template``, ``cold``)."""
STANDBYS = "warm-machines"
"""Counted together: machines that were ``made`` to wait for a pod, and those of which that ``failed``."""
_NOBODY = (1 << 32) - 1
"""No user: what the kernel takes for "leave it as it is"."""


class SettingsUnreadable(Broken):
    """The runtime's configuration file is missing or says something that no setting is called."""


class RuntimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths are absolute. Sizes are bytes, times seconds."""

    assets_dir: str
    """The guest's kernel, initramfs and agent (``guest/``) and our programs (``bin/``), as ``make assets`` makes."""
    run_dir: str
    """Where running sandboxes keep sockets and records (``vm/<key>/``). On a tmpfs, with a short path."""
    templates_dir: str
    """Memory of template machines; belongs on a tmpfs, because clones map it."""
    images_dir: str
    """Block images made from container images, one per image digest; and what the disks of containers that write over
    them are made of, which is cheapest in the file system of containerd's snapshots."""
    log_file: str = ""
    """The warm parent and every shim append to this file. Empty: standard error."""
    vmm: Literal["auto", "qemu", "firecracker"] = "qemu"
    """Which virtual machine monitor. ``auto``: Firecracker where it is on the PATH, KVM works and no pod may have more
    than 32 CPUs; QEMU elsewhere."""
    machine_disk_bytes_per_second: int = 0
    """What each disk of a machine carries at most, whatever limits its pod has. Firecracker alone holds it; with QEMU
    it is refused. 0: no limit."""
    machine_network_bytes_per_second: int = 0
    """What a machine's network card carries at most in each direction; the rest is as for disks."""
    accelerator: Literal["", "kvm", "tcg"] = ""
    """As probed by who starts us; empty: probe once."""
    default_memory_bytes: int = 128 * MEBIBYTE
    """Memory of a machine whose pod sets no memory limit."""
    guest_memory_bytes: int = 64 * MEBIBYTE
    """Added to a pod's memory limit for the guest's own kernel and agent."""
    maximum_cpus: int = 0
    """No machine gets more virtual CPUs than this. 0: as many as the host has."""
    machine_users: str = "1900000000-1916777215"
    """User numbers of the host that belong to nobody, FIRST-LAST. Every running machine has one of them to itself."""
    volume_copy_limit_bytes: int = 64 * MEBIBYTE
    """A host directory or file that is larger is refused as a volume, because volumes are copied into the machine."""
    volume_refresh_seconds: float = 2.0
    """How often read-only volumes (ConfigMaps, Secrets, tokens) are compared with the host and copied again."""
    clock_check_seconds: float = 30.0
    """How often a guest's clock is compared with the host's, and set if it is more than a second wrong: it does not
    notice that the host's clock was set, or that its machine was stopped."""
    drain_seconds: float = 3.0
    """How long a process's exit is held back for its last output to be taken by containerd."""
    full_disk_seconds: float = 60.0
    """How long a machine stands still when the host has no room for what its containers write over their images. Then
    it is ended: a pod that waits for ever would be worse than one that is started elsewhere. Who writes to a volume is
    told of an error at once, and so is everybody in Firecracker's machines."""
    template_patience_seconds: float = 10.0
    """How long a pod waits for the template of its size to be made before its machine boots cold."""
    warm_machines: int = 1
    """How many machines wait for pods: cloned, rehearsed and paused, so that a pod's start finds done what takes
    longest. They are of the default size until two pods, one after the other, have asked for the same other one. Each
    has some 50 MB of the host's memory to itself; one that was taken is replaced when no pod is starting. 0: none.
    Where nobody keeps the runtime's parent running, there are none either."""
    warm_spare_bytes: int = 1024 * MEBIBYTE
    """Machines wait only on a host with so much memory left; they are ended when half of it is gone."""
    machine_start_seconds: float = 90.0
    """A pod whose machine is not ready by then has failed."""
    clone_agent_seconds: float = 15.0
    """A machine made from a template whose agent has not answered by then is replaced by another."""
    cold_agent_seconds: float = 40.0
    """The same for a machine that boots."""

    @property
    def socket(self) -> Path:
        """Where the warm parent listens for the shim's client."""
        return Path(self.run_dir) / "shim.sock"

    @property
    def user_range(self) -> range:
        """``machine_users``, understood. Raises SettingsUnreadable."""
        first, dash, last = self.machine_users.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < _NOBODY):
            raise SettingsUnreadable(
                f"machine_users: {self.machine_users!r} is no range of user numbers; write FIRST-LAST, from 1 up"
            )
        return range(int(first), int(last) + 1)

    @property
    def users(self) -> Path:
        """Who has which of the users."""
        return Path(self.run_dir) / "users"

    @property
    def warm(self) -> Path:
        """Where machines wait for their pods. In the file system of ``sandboxes``: one is renamed to the other."""
        return Path(self.run_dir) / "warm"

    @property
    def starting(self) -> Path:
        """Held by every shim whose pod is starting."""
        return Path(self.run_dir) / "starting"

    @property
    def sizes(self) -> Path:
        """What size of machine pods have asked for."""
        return Path(self.run_dir) / "sizes.json"

    def tallies(self, name: str) -> Path:
        """Where shims count together."""
        return Path(self.run_dir) / "tallies" / name

    @property
    def sandboxes(self) -> Path:
        """One directory per sandbox is made in here."""
        return Path(self.run_dir) / "vm"


def load(path: Path) -> RuntimeSettings:
    """The settings in the JSON file ``path``. Raises SettingsUnreadable with the reason."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RuntimeSettings)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsUnreadable(f"{path}: {error}") from error
