"""The whole cluster as columns: what each node has, what is taken, and what it says of itself.

Kept up to date change by change: a node or pod that changes costs what changed, never a copy of the cluster. Nodes have
a row each; rows of nodes that are gone are used again. Pods that name a node we do not know (yet) are remembered, so
that the order in which nodes and pods are heard of does not matter.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.scheduler.amounts import CPU, MEMORY, Amounts, allocatable
from kontinuum.scheduler.census import Census, Held, LabelSet
from kontinuum.scheduler.demand import Demand, HostPort, Mark
from kontinuum.scheduler.labels import LabelColumns, Mask
from kontinuum.scheduler.selecting import Selecting
from kontinuum.scheduler.storage.state import Storage

Column = NDArray[np.int64]
Images = tuple[tuple[str, int], ...]
"""Names of images and their sizes in bytes."""
LARGEST_STEP = 1024
"""Columns grow by so many rows at most: each row that is no node is work in every decision."""
REMEMBERED_CHANGES = 64
"""So many rows are known without looking at all of them."""


class Taint(NamedTuple):
    """``core/v1 Taint``, as far as it decides."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class _Node:
    """What is remembered of a node to see what changed."""

    amounts: Amounts
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool


@dataclass(slots=True)
class Load:
    """What a pod takes and is, shared by all pods with the same mark."""

    demand: Demand
    """Of one of them."""
    label_set: LabelSet
    held: tuple[Held, ...]
    pods: int = 0
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Use:
    """A pod's load, and where it is."""

    node: str
    load: Load


EMPTY = _Node({}, {}, (), False)


class Snapshot:
    """See the module. Columns have one entry a row; only rows where ``alive`` is true are nodes."""

    def __init__(self, capacity: int = 16) -> None:
        self.alive: Mask = np.zeros(capacity, np.bool_)
        self.names: list[str] = [""] * capacity
        self.row_of: dict[str, int] = {}
        self.unschedulable: Mask = np.zeros(capacity, np.bool_)
        self.labels = LabelColumns(capacity)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        """The different sets of taints in the cluster: few, however many nodes there are."""
        self.taint_set: NDArray[np.int32] = np.zeros(capacity, np.int32)
        """Which of ``taint_sets`` a node has."""
        self.host_ports: dict[HostPort, dict[int, int]] = {}
        """For each port in use: the rows where it is, and how often."""
        self.images: dict[str, dict[int, int]] = {}
        """For each name of an image on some node: the rows that have it, and its size there in bytes."""
        self.images_version = 0
        self.census = Census()
        self.selecting = Selecting()
        self.nodes_version = 0
        """Rises when a node comes, goes or changes (but for its images)."""
        self.version = 0
        """Rises when pods come or go."""
        self.changed: Column = _zeros(capacity)
        """For each row, the version in which pods last came or went."""
        self.remembered: OrderedDict[Hashable, Any] = OrderedDict()
        """Evaluations of demands (see ``evaluation``), the one used last at the end."""
        self.row_answers: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        """What is said of rows to those who ask for the same amounts (see ``row_answers``)."""
        self.storage = Storage()
        self._last_changed: deque[int] = deque(maxlen=REMEMBERED_CHANGES)
        self._allocatable: dict[str, Column] = {}
        self._requested: dict[str, Column] = {}
        self._compared: dict[str, Column] = {CPU: _zeros(capacity), MEMORY: _zeros(capacity)}
        self._nodes: dict[str, _Node] = {}
        self._loads: dict[Mark, Load] = {}
        self._uses: dict[str, Use] = {}
        self._uses_on: dict[str, set[str]] = {}
        self._images_on: dict[str, Images] = {}
        self._free_rows = list(range(capacity - 1, -1, -1))

    @property
    def node_count(self) -> int:
        return len(self.row_of)

    def allocatable(self, resource: str) -> Column:
        """What each node has of a resource; 0 where a node does not name it."""
        column = self._allocatable.get(resource)
        return self._new_column(self._allocatable, resource) if column is None else column

    def requested(self, resource: str) -> Column:
        """What the pods on each node have asked for."""
        column = self._requested.get(resource)
        return self._new_column(self._requested, resource) if column is None else column

    def compared(self, resource: str) -> Column:
        """The same of cpu or memory, with an assumption for containers that ask for nothing."""
        return self._compared[resource]

    def changed_since(self, version: int) -> list[int]:
        """The rows to which pods came or from which they left after a version."""
        recent = self.version - version
        if recent > len(self._last_changed):
            rows: list[int] = np.flatnonzero(self.changed > version).tolist()
            return rows
        return list({self._last_changed[-one] for one in range(1, recent + 1)})

    def pod_node(self, uid: str) -> str | None:
        """The node on which the snapshot has a pod."""
        use = self._uses.get(uid)
        return use.node if use else None

    def pods_on(self, node: str) -> frozenset[str]:
        """The uids of all pods that the snapshot has on a node."""
        return frozenset(self._uses_on.get(node, ()))

    def node_labels(self, node: str) -> Mapping[str, str]:
        """What a node is labelled with; nothing if there is no such node."""
        return self._nodes.get(node, EMPTY).labels

    def set_node(self, node: Object) -> bool:
        """Take in a node as it is now; True if something changed that can matter to whether a pod fits."""
        name, new = name_of(node), _read_node(node)
        old = self._nodes.get(name)
        images = _images(node)
        if old == new:
            self._set_images(self.row_of[name], self._images_on[name], images)
            self._images_on[name] = images
            return False
        row = self.row_of[name] if old else self._take_row(name)
        self._set_images(row, self._images_on.get(name, ()), images)
        self._images_on[name] = images
        self._write_node(row, old or EMPTY, new)
        self._nodes[name] = new
        if old is None:
            for uid in self._uses_on.get(name, ()):
                self._apply(row, self._uses[uid].load, +1)
        self.nodes_version += 1
        return True

    def remove_node(self, name: str) -> None:
        """Forget a node. Its pods are remembered until they are removed too."""
        row = self.row_of.pop(name, None)
        if row is None:
            return
        for uid in self._uses_on.get(name, ()):
            self._apply(row, self._uses[uid].load, -1)
        self._write_node(row, self._nodes.pop(name), EMPTY)
        self._set_images(row, self._images_on.pop(name), ())
        self.alive[row] = False
        self.names[row] = ""
        self._free_rows.append(row)
        self.nodes_version += 1

    def set_namespace(self, namespace: Object) -> bool:
        """Take in a namespace's labels, which affinity terms select; True if they changed."""
        return self.census.set_namespace(name_of(namespace), labels_of(namespace))

    def add_pod(self, uid: str, demand: Demand, node: str) -> None:
        """Count a pod on a node; one that is counted already is moved."""
        old = self._uses.get(uid)
        if old is not None:
            if old.node == node and old.load.demand.mark == demand.mark:
                return
            self.take_out(uid)
        self._put(uid, node, demand)

    def remove_pod(self, uid: str) -> bool:
        """Count a pod no longer; False if it was not counted."""
        return self.take_out(uid) is not None

    def put_back(self, uid: str, use: Use) -> None:
        """Undo ``take_out``."""
        self._put(uid, use.node, use.load.demand)

    def take_out(self, uid: str) -> Use | None:
        """Count a pod no longer, for a while: what is answered can be put back. None if it was not counted."""
        use = self._uses.pop(uid, None)
        if use is None:
            return None
        self._uses_on[use.node].discard(uid)
        if not self._uses_on[use.node]:
            del self._uses_on[use.node]
        if use.node in self.row_of:
            self._apply(self.row_of[use.node], use.load, -1)
        use.load.pods -= 1
        if not use.load.pods:
            self._drop(use.load)
        return use

    def _put(self, uid: str, node: str, demand: Demand) -> None:
        load = self._loads.get(demand.mark) or self._make_load(demand)
        load.pods += 1
        self._uses[uid] = Use(node, load)
        self._uses_on.setdefault(node, set()).add(uid)
        if node in self.row_of:
            self._apply(self.row_of[node], load, +1)

    def _make_load(self, demand: Demand) -> Load:
        label_set = self.census.label_set(demand.namespace, demand.labels, demand.going)
        held = tuple(self.census.held(term) for term in demand.terms)
        load = self._loads[demand.mark] = Load(demand, label_set, held)
        return load

    def _drop(self, load: Load) -> None:
        del self._loads[load.demand.mark]
        self.census.release(load.label_set)
        if load.held:
            self.census.clear_away()

    def _apply(self, row: int, load: Load, sign: int) -> None:
        demand = load.demand
        for resource, amount in demand.requests.items():
            self.requested(resource)[row] += sign * amount
        for resource in (CPU, MEMORY):
            self._compared[resource][row] += sign * demand.compared.get(resource, 0)
        for port in demand.host_ports:
            rows = self.host_ports.setdefault(port, {})
            rows[row] = rows.get(row, 0) + sign
            if not rows[row]:
                del rows[row]
            if not rows:
                del self.host_ports[port]
        self.census.count(row, load.label_set, load.held, sign)
        self.storage.count(row, demand.wishes, sign)
        self.version += 1
        self.changed[row] = self.version
        self._last_changed.append(row)

    def _set_images(self, row: int, old: Images, new: Images) -> None:
        if old == new:
            return
        for name, _ in old:
            self.images[name].pop(row, None)
            if not self.images[name]:
                del self.images[name]
        for name, size in new:
            self.images.setdefault(name, {})[row] = size
        self.images_version += 1

    def _write_node(self, row: int, old: _Node, new: _Node) -> None:
        for resource in old.amounts.keys() | new.amounts.keys():
            self.allocatable(resource)[row] = new.amounts.get(resource, 0)
        self.labels.replace(row, old.labels, new.labels)
        self.unschedulable[row] = new.unschedulable
        if new.taints not in self.taint_sets:
            self.taint_sets.append(new.taints)
        self.taint_set[row] = self.taint_sets.index(new.taints)

    def _take_row(self, name: str) -> int:
        if not self._free_rows:
            self._grow(len(self.names) + min(len(self.names), LARGEST_STEP))
        row = self._free_rows.pop()
        self.row_of[name] = row
        self.names[row] = name
        self.alive[row] = True
        return row

    def _grow(self, capacity: int) -> None:
        before = len(self.names)
        self.names += [""] * (capacity - before)
        self.alive, self.unschedulable = (_longer(mask, capacity) for mask in (self.alive, self.unschedulable))
        self.taint_set = np.concatenate([self.taint_set, np.zeros(capacity - before, np.int32)])
        self.changed = np.concatenate([self.changed, _zeros(capacity - before)])
        self.labels.grow(capacity)
        for columns in (self._allocatable, self._requested, self._compared):
            for resource, column in columns.items():
                columns[resource] = np.concatenate([column, _zeros(capacity - before)])
        self._free_rows = list(range(capacity - 1, before - 1, -1))

    def _new_column(self, columns: dict[str, Column], resource: str) -> Column:
        column = columns[resource] = _zeros(len(self.names))
        return column


def _zeros(length: int) -> Column:
    return np.zeros(length, np.int64)


def _longer(mask: Mask, capacity: int) -> Mask:
    return np.concatenate([mask, np.zeros(capacity - len(mask), np.bool_)])


def _images(node: Object) -> Images:
    """``status.images`` by name."""
    images = (node.get("status") or {}).get("images") or ()
    sizes = {name: image.get("sizeBytes", 0) for image in images for name in image.get("names") or ()}
    return tuple(_image(name, size) for name, size in sizes.items())


@lru_cache(maxsize=8192)
def _image(name: str, size: int) -> tuple[str, int]:
    """One for all nodes that have the image: thousands have the same few."""
    return name, size


def _read_node(node: Object) -> _Node:
    spec = node.get("spec") or {}
    taints = (Taint(one["key"], one.get("value") or "", one["effect"]) for one in spec.get("taints") or ())
    return _Node(allocatable(node), labels_of(node), tuple(taints), bool(spec.get("unschedulable")))
