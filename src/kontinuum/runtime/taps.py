"""Tap devices: a network card's host side, as a descriptor for the VMM. A tap lives as long as a descriptor of it.

One that is opened ``apart`` stands in a network namespace of its own that nobody else will ever see. When the pod is
known it can be moved to the pod's: the machine that has it does not notice. One that is ``named`` is opened by its VMM,
which is in that namespace, and stays until it is removed or its namespace ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.network_namespace import inside
from kontinuum.runtime.netlink import Netlink

NAME = "kontinuum0"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_TAP, _NO_PACKET_INFO, _VNET_HEADER = 0x0002, 0x1000, 0x4000
_CLONE_NEWNET = 0x40000000


class NoNamespace(Retryable):
    """No network namespace could be made for a tap; are we root?"""


def open_here() -> int:
    """A tap in the network namespace of this thread; the caller closes it. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", NAME.encode(), _TAP | _NO_PACKET_INFO | _VNET_HEADER)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True, slots=True)
class Apart:
    """A tap and the network namespace that it was made in."""

    descriptor: int | None
    """None of one that its VMM opens by name."""
    namespace: int

    @property
    def open_descriptor(self) -> int:
        """Of one that we opened."""
        assert self.descriptor is not None
        return self.descriptor

    def move(self, namespace: Path) -> None:
        """Into ``namespace``, where it must be switched on again, in place of one that an earlier machine of that pod
        left there. Raises OSError, NetlinkFailed."""
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with inside(namespace), Netlink() as netlink:
                for left in (link for link in netlink.links() if link.name == NAME):
                    netlink.delete(left.index)
            with inside(Path(f"/proc/self/fd/{self.namespace}")), Netlink() as netlink:
                tap = next(link for link in netlink.links() if link.name == NAME)
                netlink.move(tap.index, namespace=there)
        finally:
            os.close(there)

    def close(self) -> None:
        """Give both back. The tap stays as long as a VMM, or a copy of the descriptor, is there. Once."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        os.close(self.namespace)


def open_apart() -> Apart:
    """A tap in a network namespace of its own. Raises NoNamespace."""
    return _apart(open_here)


def name_apart(*, owner: int) -> Apart:
    """A tap that the user ``owner`` may open by its ``NAME``, in a network namespace of its own. Raises NoNamespace."""

    def name() -> None:
        descriptor = open_here()
        try:
            fcntl.ioctl(descriptor, _TUNSETOWNER, owner)
            fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        finally:
            os.close(descriptor)

    return _apart(name)


def _apart(open_tap: Callable[[], int | None]) -> Apart:
    made: list[Apart] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) == 0:  # of this thread alone
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            with suppress(OSError):
                made.append(Apart(open_tap(), namespace))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise NoNamespace("making a network namespace for a tap failed; are we root?")
    return made[0]
