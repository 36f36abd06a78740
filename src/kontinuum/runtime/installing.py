"""The shim as a product of its own: all that a containerd host needs to run pods as machines, put in and taken out.

    DIRECTORY/bin/       the shim's client (and beside it the name of its parent's socket), the jail
    DIRECTORY/guest/     the guest's kernel, initramfs and agent
    DIRECTORY/images/    block images made of container images, as pods need them
    DIRECTORY/runtime.json, installed.json
    BIN/containerd-shim-kontinuum-v1: a link, because containerd before 1.7 looks for shims on its PATH alone
    containerd's configuration: the handler          systemd, where it is: the warm parent's unit

``plan`` says what is to be written, ``carry_out`` writes it; a second installation over the first changes what differs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kontinuum.foundation import files, process
from kontinuum.foundation.errors import Broken, Refused
from kontinuum.runtime.handler import Handler, imported, replaces_the_cri, with_handler, without_handler
from kontinuum.runtime.settings import RuntimeSettings

CLIENT = "containerd-shim-kontinuum-v1"
PROGRAMS = (CLIENT, "kontinuum-jail", "readonly.so")
GUEST = ("vmlinux", "initramfs.cpio", "agent", "version")
NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "mkfs.erofs": "erofs-utils", "mkfs.ext4": "e2fsprogs"}
"""Programs of the host, and Debian's packages that have them."""
UNIT = "kontinuum-runtime.service"
SYSTEMD = Path("/run/systemd/system")
"""There while systemd is the host's first process."""


class AssetsMissing(Broken):
    """What is to be installed has not been made."""


class PodsRun(Refused):
    """Machines of pods are running, and need what would be removed."""


class LinkTaken(Refused):
    """Somebody's file is where our link must be."""


class NotInstalled(Refused):
    """There is nothing to take out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation goes."""

    directory: Path
    run: Path
    containerd: Path
    """containerd's configuration file."""
    handler: str
    unit: Path | None
    """The unit's file; None without systemd."""
    bin: Path
    """A directory on containerd's PATH."""

    @property
    def link(self) -> Path:
        return self.bin / CLIENT

    @property
    def settings_file(self) -> Path:
        return self.directory / "runtime.json"

    @property
    def program(self) -> Path:
        return self.directory / "bin" / CLIENT

    @property
    def notes(self) -> Path:
        return self.directory / "installed.json"


class Notes(msgspec.Struct, frozen=True):
    """What has to be known to take an installation out again."""

    containerd: str
    """The file that got the handler."""
    is_new: bool
    """Whether that file was not there before us."""
    handler: str
    run: str
    templates: str
    link: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """One file to be written: its content, or the file that is copied."""

    path: Path
    content: str | bytes | Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an installation writes, in this order: containerd learns of us last."""

    files: tuple[File, ...]
    containerd: File
    before: str | None
    """containerd's configuration as it is; None if there is none."""
    link: tuple[Path, Path]
    """Where the link is, and where it leads."""


def settings_of(place: Place, *, accelerator: str) -> RuntimeSettings:
    """The runtime's settings for an installation."""
    return msgspec.convert(
        {
            "assets_dir": str(place.directory),
            "run_dir": str(place.run),
            "templates_dir": f"/dev/shm/kontinuum-{place.run.name}",
            "images_dir": str(place.directory / "images"),
            "log_file": str(place.directory / "shim.log"),
            "accelerator": accelerator,
        },
        RuntimeSettings,
    )


def parent_command(place: Place) -> list[str]:
    """What the warm parent is started by."""
    return [sys.executable, "-P", "-m", "kontinuum.cli.run", "shim-parent", "--config", str(place.settings_file)]


def unit_text(place: Place) -> str:
    """The warm parent for systemd. Its children are the pods' shims, and outlive it."""
    return f"""[Unit]
Description=Kontinuum: the warm parent of microVM shims
Documentation=https://containerd.io/docs/
Before=containerd.service kubelet.service

[Service]
Type=notify
ExecStart={" ".join(parent_command(place))}
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
"""


def plan(place: Place, assets: Path, *, accelerator: str) -> Plan:
    """What is to be written. Raises AssetsMissing, handler.BadContainerdConfig, OSError."""
    needed = [assets / "bin" / name for name in PROGRAMS] + [assets / "guest" / name for name in GUEST]
    if missing := [str(one) for one in needed if not one.exists()]:
        raise AssetsMissing(f"not there: {', '.join(missing)}; make them: make assets")
    target = containerd_file(place.containerd)
    before = target.read_text() if target.exists() else None
    handler = Handler(place.handler, place.program, place.settings_file)
    notes = Notes(
        str(target),
        before is None or _was_new(place),
        place.handler,
        str(place.run),
        settings_of(place, accelerator=accelerator).templates_dir,
        str(place.link),
        str(place.unit or ""),
    )
    if place.link.exists() and not place.link.is_symlink():
        raise LinkTaken(f"{place.link}: a file of this name is there, and not a link of ours: choose another --bin-dir")
    copied = [File(place.directory / one.parent.name / one.name, one, 0o755) for one in needed[: len(PROGRAMS)]]
    copied += [File(place.directory / "guest" / one.name, one) for one in needed[len(PROGRAMS) :]]
    written = [
        File(place.program.with_name(f"{CLIENT}.socket"), f"{place.run / 'shim.sock'}\n"),
        File(
            place.settings_file, msgspec.json.format(msgspec.json.encode(settings_of(place, accelerator=accelerator)))
        ),
        File(place.notes, msgspec.json.encode(notes)),
    ]
    units = [File(place.unit, unit_text(place))] if place.unit else []
    link = (place.link, place.program)
    return Plan((*copied, *written, *units), File(target, with_handler(before, handler)), before, link)


def containerd_file(main: Path) -> Path:
    """Where the CRI is configured: the file itself, or the last that it imports with a section of its own."""
    if not main.exists():
        return main
    others = [one for one in imported(main.read_text(), main.parent) if replaces_the_cri(one.read_text())]
    return others[-1] if others else main


def missing_programs() -> dict[str, str]:
    """Programs that pods will need and that this host lacks, with the package that has each."""
    return {name: package for name, package in NEEDED.items() if process.find_program(name) is None}


def carry_out(decided: Plan) -> list[Path]:
    """Write what differs; answers the files that changed. Raises OSError."""
    changed = [one.path for one in decided.files if _write(one)]
    link, program = decided.link
    if not (link.is_symlink() and link.readlink() == program):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
        changed.append(link)
    if decided.containerd.content != decided.before:
        _write(decided.containerd)
        changed.append(decided.containerd.path)
    return changed


def revivable(place: Place) -> None:
    """Let the shim's client start the warm parent when the first pod comes. Holds until the host reboots."""
    place.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [*parent_command(place), "--transient"]
    files.replace_file(place.run / "shim.sock.start", b"".join(word.encode() + b"\0" for word in words))


def find(directory: Path) -> Notes:
    """What was noted by an installation. Raises NotInstalled."""
    try:
        return msgspec.json.decode((directory / "installed.json").read_bytes(), type=Notes)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise NotInstalled(f"{directory}: no runtime is installed here") from error


def take_out(directory: Path, notes: Notes, *, force: bool) -> Iterator[Path]:
    """Remove an installation, containerd's part first; yields what goes, as it goes. Raises PodsRun, OSError."""
    running = list((Path(notes.run) / "vm").glob("*"))
    if running and not force:
        raise PodsRun(f"{len(running)} pods run as machines here: delete them first, or say --force")
    config = Path(notes.containerd)
    if config.exists():
        left = without_handler(config.read_text())
        if notes.is_new and left.strip() == "version = 2":
            config.unlink()
        else:
            files.write_atomic(config, left, mode=config.stat().st_mode & 0o777)
        yield config
    link = Path(notes.link)
    if link.is_symlink() and link.readlink().is_relative_to(directory):
        link.unlink()
        yield link
    if notes.unit:
        Path(notes.unit).unlink(missing_ok=True)
        yield Path(notes.unit)
    for path in (directory, Path(notes.templates), Path(notes.run)):
        if path.is_dir():
            shutil.rmtree(path)
            yield path


def _was_new(place: Place) -> bool:
    try:
        return find(place.directory).is_new
    except NotInstalled:
        return False


def _write(one: File) -> bool:
    one.path.parent.mkdir(parents=True, exist_ok=True)
    content = one.content.read_bytes() if isinstance(one.content, Path) else one.content
    mode = one.path.stat().st_mode & 0o777 if one.path.exists() and one.mode == 0o644 else one.mode
    return files.write_if_changed(one.path, content, mode=mode)
