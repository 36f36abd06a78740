"""What a compiled profile does with a call is what the profile says of it, for any profile and any call."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kontinuum.runtime.seccomp import INSTRUCTION, Filter, ProfileRefused, compile_profile
from kontinuum.runtime.system_calls import I386, MULTIPLEXED, X86_64

AMD64, I386_CODE, ARM64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def run(filter: Filter, number: int, *arguments: int, processor: int = AMD64) -> int:
    """What the kernel would be answered: classic BPF, as far as filters for calls may use it."""
    data = struct.pack("<IIQ6Q", number, processor, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [INSTRUCTION.unpack_from(filter.program, at) for at in range(0, len(filter.program), INSTRUCTION.size)]
    at = accumulator = 0
    while True:
        operation, true, false, value = code[at]
        at += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x05:
            at += value
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}[operation]
            at += true if holds else false


def meant(profile: dict[str, Any], name: str, arguments: list[int]) -> int:
    """The specification's own words, taken one by one."""
    actions = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_LOG": 0x7FFC0000}

    def action(said: dict[str, Any], key: str, number: str) -> int:
        return actions.get(said[key], 0x00050000 | said.get(number, errno.EPERM))

    default = action(profile, "defaultAction", "defaultErrnoRet")
    rules = [
        one for one in profile["syscalls"] if name in one["names"] and action(one, "action", "errnoRet") != default
    ]
    for rule in rules:
        if not rule["args"]:
            return action(rule, "action", "errnoRet")
    for rule in rules:
        held = [holds(one, arguments[one["index"]]) for one in rule["args"]]
        alternatives = len({one["index"] for one in rule["args"]}) < len(rule["args"])
        if any(held) if alternatives else all(held):
            return action(rule, "action", "errnoRet")
    named = [X86_64[one] for rule in profile["syscalls"] for one in rule["names"] if one in X86_64]
    is_strict = profile["defaultAction"] not in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    return ENOSYS if is_strict and X86_64[name] > max(named, default=-1) else default


def holds(said: dict[str, Any], argument: int) -> bool:
    value = said["value"]
    return {
        "SCMP_CMP_EQ": argument == value, "SCMP_CMP_NE": argument != value, "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_GE": argument >= value, "SCMP_CMP_LT": argument < value, "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_MASKED_EQ": argument & value == said["valueTwo"],
    }[said["op"]]  # fmt: skip


NAMES = ["read", "write", "clone", "mkdir", "socket", "personality", "clone3", "futex_waitv", "not_a_call"]
WORDS = some.sampled_from([0, 1, 2, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (5 << 32) + 7, (1 << 64) - 1])
OPERATORS = [f"SCMP_CMP_{name}" for name in ("EQ", "NE", "GT", "GE", "LT", "LE", "MASKED_EQ")]
CONDITIONS = some.fixed_dictionaries(
    {"index": some.integers(0, 5), "op": some.sampled_from(OPERATORS), "value": WORDS, "valueTwo": WORDS}
)
ACTIONS = some.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"])
RULES = some.fixed_dictionaries(
    {"names": some.lists(some.sampled_from(NAMES), min_size=1, max_size=4), "action": ACTIONS,
     "args": some.lists(CONDITIONS, max_size=4)},
    optional={"errnoRet": some.sampled_from([1, 38, 95])},
)  # fmt: skip
PROFILES = some.fixed_dictionaries({"defaultAction": ACTIONS, "syscalls": some.lists(RULES, max_size=6)})


@given(PROFILES, some.sampled_from([*NAMES[:-1], "brk", "cachestat"]), some.lists(WORDS, min_size=6, max_size=6))
def test_a_call_meets_what_the_profile_says_of_it(profile: dict[str, Any], name: str, arguments: list[int]) -> None:
    assert run(compile_profile(profile), X86_64[name], *arguments) == meant(profile, name, arguments)


@given(PROFILES, some.integers(0x40000000, 0xFFFFFFFF))
def test_no_profile_lets_a_call_in_by_a_third_way(profile: dict[str, Any], number: int) -> None:
    """The numbers of x32: else a call that is forbidden under one number could be made under another."""
    assert run(compile_profile(profile), number) == ENOSYS


def long_list(*, every: int) -> dict[str, Any]:
    names = [name for name, number in X86_64.items() if number % every == 0]
    calls = [{"names": names, "action": "SCMP_ACT_ALLOW"}]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": calls,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    }


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_each_of_many_calls_is_told_from_its_neighbours(every: int) -> None:
    """Long programs have jumps that are too far for one instruction."""
    filter = compile_profile(long_list(every=every))
    allowed = {number for number in X86_64.values() if number % every == 0}
    for number in range(max(allowed) + 1):
        assert run(filter, number) == (ALLOW if number in allowed else EPERM), number
    assert run(filter, max(allowed) + 1) == ENOSYS


def test_programs_of_32_bits_meet_their_own_numbers() -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
               "syscalls": [{"names": ["connect", "shmget"], "action": "SCMP_ACT_ERRNO"}]}  # fmt: skip
    filter = compile_profile(profile)
    assert run(filter, I386["connect"], processor=I386_CODE) == EPERM
    assert run(filter, X86_64["connect"], processor=I386_CODE) == ALLOW
    for name, refused in (("connect", EPERM), ("listen", ALLOW)):
        assert run(filter, I386["socketcall"], MULTIPLEXED[name][1], processor=I386_CODE) == refused
    assert run(filter, I386["ipc"], 23 | 1 << 16, processor=I386_CODE) == EPERM
    assert run(filter, 0, processor=ARM64) == KILL
    only = compile_profile({**profile, "architectures": ["SCMP_ARCH_X86_64"]})
    assert run(only, I386["listen"], processor=I386_CODE) == KILL


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: 'SCMP_ACT_NOTIFY' cannot be done in a machine"),
        ({}, "defaultAction: '' cannot"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "no"}]}, r"\[0\].action: 'no'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["OTHER"]}, "flags: OTHER"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a"}, "listenerPath"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]},
         r"args\[0\].index: 6"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": "~"}]}]}, r"args\[0\].op"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": "SCMP_CMP_EQ"}]}] * 900},
         "instructions; the kernel takes 4096"),
    ],
)  # fmt: skip
def test_what_no_program_can_be_made_of_is_refused(part: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileRefused, match=said):
        compile_profile({"syscalls": [], "unused": 1, **part})


def test_without_a_profile_nothing_is_filtered() -> None:
    assert compile_profile(None) == compile_profile({}) == Filter()


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def test_the_kernel_takes_the_program_and_keeps_to_it() -> None:
    """In a child of our own, because there is no way back."""
    names = [name for name in X86_64 if name not in ("getppid", "clone")]
    calls = [
        {"names": names, "action": "SCMP_ACT_ALLOW"},
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDOM},
    ]
    filter = compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": calls})
    program = _Program(len(filter.program) // INSTRUCTION.size, filter.program)
    library = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        library.prctl(38, 1, 0, 0, 0)
        loaded = library.prctl(22, 2, ctypes.byref(program)) == 0
        refused = library.syscall(X86_64["getppid"]) == -1 and ctypes.get_errno() == errno.EDOM
        os._exit(0 if loaded and refused and library.getpid() > 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
