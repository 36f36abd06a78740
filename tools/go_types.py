"""The struct types that a Go program carries for reflection: facts about a program, read from the program itself.

Go keeps, for every type that a program may look at while it runs, its name, its fields, their types and their tags
(package ``internal/abi``, ``type.go``). This reads them from a linked, position-dependent ELF program of 64 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BOOL, INTEGERS, FLOATS, MAP, POINTER, SLICE, STRING, STRUCT = 1, range(2, 13), (13, 14), 21, 22, 23, 24, 25
"""Numbers of ``abi.Kind``."""
SIZE = 48
"""Bytes of the part that all types begin with; what follows depends on the kind."""
HAS_UNCOMMON, HAS_STAR, IS_NAMED = 1, 2, 4
UNCOMMON = {STRUCT: SIZE + 32, POINTER: SIZE + 8, SLICE: SIZE + 8}
"""Where the part is that says the package, if a type has one."""
NOBITS = 8
"""The type of a section that takes no room in the file."""


@dataclass(frozen=True)
class StructField:
    name: str
    tag: str
    type: GoType


@dataclass(frozen=True)
class GoType:
    """One type of ``program``, by where its description is."""

    program: GoProgram
    address: int

    @property
    def kind(self) -> int:
        return self.program.number("B", self.address + 23) & 31

    @property
    def is_named(self) -> bool:
        return bool(self._flags & IS_NAMED)

    @property
    def name(self) -> str:
        """As ``%T`` prints it: ``v1.Pod``."""
        name, _ = self.program.name(self.program.types + self.program.number("i", self.address + 40))
        return name[1:] if self._flags & HAS_STAR else name

    @property
    def package(self) -> str:
        """``k8s.io/api/core/v1``, of a named type."""
        if not self._flags & HAS_UNCOMMON:
            return ""
        found = self.program.number("i", self.address + UNCOMMON[self.kind])
        return self.program.name(self.program.types + found)[0] if found else ""

    @property
    def element(self) -> GoType:
        """What a pointer, slice or map has behind it."""
        return GoType(self.program, self.program.number("Q", self.address + SIZE + (8 if self.kind == MAP else 0)))

    @property
    def fields(self) -> list[StructField]:
        """Of a struct, as they are written down."""
        first, count = (self.program.number("Q", self.address + SIZE + at) for at in (8, 16))
        places = ((self.program.number("Q", at), self.program.number("Q", at + 8)) for at in _each(first, count, 24))
        return [StructField(*self.program.name(name), GoType(self.program, of)) for name, of in places]

    @property
    def _flags(self) -> int:
        return self.program.number("B", self.address + 20)


class GoProgram:
    def __init__(self, binary: Path) -> None:
        self._content = binary.read_bytes()
        header, (count, names) = self._at("Q", 0x28), (self._at("H", at) for at in (0x3C, 0x3E))
        rows = [struct.unpack_from("<IIQQQQ", self._content, header + 64 * index) for index in range(count)]
        titles = rows[names][4]
        self._sections = {self._text(titles + row[0]): row[1:] for row in rows}
        self.types = self._sections[".rodata"][2]
        """The types stand first among the data that nobody writes; offsets are counted from there."""

    def structs(self) -> Iterator[GoType]:
        """The struct types that have a name, as far as they can be reached from what the program links to."""
        *_, place, length = self._sections[".typelink"]
        waiting = [GoType(self, self.types + self._at("i", at)) for at in _each(place, length // 4, 4)]
        seen: set[int] = set()
        while waiting:
            one = waiting.pop()
            if one.address in seen:
                continue
            seen.add(one.address)
            if one.kind in (POINTER, SLICE, MAP):
                waiting.append(one.element)
            elif one.kind == STRUCT:
                waiting += [field.type for field in one.fields]
                if one.is_named:
                    yield one

    @cache  # noqa: B019 (one program is read in a process)
    def name(self, address: int) -> tuple[str, str]:
        """A name and its tag, which is empty for most."""
        place = self._place(address)
        has_tag = self._content[place] & 2
        name, place = self._counted(place + 1)
        return name, self._counted(place)[0] if has_tag else ""

    def number(self, form: str, address: int) -> int:
        return self._at(form, self._place(address))

    def _at(self, form: str, place: int) -> int:
        found: int = struct.unpack_from(f"<{form}", self._content, place)[0]
        return found

    def _place(self, address: int) -> int:
        """Where in the file is what the program sees at ``address``."""
        for kind, _, start, place, length in self._sections.values():
            if kind != NOBITS and start and start <= address < start + length:
                return int(place + address - start)
        raise ValueError(f"{address:x} is in no section")

    def _counted(self, place: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self._content[place]
            place += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return self._content[place : place + length].decode(), place + length

    def _text(self, place: int) -> str:
        return self._content[place : self._content.index(0, place)].decode()


def _each(first: int, count: int, size: int) -> range:
    return range(first, first + count * size, size)
