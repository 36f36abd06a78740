"""``kontinuum runtime install`` and ``uninstall``: our shim on anybody's containerd host, and its RuntimeClass."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kontinuum.api.kubernetes.resources import RUNTIMECLASSES
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli.interruption import run
from kontinuum.cli.settings import default_assets_dir
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import process
from kontinuum.foundation.errors import Broken, Refused
from kontinuum.foundation.sockets import listener_of
from kontinuum.runtime import installing
from kontinuum.runtime.installing import File, Place

SYSTEM_UNITS = Path("/etc/systemd/system")


class ProgramsMissing(Broken):
    """The host lacks what machines are made with."""


class BadOption(Refused):
    """An option that cannot be meant; the message says which."""


@dataclass(frozen=True, slots=True)
class Options:
    """See ``cli.runtime.install``."""

    containerd: Path
    handler: str
    directory: Path
    run: Path
    bin: Path
    assets: Path | None
    accelerator: str
    systemd: bool | None

    @property
    def place(self) -> Place:
        with_unit = installing.SYSTEMD.is_dir() if self.systemd is None else self.systemd
        unit = SYSTEM_UNITS / installing.UNIT if with_unit else None
        return Place(self.directory, self.run, self.containerd, self.handler, unit, self.bin)


def install(options: Options, *, dry_run: bool, restart: bool) -> None:
    """Raises ProgramsMissing, BadOption, installing.AssetsMissing, handler.BadContainerdConfig, OSError."""
    if not options.handler.replace("-", "").isalnum() or not options.handler.islower():
        raise BadOption(f"--handler {options.handler}: small letters, digits and hyphens are needed")
    if options.accelerator not in ("", "kvm", "tcg"):
        raise BadOption(f"--accelerator {options.accelerator}: kvm or tcg")
    if missing := installing.missing_programs():
        raise ProgramsMissing(f"not found: {', '.join(missing)}; apt-get install {' '.join(missing.values())}")
    place = options.place
    decided = installing.plan(place, options.assets or default_assets_dir(), accelerator=options.accelerator)
    if dry_run:
        for file in decided.files:
            print(f"would write {file.path} ({_size(file)} bytes)")
        print(f"would link {decided.link[0]} to {decided.link[1]}")
        print(f"would change {decided.containerd.path}:")
        print(_difference(decided.before or "", str(decided.containerd.content)), end="")
        return
    for path in installing.carry_out(decided):
        print(f"wrote {path}")
    run(_start(place, restart=restart))


async def _start(place: Place, *, restart: bool) -> None:
    if place.unit is not None:
        await process.run("systemctl", "daemon-reload", timeout=60)
        await process.run("systemctl", "enable", installing.UNIT, timeout=60)
        await process.run("systemctl", "restart", installing.UNIT, timeout=120)
        print(f"{installing.UNIT} runs")
    else:
        installing.revivable(place)
        print("no systemd here: the first pod starts the warm parent; after a reboot something must start")
        print(f"  {' '.join(installing.parent_command(place))}")
    await _restart_containerd(restart, "knows the handler")


async def _restart_containerd(restart: bool, why: str) -> None:
    if restart:
        await process.run("systemctl", "restart", "containerd", timeout=120)
        print(f"containerd was restarted and {why}")
    else:
        print(f"restart containerd (systemctl restart containerd), so that it {why}; pods go on meanwhile")


def uninstall(directory: Path, *, force: bool, dry_run: bool, restart: bool) -> None:
    """Raises installing.NotInstalled, installing.PodsRun, OSError."""
    notes = installing.find(directory)
    if dry_run:
        print(f"would take the handler {notes.handler} out of {notes.containerd}")
        for path in (notes.link, notes.unit, directory, notes.templates, notes.run):
            print(f"would remove {path}" if path else "", end="\n" if path else "")
        return
    if notes.unit:
        run(_stop_unit())
    for number, path in enumerate(installing.take_out(directory, notes, force=force)):
        if number == 0:
            _stop_parent(Path(notes.run) / "shim.sock")
        print(f"{'changed' if str(path) == notes.containerd else 'removed'} {path}")
    run(_restart_containerd(restart, "forgets the handler"))


async def _stop_unit() -> None:
    with suppress(process.ProgramFailed):
        await process.run("systemctl", "disable", "--now", installing.UNIT, timeout=60)


def _stop_parent(socket: Path) -> None:
    """One that a pod's start has brought up."""
    pid = listener_of(socket)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def runtime_class(handler: str, selectors: Sequence[str]) -> dict[str, Any]:
    """The manifest, with what a machine costs beyond its pod. Raises BadOption."""
    ours = ControllersSettings()
    manifest: dict[str, Any] = {
        "apiVersion": RUNTIMECLASSES.api_version,
        "kind": RUNTIMECLASSES.kind,
        "metadata": {"name": handler},
        "handler": handler,
        "overhead": {"podFixed": {"memory": ours.microvm_overhead_memory, "cpu": ours.microvm_overhead_cpu}},
    }
    labels = [one.partition("=") for one in selectors]
    if bad := [one for one, (_, equals, _) in zip(selectors, labels, strict=True) if not equals]:
        raise BadOption(f"--node-selector {bad[0]}: write NAME=VALUE")
    if labels:
        manifest["scheduling"] = {"nodeSelector": {name: value for name, _, value in labels}}
    return manifest


def print_manifest(manifest: dict[str, Any]) -> None:
    print(yaml.safe_dump(manifest, sort_keys=False), end="")


def apply(manifest: dict[str, Any], file: Path) -> None:
    """Create the RuntimeClass; one that is there stays. Raises ApiError, kubeconfig.BadKubeconfig."""
    from kontinuum.client import kubeconfig
    from kontinuum.client.connect import connect

    async def main() -> None:
        client = connect(kubeconfig.load(file), user_agent="kontinuum-runtime")
        try:
            await client.create(RUNTIMECLASSES, manifest)
            print(f"created RuntimeClass {manifest['metadata']['name']}")
        except ApiError as error:
            if not error.is_already_exists:
                raise
            print(f"RuntimeClass {manifest['metadata']['name']} is there already")
        finally:
            await client.close()

    run(main())


def _size(file: File) -> int:
    return file.content.stat().st_size if isinstance(file.content, Path) else len(file.content)


def _difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), "now", "then")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
