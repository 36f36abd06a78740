"""Several hosts on one machine, for development and tests: namespaces in which another ``kontinuum node`` runs.

    this machine ── bridge ── wire ── eth0 of a host: own network, mounts, processes, host name; own containerd, agent

              power_on                  pause                      cut
    STOPPED ───────────▶ RUNNING ─────────────▶ PAUSED    RUNNING ─────▶ CUT
       ▲                    │ ▲                    │         ▲            │
       └─── power_off ──────┘ └─────── heal ───────┘         └─── heal ───┘

A host's first process holds its namespaces: when that is killed, the kernel kills everything in them at once, as a
power cut would, and what lay in memory (/run, /dev/shm) is gone. Which state a host is in is read from the kernel.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kontinuum.cli.installation import Installation
from kontinuum.cli.leftovers import remove_cgroups
from kontinuum.cli.logs import open_log
from kontinuum.cli.processes import ProcessId, identify, is_alive
from kontinuum.cli.settings import Settings, derived, from_plain
from kontinuum.foundation import process
from kontinuum.foundation import settings as plain
from kontinuum.foundation.addresses import has_interface
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.files import make_directory, replace_file, write_if_changed

log = structlog.get_logger(__name__)

COMMAND = (sys.executable, "-P", "-c", "from kontinuum.cli.main import main; main()")
NAMESPACES = ("--pid", "--mount", "--net", "--uts")
FIRST_PROCESS = """
trap '' CHLD
hostname "$0"
for directory in /run/kontinuum /run/containerd /dev/shm; do
    mkdir -p $directory && mount -t tmpfs tmpfs $directory || exit 1
done
exec sleep infinity
"""
"""Whoever loses its parent becomes the first process's child; with SIGCHLD ignored nobody stays a zombie."""
FIRST_NAME = "sleep"
START_SECONDS, STOP_SECONDS = 120.0, 90.0
GONE_SECONDS = 10.0
NS_GET_PARENT = 0xB702
"""ioctl_ns(2)."""
OF_NODE = frozenset(
    {
        "data_dir", "run_dir", "name", "address", "listen", "certificate", "key", "client_ca", "runtime_config",
        "shim_socket", "assets_dir", "interface", "pod_cidr", "cluster_cidr", "service_cidrs", "cluster_dns",
    }
)  # fmt: skip
"""Settings of a node that are each host's own, or that it is told when it joins."""
OF_RUNTIME = frozenset({"assets_dir", "run_dir", "templates_dir", "images_dir", "log_file"})
"""The same for the runtime."""


class NoSuchHost(Refused):
    """There is no host of this name; the message says which there are."""


class HostFailed(Retryable):
    """A host could not be started, or does not end."""


class State(enum.StrEnum):
    """What has become of a host."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    CUT = "cut"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host besides this machine, as its record (``DIR/hosts/NAME.json``) has it."""

    name: str
    number: int
    address: str
    prefix: int
    gateway: str
    """This machine's address on the wire."""
    bridge: str
    wire: str
    """The bridge's end of the host's wire."""
    data_dir: str

    @property
    def paths(self) -> Installation:
        return Installation(Path(self.data_dir))


def bridge_of(paths: Installation) -> str:
    return f"kb{paths.instance}"


def table_of(paths: Installation) -> str:
    return f"inet kontinuum_hosts_{paths.instance}"


def planned(settings: Settings) -> list[Host]:
    """The hosts that the settings ask for, this machine left out."""
    paths, wire = settings.installation, settings.hosts
    return [
        Host(
            name=f"{settings.node.name}-{number}",
            number=number,
            address=wire.address_of(number),
            prefix=wire.prefix,
            gateway=wire.address_of(1),
            bridge=bridge_of(paths),
            wire=f"kv{number}x{paths.instance}",
            data_dir=str(paths.data / "hosts" / f"{settings.node.name}-{number}"),
        )
        for number in range(2, wire.count + 1)
    ]


def known(paths: Installation) -> list[Host]:
    """The hosts that were ever made here, in their order."""
    found = [msgspec.json.decode(file.read_bytes(), type=Host) for file in (paths.data / "hosts").glob("*.json")]
    return sorted(found, key=lambda host: host.number)


def find(paths: Installation, name: str) -> Host:
    """Raises NoSuchHost."""
    hosts = known(paths)
    for host in hosts:
        if host.name == name:
            return host
    names = ", ".join(host.name for host in hosts) or "none: kontinuum up --nodes N makes some"
    raise NoSuchHost(f'there is no host "{name}" here; there are {names}. This machine itself is for `kontinuum down`')


def settings_of(host: Host, settings: Settings) -> dict[str, Any]:
    """What the host's own settings file says: whatever its operator, who is this machine's, has decided about nodes."""
    # Beside what would be so on this machine if nobody had decided anything.
    usual = derived(from_plain({"data_dir": str(settings.data_dir), "assets_dir": settings.assets_dir}))
    return {
        "assets_dir": settings.assets_dir,
        "log_level": settings.log_level,
        "node": {**_decided(settings.node, usual.node, OF_NODE), "name": host.name, "address": host.address},
        "runtime": _decided(settings.runtime, usual.runtime, OF_RUNTIME),
    }


def _decided(section: msgspec.Struct, usual: msgspec.Struct, own: frozenset[str]) -> dict[str, Any]:
    """What a section of the settings says that is not usual, and not one host's ``own``."""
    said, default = plain.to_plain(section), plain.to_plain(usual)
    return {name: value for name, value in said.items() if name not in own and value != default[name]}


# -- what is


def first_process(host: Host) -> ProcessId | None:
    """The holder of a host's namespaces; None if the host is off."""
    try:
        pid, started = _record(host).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    holder = ProcessId(int(pid), int(started))
    return holder if is_alive(holder) else None


async def state_of(host: Host) -> State:
    """Read from the kernel."""
    holder = first_process(host)
    if holder is None:
        return State.STOPPED
    if _is_stopped(holder.pid):
        return State.PAUSED
    done = await process.run("ip", "-json", "link", "show", host.wire, check=False)
    links = json.loads(done.stdout or b"[]")
    return State.RUNNING if any("UP" in link.get("flags", ()) for link in links) else State.CUT


def processes(holder: ProcessId) -> list[int]:
    """Every process of a host, those of its containers included, which are in namespaces below its own."""
    target = Path(f"/proc/{holder.pid}/ns/pid").stat().st_ino
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and any(inode == target for inode in _pid_namespaces(entry)):
            found.append(int(entry.name))
    return found


# -- what is done


async def power_on(host: Host, settings: Settings | None, clock: Clock, join: Sequence[str] = ()) -> None:
    """Start a host that is off, and what runs on it; returns when it is ready. A host that is on is only made ready.

    ``join`` is what ``kontinuum node`` is told the first time. ``settings`` None leaves the host's own as they are.
    Raises HostFailed, ProgramFailed, OSError.
    """
    data = make_directory(Path(host.data_dir))
    write_if_changed(data.parent / f"{host.name}.json", msgspec.json.encode(host), mode=0o600)
    if settings is not None:
        document = json.dumps(settings_of(host, settings), indent=2)
        write_if_changed(host.paths.settings_file, document, mode=0o600)
    if first_process(host) is None:
        await _clean(host, clock)
        await _boot(host, clock)
    await inside(host, "node", "--detach", "--data-dir", host.data_dir, *join, timeout=START_SECONDS)


async def inside(host: Host, *arguments: str, timeout: float) -> process.Completed:
    """``kontinuum`` on the host. Raises HostFailed."""
    holder = first_process(host)
    if holder is None:
        raise HostFailed(f"the host {host.name} is off: kontinuum host heal {host.name}")
    # What this machine's environment says about it does not hold for others.
    without = [word for name in os.environ if name.startswith("KONTINUUM_") for word in ("-u", name)]
    command = ("nsenter", "--target", str(holder.pid), *NAMESPACES, "--", "env", *without, *COMMAND, *arguments)
    try:
        return await process.run(*command, timeout=timeout)
    except process.ProgramFailed as error:
        raise HostFailed(f"kontinuum {arguments[0]} on the host {host.name}: {error.stderr or error}") from error


async def power_off(host: Host, clock: Clock) -> None:
    """As if somebody pulled the plug. Raises HostFailed if something of it does not end."""
    holder = first_process(host)
    if holder is not None:
        os.kill(holder.pid, signal.SIGKILL)
        deadline = clock.monotonic() + GONE_SECONDS
        while is_alive(holder):
            if clock.monotonic() > deadline:
                raise HostFailed(f"the processes of the host {host.name} do not end within {GONE_SECONDS:g} s")
            await clock.sleep(0.02)
    _record(host).unlink(missing_ok=True)
    await _clean(host, clock)


async def shut_down(host: Host, clock: Clock) -> None:
    """Stop its pods in order, if they can be, and then switch it off. Raises HostFailed."""
    if await state_of(host) in (State.RUNNING, State.CUT):
        with contextlib.suppress(HostFailed):
            await inside(host, "down", "--data-dir", host.data_dir, timeout=STOP_SECONDS)
    await power_off(host, clock)


async def pause(host: Host, clock: Clock) -> None:
    """Stop every process where it is, the first one last: it shows that all are. Raises HostFailed."""
    holder = _holder(host)
    while running := [pid for pid in processes(holder) if pid != holder.pid and not _is_stopped(pid)]:
        _signal(running, signal.SIGSTOP)
        await clock.sleep(0.01)  # Who is about to start another process has started it by then.
    while not _is_stopped(holder.pid):
        _signal([holder.pid], signal.SIGSTOP)
        await clock.sleep(0.01)


async def cut(host: Host) -> None:
    """Pull the network cable. Raises HostFailed, ProgramFailed."""
    _holder(host)
    await process.run("ip", "link", "set", host.wire, "down")


async def heal(host: Host, clock: Clock) -> None:
    """Undo whatever was done to it. Raises HostFailed."""
    holder = first_process(host)
    if holder is None:
        await power_on(host, None, clock)
        return
    await process.run("ip", "link", "set", host.wire, "up")
    _signal([holder.pid, *processes(holder)], signal.SIGCONT)


async def make_wires(settings: Settings) -> None:
    """The bridge between hosts, and the way from it to the world. Raises ProgramFailed, OSError."""
    paths, wire = settings.installation, settings.hosts
    name = bridge_of(paths)
    if not has_interface(name):
        await process.run("ip", "link", "add", name, "type", "bridge")
    address = f"address replace {wire.address_of(1)}/{wire.prefix} dev {name}"
    await _batch(address, f"link set {name} up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    table = table_of(paths)
    cluster = ", ".join(one for one in (wire.network, *settings.node.cluster_networks) if ":" not in one)
    rules = f"""
add table {table}
delete table {table}
add table {table}
add chain {table} world {{ type nat hook postrouting priority 100; policy accept; }}
add rule {table} world ip saddr {wire.network} ip daddr != {{ {cluster} }} masquerade
"""
    await process.run("nft", "--file", "-", stdin=rules.encode())


async def remove_all(paths: Installation, clock: Clock) -> None:
    """Switch every host off, and take the wires away; what is absent is no error."""
    for host in known(paths):
        await power_off(host, clock)
        with contextlib.suppress(OSError):
            _record(host).parent.rmdir()
    await process.run("ip", "link", "delete", bridge_of(paths), check=False)
    await process.run("nft", "delete", "table", *table_of(paths).split(), check=False)


# -- how


async def _boot(host: Host, clock: Clock) -> None:
    output = open_log(Path(host.data_dir).parent / f"{host.name}.log")
    child = process.spawn(
        "unshare", "--fork", *NAMESPACES, "--propagation", "slave", "--mount-proc",
        "sh", "-c", FIRST_PROCESS, host.name,
        stdout=output, stderr=output,
    )  # fmt: skip
    os.close(output)
    deadline = clock.monotonic() + GONE_SECONDS
    while (pid := _only_child(child.pid)) is None or _name(pid) != FIRST_NAME:
        if not child.is_running() or clock.monotonic() > deadline:
            raise HostFailed(f"the namespaces of the host {host.name} cannot be made; see {host.data_dir}.log")
        await clock.sleep(0.02)
    holder = identify(pid)
    child.close()
    record = _record(host)
    make_directory(record.parent)
    replace_file(record, f"{holder.pid} {holder.started}\n", mode=0o600)
    # Where br_netfilter is loaded, a node port is translated while the packet is still the bridge's. If it leads back
    # to a pod of the host that asks, the bridge has to send it where it came from, which it does only when told to.
    await _batch(
        f"link add {host.wire} type veth peer name eth0 netns {pid}",
        f"link set {host.wire} master {host.bridge} up",
        f"link set {host.wire} type bridge_slave hairpin on",
    )
    lines = (
        "link set lo up", f"address add {host.address}/{host.prefix} dev eth0", "link set eth0 up",
        f"route add default via {host.gateway}",
    )  # fmt: skip
    await process.run("nsenter", "--target", str(pid), "--net", "ip", "-batch", "-", stdin=_lines(lines))


async def _clean(host: Host, clock: Clock) -> None:
    """What a host leaves on this machine when it goes: its end of the wire, its pods' cgroups."""
    await process.run("ip", "link", "delete", host.wire, check=False)
    deadline = clock.monotonic() + GONE_SECONDS
    while not remove_cgroups(host.paths) and clock.monotonic() < deadline:
        await clock.sleep(0.05)  # The kernel still buries who lived there.


def _record(host: Host) -> Path:
    """On a tmpfs: after a reboot of this machine all of its hosts are off."""
    return Path("/run/kontinuum") / f"hosts-{host.bridge}" / host.name


def _holder(host: Host) -> ProcessId:
    holder = first_process(host)
    if holder is None:
        raise HostFailed(f"the host {host.name} is off: kontinuum host heal {host.name}")
    return holder


def _pid_namespaces(entry: Path) -> Iterator[int]:
    """The inode of the process's namespace of processes, then those above it."""
    try:
        descriptor = os.open(entry / "ns" / "pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    while True:
        yield os.fstat(descriptor).st_ino
        try:
            above = fcntl.ioctl(descriptor, NS_GET_PARENT)
        except OSError:
            return  # Ours has none that we may see.
        finally:
            os.close(descriptor)
        descriptor = above


def _only_child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_stopped(pid: int) -> bool:
    """Stopped, or dead: nothing of it goes on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def _batch(*lines: str) -> None:
    await process.run("ip", "-batch", "-", stdin=_lines(lines))


def _lines(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
