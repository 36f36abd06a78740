"""The node's packet filter as a value: what several owners contribute to one nftables table, and how it is changed.

An owner (a Service, a pod's policies) contributes a ``Fragment``: chains and sets of its own, and elements of sets that
all share. ``Ruleset.put`` replaces an owner's fragment; ``take_transaction`` gives the commands that bring the kernel
from what it has to what it should have, touching only what differs. Pure: nobody here talks to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Elements = Mapping[str, str]
"""A map's keys and values as nft writes them; the values of a plain set are ""."""


@dataclass(frozen=True, slots=True)
class Set:
    """A set or map that one owner has for itself. Its name must tell its specification: that never changes."""

    kind: str
    """``set`` or ``map``."""
    specification: str
    """What nft wants between the braces: type, flags, size; sentences ended by semicolons."""
    elements: Elements = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fragment:
    """One owner's part of the table. Names of chains and sets must be its own."""

    sets: Mapping[str, Set] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The rules of each chain, in order."""
    shared: Mapping[str, Elements] = field(default_factory=dict)
    """Elements of sets of the frame. Where two owners want the same key, the first by name has it."""


NOTHING = Fragment()


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands for ever: the sets that all share, and the chains that packets enter by."""

    sets: Mapping[str, Set]
    chains: Mapping[str, tuple[str, ...]]
    """The first line of a base chain is its ``type ... hook ...;`` sentence."""

    def __or__(self, other: Frame) -> Frame:
        """Both; neither may have what the other has."""
        return Frame({**self.sets, **other.sets}, {**self.chains, **other.chains})


class Ruleset:
    """See the module."""

    def __init__(self, table: str, frame: Frame) -> None:
        """``table`` is its family and name, such as ``inet kontinuum``."""
        self._table = table
        self._frame = frame
        self._fragments: dict[str, Fragment] = {}
        self._claims: dict[str, dict[str, dict[str, str]]] = {name: {} for name in frame.sets}
        """For each shared set, who wants which value under a key."""
        self._pending: dict[str, Fragment] = {}
        """What the kernel has of each owner that has changed since the last transaction."""

    def owners(self) -> list[str]:
        return list(self._fragments)

    def get(self, owner: str) -> Fragment:
        return self._fragments.get(owner, NOTHING)

    def put(self, owner: str, fragment: Fragment) -> None:
        """From now on ``owner`` contributes ``fragment``; ``NOTHING`` takes all of it back."""
        before = self.get(owner)
        if before == fragment:
            return
        self._pending.setdefault(owner, before)
        if fragment == NOTHING:
            self._fragments.pop(owner, None)
        else:
            self._fragments[owner] = fragment

    def whole(self) -> str:
        """The commands that make the table anew, whatever there was before, in one transaction."""
        self._pending.clear()
        self._claims = {name: {} for name in self._frame.sets}
        added: dict[str, dict[str, str]] = {name: dict(one.elements) for name, one in self._frame.sets.items()}
        lines = [f"add table {self._table}", f"delete table {self._table}", f"add table {self._table}"]
        lines += [self._declare(name, one) for name, one in self._frame.sets.items()]
        lines += [self._declare_chain(name, rules) for name, rules in self._frame.chains.items()]
        for owner, fragment in self._fragments.items():
            lines += self._declarations(fragment)
            for name, elements in fragment.shared.items():
                for key, value in elements.items():
                    self._claims[name].setdefault(key, {})[owner] = value
        for name, rules in self._frame.chains.items():
            lines += self._rules(name, rules)
        for fragment in self._fragments.values():
            for name, one in fragment.sets.items():
                lines += self._add(name, one.elements)
            for name, rules in fragment.chains.items():
                lines += self._rules(name, rules)
        for name, claims in self._claims.items():
            added[name] |= {key: _winner(wanted) for key, wanted in claims.items()}
            lines += self._add(name, added[name])
        return "\n".join(lines) + "\n"

    def take_transaction(self) -> str:
        """The commands for what has changed since the last time; "" if nothing has.

        Order matters to the kernel: what is referred to is declared first, what refers to it goes before it.
        """
        changes = [(owner, before, self.get(owner)) for owner, before in self._pending.items()]
        self._pending.clear()
        declared: list[str] = []
        removed: list[str] = []
        added: list[str] = []
        dropped: list[str] = []
        taken: dict[str, dict[str, str]] = {}
        """For each shared key that somebody has changed, what the kernel has ("" in place of no element is told apart
        by absence)."""
        for owner, before, after in changes:
            declared += self._declarations(after, besides=before)
            for name, one in after.sets.items():
                known = before.sets[name].elements if name in before.sets else {}
                removed += self._delete(name, _gone(known, one.elements))
                added += self._add(name, _new(known, one.elements))
            for name, rules in after.chains.items():
                if before.chains.get(name) != rules:
                    removed += [f"flush chain {self._table} {name}"] if name in before.chains else []
                    added += self._rules(name, rules)
            for name in before.chains:
                if name not in after.chains:
                    removed.append(f"flush chain {self._table} {name}")
                    dropped.append(f"delete chain {self._table} {name}")
            for name, one in before.sets.items():
                if name not in after.sets:
                    dropped.append(f"delete {one.kind} {self._table} {name}")
            self._reclaim(owner, before, after, taken)
        for name, keys in taken.items():
            claims = self._claims[name]
            wanted = {key: _winner(claims[key]) for key in claims.keys() & keys.keys()}
            had = {key: value for key, value in keys.items() if value is not _ABSENT}
            removed += self._delete(name, _gone(had, wanted))
            added += self._add(name, _new(had, wanted))
        lines = [*declared, *removed, *added, *dropped]
        return "\n".join(lines) + "\n" if lines else ""

    def _reclaim(self, owner: str, before: Fragment, after: Fragment, taken: dict[str, dict[str, str]]) -> None:
        """Note an owner's wishes for shared keys, and in ``taken`` what the kernel has under them."""
        for name in {*before.shared, *after.shared}:
            old, new = before.shared.get(name, {}), after.shared.get(name, {})
            claims = self._claims[name]
            for key in {*old, *new}:
                if old.get(key) == new.get(key):
                    continue
                wanted = claims.setdefault(key, {})
                taken.setdefault(name, {}).setdefault(key, _winner(wanted) if wanted else _ABSENT)
                if key in new:
                    wanted[owner] = new[key]
                else:
                    wanted.pop(owner, None)
                if not wanted:
                    del claims[key]

    # -- nft's words

    def _declarations(self, fragment: Fragment, *, besides: Fragment = NOTHING) -> Iterator[str]:
        for name, one in fragment.sets.items():
            if name not in besides.sets:
                yield self._declare(name, one)
        for name in fragment.chains:
            if name not in besides.chains:
                yield f"add chain {self._table} {name}"

    def _declare(self, name: str, one: Set) -> str:
        return f"add {one.kind} {self._table} {name} {{ {one.specification} }}"

    def _declare_chain(self, name: str, rules: tuple[str, ...]) -> str:
        hook = f" {{ {rules[0]} }}" if rules and rules[0].startswith("type ") else ""
        return f"add chain {self._table} {name}{hook}"

    def _rules(self, name: str, rules: tuple[str, ...]) -> list[str]:
        return [f"add rule {self._table} {name} {rule}" for rule in rules if not rule.startswith("type ")]

    def _add(self, name: str, elements: Elements) -> list[str]:
        if not elements:
            return []
        words = ", ".join(f"{key} : {value}" if value else key for key, value in elements.items())
        return [f"add element {self._table} {name} {{ {words} }}"]

    def _delete(self, name: str, elements: Elements) -> list[str]:
        return [f"delete element {self._table} {name} {{ {', '.join(elements)} }}"] if elements else []


_ABSENT = "\0"


def _winner(wanted: Mapping[str, str]) -> str:
    return wanted[min(wanted)]


def _gone(before: Elements, after: Elements) -> Elements:
    """What must be deleted: elements that are not wanted any more, and those whose value changes."""
    return {key: value for key, value in before.items() if after.get(key) != value or key not in after}


def _new(before: Elements, after: Elements) -> Elements:
    return {key: value for key, value in after.items() if before.get(key) != value or key not in before}
