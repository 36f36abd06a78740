"""A packet filter's table in memory: it understands the commands that ``Ruleset`` writes, and refuses what nft does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

REFERENCE = re.compile(r"(?:goto|jump) ([^\s,}]+)|@([^\s,}]+)")


class Refused(AssertionError):
    """The kernel would have refused the transaction."""


@dataclass
class Table:
    """What one table holds."""

    sets: dict[str, dict[str, str]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)

    def apply(self, commands: str) -> None:
        """Raises Refused; then, other than in the kernel, half a transaction may have been carried out."""
        for line in commands.splitlines():
            verb, kind, _, _, *rest = line.split(" ", 5)
            getattr(self, f"_{verb}_{kind}")(*(rest or [""])[-1].split(" ", 1) if len(rest) == 1 else rest)

    def _add_table(self, *_: str) -> None:
        return

    def _delete_table(self, *_: str) -> None:
        for part in (self.sets, self.kinds, self.chains, self.bases):
            part.clear()

    def _add_set(self, name: str, specification: str) -> None:
        self._refuse(name in self.sets and self.kinds[name] != specification, f"{name} is something else")
        self.kinds[name] = specification
        self.sets.setdefault(name, {})

    _add_map = _add_set

    def _delete_set(self, name: str) -> None:
        self._refuse(name not in self.sets, f"no {name}")
        self._refuse(name in self._referred(), f"{name} is in use")
        del self.sets[name], self.kinds[name]

    _delete_map = _delete_set

    def _add_chain(self, name: str, base: str = "") -> None:
        self.chains.setdefault(name, [])
        if base:
            self.bases[name] = base

    def _flush_chain(self, name: str) -> None:
        self._refuse(name not in self.chains, f"no {name}")
        self.chains[name] = []

    def _delete_chain(self, name: str) -> None:
        self._refuse(bool(self.chains[name]) or name in self._referred(), f"{name} is in use")
        del self.chains[name]

    def _add_rule(self, name: str, rule: str) -> None:
        self._refuse(name not in self.chains, f"no {name}")
        self._must_exist(rule)
        self.chains[name].append(rule)

    def _add_element(self, name: str, words: str) -> None:
        for element in words.strip("{} ").split(", "):
            key, _, value = element.partition(" : ")
            self._refuse(self.sets[name].get(key, value) != value, f"{name} has another {key}")
            self._must_exist(value)
            self.sets[name][key] = value

    def _delete_element(self, name: str, words: str) -> None:
        for key in words.strip("{} ").split(", "):
            self._refuse(key not in self.sets[name], f"{name} has no {key}")
            del self.sets[name][key]

    def _must_exist(self, text: str) -> None:
        for chain, named in REFERENCE.findall(text):
            self._refuse(bool(chain) and chain not in self.chains, f"no chain {chain}")
            self._refuse(bool(named) and named not in self.sets, f"no set {named}")

    def _referred(self) -> set[str]:
        texts = [rule for rules in self.chains.values() for rule in rules]
        texts += [value for elements in self.sets.values() for value in elements.values()]
        return {name for text in texts for pair in REFERENCE.findall(text) for name in pair if name}

    def _refuse(self, so: bool, why: str) -> None:
        if so:
            raise Refused(why)
