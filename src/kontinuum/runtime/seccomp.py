"""Seccomp profiles, as the OCI runtime specification words them, to programs for the guest's kernel. Pure.

containerd writes the profile into each container's specification: its own default one for the container's capabilities
(``RuntimeDefault``), or a file of the node's (``Localhost``). What runc would have the host's kernel do, the agent has
the machine's kernel do; libseccomp and runc are followed where the specification leaves something open:

- Names that no call has are passed over: profiles name calls of many processors and kernels.
- A rule without conditions counts before those with conditions for the same call.
- Where what is not named is refused, calls beyond the last that is named do not exist (ENOSYS): a C library that tries
  a newer call then goes on with an older one, while EPERM would stop it.

The program looks for the call's number by halving: when it is loaded the kernel runs it once for each number there is,
and hundreds of comparisons each would be felt in a machine without hardware's help.

Source: https://github.com/opencontainers/runtime-spec, config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kontinuum.foundation.errors import Refused
from kontinuum.runtime.system_calls import I386, MULTIPLEXED, X86_64

INSTRUCTION = struct.Struct("<HBBI")
"""struct sock_filter: code, how far to jump if true, if false, and a number."""
MOST_INSTRUCTIONS = 4096
"""The kernel's BPF_MAXINSNS."""
X32_BIT = 0x40000000
"""Set in the numbers of a third way to call, which the guest's kernel does not offer."""
NUMBER_AT, PROCESSOR_AT, ARGUMENTS_AT = 0, 4, 16
"""Where in struct seccomp_data."""
ARGUMENTS = 6

_LOAD, _AND, _JUMP, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
_NEAR = 255
_AUDIT_X86_64, _AUDIT_I386 = 0xC000003E, 0x40000003
_KILL, _ERRNO = 0x00000000, 0x00050000
_ACTIONS = {
    "SCMP_ACT_KILL": _KILL,
    "SCMP_ACT_KILL_THREAD": _KILL,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_FLAGS = {
    # One process with one thread loads it: there is nobody to be in step with.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_NO_SUCH_CALL = _ERRNO | errno.ENOSYS


class ProfileRefused(Refused):
    """The profile says something that no program can be made of; the message says what."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What the agent gives to seccomp(2). Without instructions: nothing is filtered."""

    program: bytes = b""
    flags: int = 0


NO_FILTER = Filter()


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of an argument of the call. For ``MASKED_EQ``, ``value`` is the mask."""

    argument: int
    operator: str
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a call of which all ``conditions`` hold."""

    conditions: tuple[Condition, ...]
    action: int


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    number: int = 0
    true: str = ""
    """Where a comparison goes on: "" the next instruction, "yes" behind the condition, "no" behind the rule."""
    false: str = ""


@dataclass(frozen=True, slots=True)
class _Processor:
    audit: int
    calls: Mapping[str, int]
    multiplexed: Mapping[str, tuple[str, int]]
    is_wide: bool
    """Whether arguments have 64 bits."""


_PROCESSORS = {
    "SCMP_ARCH_X86_64": _Processor(_AUDIT_X86_64, X86_64, {}, is_wide=True),
    "SCMP_ARCH_X86": _Processor(_AUDIT_I386, I386, MULTIPLEXED, is_wide=False),
}


def compile_profile(profile: Mapping[str, Any] | None) -> Filter:
    """The filter of ``linux.seccomp``; None is no filter. Raises ProfileRefused."""
    if not profile:
        return NO_FILTER
    if profile.get("listenerPath"):
        raise ProfileRefused("seccomp: listenerPath: nobody outside the machine can be asked about calls inside it")
    wanted = set(profile.get("architectures") or ()) | {"SCMP_ARCH_X86_64"}
    program = _load(PROCESSOR_AT)
    for name, processor in _PROCESSORS.items():
        if name in wanted:
            program += _if_equal(processor.audit, _load(NUMBER_AT) + _search(_pieces(profile, processor)))
    program += _return(_KILL)
    count = len(program) // INSTRUCTION.size
    if count > MOST_INSTRUCTIONS:
        raise ProfileRefused(
            f"seccomp: the profile makes a program of {count} instructions; the kernel takes {MOST_INSTRUCTIONS}"
        )
    return Filter(program, _flags(profile.get("flags") or ()))


def _flags(names: Iterable[str]) -> int:
    flags = 0
    for name in names:
        if name not in _FLAGS:
            raise ProfileRefused(f"seccomp: flags: {name} is not known")
        flags |= _FLAGS[name]
    return flags


# -- what the profile says


def action_of(name: str, number: int | None, *, path: str) -> int:
    """What a filter returns for it. Raises ProfileRefused."""
    if name not in _ACTIONS:
        known = ", ".join(_ACTIONS)
        raise ProfileRefused(f"seccomp: {path}: {name!r} cannot be done in a machine; known are {known}")
    return _ACTIONS[name] | ((errno.EPERM if number is None else number) & 0xFFFF if name in _WITH_NUMBER else 0)


def rules_of(profile: Mapping[str, Any], calls: Mapping[str, int], multiplexed: Mapping[str, tuple[str, int]]) -> (
    dict[int, list[Rule]]
):  # fmt: skip
    """The rules that differ from the default, by the call's number. Raises ProfileRefused."""
    rules: dict[int, list[Rule]] = {}
    default = _default_of(profile)
    for index, said in enumerate(profile.get("syscalls") or ()):
        path = f"syscalls[{index}]"
        action = action_of(said.get("action", ""), said.get("errnoRet"), path=f"{path}.action")
        if action == default:
            continue
        sets = _condition_sets(said.get("args") or (), path=f"{path}.args")
        for name in said.get("names") or ():
            if name in calls:
                rules.setdefault(calls[name], []).extend(Rule(conditions, action) for conditions in sets)
            if name in multiplexed and sets == [()]:
                call, first = multiplexed[name]
                # The low half: ipc(2) keeps a version in the other.
                meant = Condition(0, "SCMP_CMP_MASKED_EQ", 0xFFFF, first)
                rules.setdefault(calls[call], []).append(Rule((meant,), action))
    return rules


def _default_of(profile: Mapping[str, Any]) -> int:
    return action_of(profile.get("defaultAction", ""), profile.get("defaultErrnoRet"), path="defaultAction")


def _condition_sets(arguments: Iterable[Mapping[str, Any]], *, path: str) -> list[tuple[Condition, ...]]:
    """Of which any must hold as a whole. Several conditions on one argument are alternatives, as runc has it."""
    conditions = tuple(_condition(one, path=f"{path}[{index}]") for index, one in enumerate(arguments))
    if len({one.argument for one in conditions}) < len(conditions):
        return [(one,) for one in conditions]
    return [conditions]


def _condition(said: Mapping[str, Any], *, path: str) -> Condition:
    index, operator = said.get("index", 0), said.get("op", "")
    if not 0 <= index < ARGUMENTS:
        raise ProfileRefused(f"seccomp: {path}.index: {index}; a call has arguments 0 to {ARGUMENTS - 1}")
    if operator not in _COMPARISONS and operator != "SCMP_CMP_MASKED_EQ":
        raise ProfileRefused(f"seccomp: {path}.op: {operator!r} is not known")
    return Condition(index, operator, said.get("value", 0), said.get("valueTwo", 0))


def _pieces(profile: Mapping[str, Any], processor: _Processor) -> list[tuple[int, bytes]]:
    """(first number, what is done with calls from there on), in the order of numbers, neighbours different."""
    rules = rules_of(profile, processor.calls, processor.multiplexed)
    default = _return(_default_of(profile))
    named = [processor.calls[name] for name in _names(profile) if name in processor.calls]
    is_strict = profile["defaultAction"] not in _PERMISSIVE
    beyond = max(named, default=-1) + 1 if is_strict else X32_BIT
    ends = {number: _leaf(found, default, is_wide=processor.is_wide) for number, found in rules.items()}
    pieces = [(0, ends.get(0, default))] if beyond else []
    for number in sorted({one for known in rules for one in (known, known + 1) if 0 < one < beyond}):
        code = ends.get(number, default)
        if code != pieces[-1][1]:
            pieces.append((number, code))
    return [*pieces, (beyond, _return(_NO_SUCH_CALL))]


def _names(profile: Mapping[str, Any]) -> Iterable[str]:
    return (name for said in profile.get("syscalls") or () for name in said.get("names") or ())


# -- the program


def _emit(code: int, number: int = 0, *, true: int = 0, false: int = 0) -> bytes:
    return INSTRUCTION.pack(code, true, false, number)


def _load(offset: int) -> bytes:
    return _emit(_LOAD, offset)


def _return(action: int) -> bytes:
    return _emit(_RETURN, action)


def _length(code: bytes) -> int:
    return len(code) // INSTRUCTION.size


def _if_equal(number: int, then: bytes) -> bytes:
    """``then`` never comes out at its end, so that what follows it is for other numbers. It may be of any length."""
    return _emit(_EQUAL, number, true=1) + _emit(_JUMP, _length(then)) + then


def _search(pieces: list[tuple[int, bytes]]) -> bytes:
    if len(pieces) == 1:
        return pieces[0][1]
    middle = len(pieces) // 2
    below, above = _search(pieces[:middle]), _search(pieces[middle:])
    first = pieces[middle][0]
    if _length(below) <= _NEAR:
        return _emit(_AT_LEAST, first, true=_length(below)) + below + above
    return _emit(_AT_LEAST, first, false=1) + _emit(_JUMP, _length(below)) + below + above


def _leaf(rules: list[Rule], default: bytes, *, is_wide: bool) -> bytes:
    for rule in rules:
        if not rule.conditions:
            return _return(rule.action)
    return b"".join(_rule(rule, is_wide=is_wide) for rule in rules) + default


def _rule(rule: Rule, *, is_wide: bool) -> bytes:
    """Falls out at its end when a condition does not hold."""
    code = _return(rule.action)
    for condition in reversed(rule.conditions):
        code = _placed(_comparison(condition, is_wide=is_wide), rest=_length(code)) + code
    return code


def _placed(block: list[_Instruction], *, rest: int) -> bytes:
    def distance(at: int, label: str) -> int:
        return {"": 0, "yes": len(block) - at - 1, "no": len(block) - at - 1 + rest}[label]

    return b"".join(
        _emit(one.code, one.number, true=distance(at, one.true), false=distance(at, one.false))
        for at, one in enumerate(block)
    )


_COMPARISONS = {
    # Of the low half, once the high halves are equal: what decides, and where a true and a false comparison lead.
    "SCMP_CMP_EQ": (_EQUAL, "yes", "no"),
    "SCMP_CMP_NE": (_EQUAL, "no", "yes"),
    "SCMP_CMP_GT": (_GREATER, "yes", "no"),
    "SCMP_CMP_GE": (_AT_LEAST, "yes", "no"),
    "SCMP_CMP_LT": (_AT_LEAST, "no", "yes"),
    "SCMP_CMP_LE": (_GREATER, "no", "yes"),
}
_IF_HIGHER = {"SCMP_CMP_EQ": ("no", "no"), "SCMP_CMP_NE": ("yes", "yes"), "SCMP_CMP_GT": ("yes", "no"),
              "SCMP_CMP_GE": ("yes", "no"), "SCMP_CMP_LT": ("no", "yes"), "SCMP_CMP_LE": ("no", "yes")}  # fmt: skip
"""Whether the condition holds when the argument's high half is greater, and when it is less."""


def _comparison(condition: Condition, *, is_wide: bool) -> list[_Instruction]:
    low_at = ARGUMENTS_AT + 8 * condition.argument
    if condition.operator == "SCMP_CMP_MASKED_EQ":
        low = _masked(low_at, condition.value & 0xFFFFFFFF, condition.second & 0xFFFFFFFF, "yes")
        return [*(_masked(low_at + 4, condition.value >> 32, condition.second >> 32, "") if is_wide else ()), *low]
    code, true, false = _COMPARISONS[condition.operator]
    low = [_Instruction(_LOAD, low_at), _Instruction(code, condition.value & 0xFFFFFFFF, true, false)]
    if not is_wide:
        return low
    high = condition.value >> 32
    greater, less = _IF_HIGHER[condition.operator]
    return [
        _Instruction(_LOAD, low_at + 4),
        _Instruction(_GREATER, high, greater, ""),
        _Instruction(_EQUAL, high, "", less),
        *low,
    ]


def _masked(at: int, mask: int, wanted: int, then: str) -> list[_Instruction]:
    return [_Instruction(_LOAD, at), _Instruction(_AND, mask), _Instruction(_EQUAL, wanted, then, "no")]
