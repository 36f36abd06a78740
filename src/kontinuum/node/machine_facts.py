"""Reads what the Node object says about this machine."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from kontinuum.foundation import processor
from kontinuum.node.eviction.signals import pids
from kontinuum.node.port import Features
from kontinuum.node.registration import MachineFacts
from kontinuum.node.settings import NodeSettings


def read(settings: NodeSettings, runtime: str, features: Features) -> MachineFacts:
    """``runtime`` is the container runtime's ``name://version``, ``features`` what it says that it can do."""
    hostname = socket.gethostname()
    name = settings.name or hostname.lower()
    return MachineFacts(
        name=name,
        address=settings.address or default_address(),
        hostname=name,
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=shutil.disk_usage(settings.data).total,
        processes=pids().capacity,
        architecture=processor.architecture(),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_first_line("/etc/machine-id"),
        system_uuid=_first_line("/sys/class/dmi/id/product_uuid") or _first_line("/etc/machine-id"),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        runtime=runtime,
        features=features,
    )


def default_address() -> str:
    """The source address of the default route; the loopback's where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket chooses a route and sends nothing (TEST-NET-3, RFC 5737).
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
