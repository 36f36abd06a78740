"""A program (``python -m kontinuum.runtime.vmm.kvm_loop``): does KVM run ordinary guest code at an ordinary speed here?

It makes a virtual machine of one page of code that counts 1,000,000 down in 64-bit mode and halts, and gives it 50 ms.
Where KVM is real that takes a millisecond; where it is emulated or broken, the loop does not end in time. That
``/dev/kvm`` exists, or that a single ``hlt`` works, proves neither. Numbers and layouts are those of Linux'
Documentation/virt/kvm/api.rst and arch/x86/include/uapi/asm/kvm.h.

Prints one line and exits 0 (fast) or 1 (not). Be ready to kill it: a broken KVM may never return.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
import time

ITERATIONS = 1_000_000
PATIENCE_SECONDS = 0.05
MEMORY = 4 << 20
CODE_AT, STACK_AT = 0x10000, 0x20000

KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_TSS_ADDR = 0xAE47
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_EXIT_HLT = 5
EXIT_REASON_AT = 8
SREGS_SIZE = 312

# mov ecx, ITERATIONS; again: dec ecx; jnz again; hlt
LOOP = b"\xb9" + struct.pack("<I", ITERATIONS) + b"\xff\xc9\x75\xfc\xf4"
# base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding: struct kvm_segment
SEGMENT = struct.Struct("<QIHBBBBBBBBBB")
CODE_SEGMENT = SEGMENT.pack(0, 0xFFFFFFFF, 8, 11, 1, 0, 0, 1, 1, 1, 0, 0, 0)
DATA_SEGMENT = SEGMENT.pack(0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
# cr0: paging and protection; cr4: physical address extension; efer: long mode enabled and active.
CR0, CR3, CR4, EFER = 0x80050033, 0x2000, 0x20, 0x500
SREGS_CONTROL_AT = 224
"""Offset of cr0 in struct kvm_sregs: eight segments of 24 bytes and two tables of 16 come before it."""

_libc = ctypes.CDLL(None, use_errno=True)


def _ioctl(descriptor: int, request: int, argument: object = 0) -> int:
    # Not fcntl.ioctl: it refuses arguments above 2**31, such as the address that KVM_SET_TSS_ADDR wants.
    value = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    answer: int = _libc.ioctl(descriptor, ctypes.c_ulong(request), value)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def _page_tables(memory: mmap.mmap) -> None:
    """Map the first 4 MiB onto themselves with two large pages."""
    for address, entry in ((0x2000, 0x3003), (0x3000, 0x4003), (0x4000, 0x83), (0x4008, 0x200083)):
        struct.pack_into("<Q", memory, address, entry)


def _enter_long_mode(cpu: int) -> None:
    registers = ctypes.create_string_buffer(SREGS_SIZE)
    _ioctl(cpu, KVM_GET_SREGS, registers)
    struct.pack_into("24s24s24s24s24s24s", registers, 0, CODE_SEGMENT, *[DATA_SEGMENT] * 5)
    struct.pack_into("<QQQQ", registers, SREGS_CONTROL_AT, CR0, 0, CR3, CR4)
    struct.pack_into("<Q", registers, SREGS_CONTROL_AT + 40, EFER)
    _ioctl(cpu, KVM_SET_SREGS, registers)


def run_loop() -> float | None:
    """Seconds that the loop took, or None if it did not halt in time. Raises OSError where KVM refuses."""
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    machine = _ioctl(kvm, KVM_CREATE_VM)
    _ioctl(machine, KVM_SET_TSS_ADDR, 0xFFFBD000)
    memory = mmap.mmap(-1, MEMORY)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _ioctl(
        machine,
        KVM_SET_USER_MEMORY_REGION,
        ctypes.create_string_buffer(struct.pack("<IIQQQ", 0, 0, 0, MEMORY, address)),
    )
    cpu = _ioctl(machine, KVM_CREATE_VCPU)
    state = mmap.mmap(cpu, _ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE))
    _page_tables(memory)
    memory[CODE_AT : CODE_AT + len(LOOP)] = LOOP
    _enter_long_mode(cpu)
    # struct kvm_regs: sixteen general registers (rsp is the seventh), then rip and rflags.
    registers = struct.pack("<18Q", *[0] * 6, STACK_AT, *[0] * 9, CODE_AT, 2)
    _ioctl(cpu, KVM_SET_REGS, ctypes.create_string_buffer(registers))
    # The handler does nothing: that the signal arrives is what brings KVM_RUN back.
    signal.signal(signal.SIGALRM, lambda *_: None)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        _ioctl(cpu, KVM_RUN)
    except InterruptedError:
        return None
    took = time.monotonic() - began
    (reason,) = struct.unpack_from("<I", state, EXIT_REASON_AT)
    return took if reason == KVM_EXIT_HLT and took <= PATIENCE_SECONDS else None


def main() -> int:
    try:
        took = run_loop()
    except OSError as error:
        print(f"/dev/kvm: {error.strerror}")
        return 1
    if took is None:
        print(f"a loop of {ITERATIONS:,} did not end within {PATIENCE_SECONDS * 1000:.0f} ms under KVM")
        return 1
    print(f"a loop of {ITERATIONS:,} took {took * 1000:.1f} ms under KVM")
    return 0


if __name__ == "__main__":
    sys.exit(main())
