"""A tap for a VMM that opens it by name, in a network namespace where there is nothing else."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading

from kontinuum.runtime.vmm.firecracker.documents import TAP_NAME, TUN
from kontinuum.runtime.vmm.port import MachineNotStarted

_CLONE_NEWNET = 0x40000000
_SET_INTERFACE, _SET_PERSISTENT, _SET_OWNER = 0x400454CA, 0x400454CB, 0x400454CC
_TAP, _NO_PACKET_INFO, _VNET_HEADER = 0x0002, 0x1000, 0x4000


def make_tap(*, owner: int) -> int:
    """A namespace with the tap ``TAP_NAME``, which the user ``owner`` may open; both live while anybody is in there.

    Answers the namespace's descriptor; the caller closes it. Raises MachineNotStarted.
    """
    made: list[int] = []
    failed: list[OSError] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(_CLONE_NEWNET) != 0:  # of this thread alone
                raise OSError(ctypes.get_errno(), "making a network namespace")
            tap = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                request = struct.pack("16sH22x", TAP_NAME.encode(), _TAP | _NO_PACKET_INFO | _VNET_HEADER)
                fcntl.ioctl(tap, _SET_INTERFACE, request)
                fcntl.ioctl(tap, _SET_OWNER, owner)
                fcntl.ioctl(tap, _SET_PERSISTENT, 1)
            finally:
                os.close(tap)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise MachineNotStarted(f"making a tap for a machine: {failed[0]}; are we root?") from failed[0]
    return made[0]
