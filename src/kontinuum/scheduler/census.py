"""Which pods are where, as far as pods speak of each other: counted as they come and go, never by looking at all.

    pod on a row ─▶ its LabelSet (namespace and labels) ─▶ Tallies: how many pods that somebody selects are on each row
              └───▶ its terms ─▶ Held: how many pods with that affinity or anti-affinity term are on each row

A pod that comes or goes costs the tallies and terms that it belongs to, not the cluster. Tallies are made when a demand
first asks for one, from the label sets (of which there are far fewer than pods), and vanish when nobody uses them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from weakref import WeakValueDictionary, ref

from kontinuum.scheduler.terms import PodTerm, Selection

MANY_EMPTY = 256
"""So many terms that no pod holds any more are kept before they are cleared away: one that left may be back at once."""


class Tally:
    """How many pods of some kind are on each row; rows without any are not in it."""

    __slots__ = ("__weakref__", "rows")

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}

    def count(self, row: int, pods: int) -> None:
        after = self.rows.get(row, 0) + pods
        if after:
            self.rows[row] = after
        else:
            del self.rows[row]


class LabelSet:
    """Pods that no selector can tell apart."""

    __slots__ = ("going", "labels", "namespace", "tallies", "tally", "users")

    def __init__(self, namespace: str, labels: Mapping[str, str], going: bool) -> None:
        self.namespace = namespace
        self.labels = labels
        self.going = going
        self.users = 0
        """How often it was asked for and not yet given back."""
        self.tally = Tally()
        self.tallies: list[ref[Tally]] = []
        """Those that count these pods, and some that nobody uses any more."""

    def counted_by(self, tally: Tally) -> None:
        self.tallies = [*(one for one in self.tallies if one() is not None), ref(tally)]


class Held:
    """A term that pods on nodes hold, and where they are."""

    __slots__ = ("tally", "term")

    def __init__(self, term: PodTerm) -> None:
        self.term = term
        self.tally = Tally()


class Census:
    """See the module."""

    def __init__(self) -> None:
        self.generation = 0
        """Rises when what was asked of ``tally`` and ``held_against`` must be asked again."""
        self.terms: list[Held] = []
        """Every term that came since the generation began, oldest first: who knows ``n`` of them looks at the rest."""
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._label_sets: dict[str, dict[Hashable, LabelSet]] = {}
        self._held: dict[PodTerm, Held] = {}
        self._tallies: WeakValueDictionary[tuple[Selection, ...], Tally] = WeakValueDictionary()

    def set_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        """The labels of a namespace, for terms that select namespaces; True if they are new."""
        if self._namespaces.get(name, {}) == labels:
            return False
        self._namespaces[name] = labels
        self._begin_generation()
        return True

    def remove_namespace(self, name: str) -> None:
        if self._namespaces.pop(name, None):
            self._begin_generation()

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        return self._namespaces.get(name, {})

    def label_set(self, namespace: str, labels: Mapping[str, str], going: bool) -> LabelSet:
        """The one set of pods with this namespace and these labels; give it back with ``release``."""
        sets = self._label_sets.setdefault(namespace, {})
        key = (frozenset(labels.items()), going)
        if key not in sets:
            sets[key] = one = LabelSet(namespace, labels, going)
            for selections, tally in self._tallies.items():
                if self._selects(selections, one):
                    one.counted_by(tally)
        sets[key].users += 1
        return sets[key]

    def release(self, one: LabelSet) -> None:
        one.users -= 1
        if one.users:
            return
        sets = self._label_sets[one.namespace]
        del sets[(frozenset(one.labels.items()), one.going)]
        if not sets:
            del self._label_sets[one.namespace]

    def held(self, term: PodTerm) -> Held:
        """The one record of a term."""
        if term not in self._held:
            self._held[term] = Held(term)
            self.terms.append(self._held[term])
        return self._held[term]

    def clear_away(self) -> None:
        """Forget terms that nobody holds, if there are many."""
        kept = {term: one for term, one in self._held.items() if one.tally.rows}
        if len(self._held) - len(kept) > max(MANY_EMPTY, len(kept)):
            self._held = kept
            self._begin_generation()

    def count(self, row: int, label_set: LabelSet, held: Iterable[Held], pods: int) -> None:
        """Pods with these labels and terms have come to a row, or have left it if ``pods`` is negative."""
        label_set.tally.count(row, pods)
        for one in label_set.tallies:
            if (tally := one()) is not None:
                tally.count(row, pods)
        for term in held:
            term.tally.count(row, pods)

    def tally(self, selections: tuple[Selection, ...]) -> Tally:
        """How many pods that all ``selections`` match are on each row, now and until the next generation begins."""
        found = self._tallies.get(selections)
        if found is None:
            found = self._tallies[selections] = Tally()
            for one in self._candidates(selections):
                if self._selects(selections, one):
                    one.counted_by(found)
                    for row, pods in one.tally.rows.items():
                        found.count(row, pods)
        return found

    def concerns(self, term: PodTerm, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a term speaks of a pod with these labels."""
        return term.pods.matches(namespace, self.namespace_labels(namespace), labels)

    def _selects(self, selections: tuple[Selection, ...], one: LabelSet) -> bool:
        namespace_labels = self.namespace_labels(one.namespace)
        return all(
            (each.going or not one.going) and each.matches(one.namespace, namespace_labels, one.labels)
            for each in selections
        )

    def _candidates(self, selections: tuple[Selection, ...]) -> Iterator[LabelSet]:
        first = selections[0]
        if first.namespace_selector.nothing:
            for namespace in first.namespaces:
                yield from self._label_sets.get(namespace, {}).values()
        else:
            for sets in self._label_sets.values():
                yield from sets.values()

    def _begin_generation(self) -> None:
        self.generation += 1
        self.terms = list(self._held.values())
        self._tallies.clear()
        for sets in self._label_sets.values():
            for one in sets.values():
                one.tallies.clear()
