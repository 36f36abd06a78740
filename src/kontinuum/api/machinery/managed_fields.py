"""Who owns which fields of an object: ``metadata.managedFields`` through updates and applies. Pure.

    update   what a change sets belongs to who made it, and to nobody else any more; what it removes to nobody
    apply    what a configuration names belongs to its manager, with whoever agrees on the value; a value that
             somebody else owns differently is a conflict, unless forced; what nobody names any more goes

The rules are those of Kubernetes' ``util/managedfields`` and structured-merge-diff's ``merge``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kontinuum.api.machinery import fieldsets
from kontinuum.api.machinery.comparing import Comparison, applied, compare, created
from kontinuum.api.machinery.fieldsets import Fields
from kontinuum.api.machinery.merging import merge, remove, with_named_fields
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.shapes import Shape
from kontinuum.api.machinery.status import ApiError

APPLY, UPDATE = "Apply", "Update"
MOST_UPDATERS = 10
"""Beyond this many entries of updates the oldest are kept together, without their names."""
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"

STRIPPED: Fields = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        **{
            f"f:{name}": {}
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                "managedFields", "resourceVersion",
            )
        },
    },
}  # fmt: skip
"""Nobody owns what the server writes or the request's path says."""
UNTRACKED: Fields = {**STRIPPED, "f:metadata": {step: {} for step in STRIPPED["f:metadata"] if step != fieldsets.HERE}}
"""The same as prefixes, of which the metadata as such is none."""
UNTRACKED_METADATA = frozenset(step[2:] for step in UNTRACKED["f:metadata"])

Identity = tuple[str, str, str, str]
Entry = dict[str, Any]


class Owner(NamedTuple):
    """One entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""
    time: str = ""
    fields: Fields = fieldsets.MEMBER

    @property
    def identity(self) -> Identity:
        """What tells entries apart. One who applies is the same whatever version the configuration is in."""
        version = "" if self.operation == APPLY else self.api_version
        return self.manager, self.operation, version, self.subresource

    def owning(self, fields: Fields) -> Owner:
        """The same with other ``fields``; what ``_replace`` does takes three times as long."""
        return Owner(self.manager, self.operation, self.api_version, self.subresource, self.time, fields)

    def __str__(self) -> str:
        """As conflicts name an owner."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == UPDATE:
            text += f" using {self.api_version}" + (f" at {self.time}" if self.time else "")
        return text


Owners = dict[Identity, Owner]


class BadManagedFields(ValueError):
    """Entries that cannot be read."""


def decode(entries: Iterable[Entry], *, trusted: bool = False) -> Owners:
    """Owners by identity. ``trusted`` entries are our own and need no checking. Raises BadManagedFields."""
    owners: Owners = {}
    for index, entry in enumerate(entries):
        if not trusted and not isinstance(entry, dict):
            raise BadManagedFields("an entry must be an object")
        owner = Owner(
            entry.get("manager", ""), entry.get("operation", ""), entry.get("apiVersion", ""),
            entry.get("subresource", ""), entry.get("time") or "", entry.get("fieldsV1") or {},
        )  # fmt: skip
        if not trusted:
            owner = owner.owning(_checked(index, entry))
        owners[owner.identity] = owner
    return owners


def _checked(index: int, entry: Entry) -> Fields:
    if entry.get("operation") not in (APPLY, UPDATE):
        raise BadManagedFields("operation must be `Apply` or `Update`")
    if not entry.get("apiVersion"):
        raise BadManagedFields("apiVersion must not be empty")
    kind = entry.get("fieldsType") or ""
    if not kind:
        raise BadManagedFields(f"missing fieldsType in managed fields entry {index}")
    if kind != "FieldsV1":
        raise BadManagedFields(f'invalid fieldsType "{kind}" in managed fields entry {index}')
    try:
        return fieldsets.encode(fieldsets.decode(entry.get("fieldsV1")))
    except fieldsets.BadFields as problem:
        raise BadManagedFields(f"error decoding set: {problem}") from problem


def encode(owners: Owners) -> list[Entry]:
    """The entries in Kubernetes' order."""
    return sorted(map(_entry, owners.values()), key=_place)


def _entry(owner: Owner) -> Entry:
    entry: Entry = {"manager": owner.manager, "operation": owner.operation, "apiVersion": owner.api_version}
    if owner.time:
        entry["time"] = owner.time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = owner.fields
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return entry


def sent_owners(sent: Any, stored: Sequence[Entry], *, subresource: str) -> Owners | None:
    """The owners that the client sent, if they count and can be read; None: those that are stored go on.

    ``[{}]`` forgets all owners.
    """
    if not subresource and isinstance(sent, list) and sent and sent != stored:
        if sent == [{}]:
            return {}
        try:
            return decode(sent)
        except BadManagedFields:
            pass
    return None


def entries_after(stored: Sequence[Entry], sent: Owners | None, changes: Comparison, author: Owner) -> Sequence[Entry]:
    """The entries after a change by ``author`` of an object with the entries ``stored``.

    ``sent`` owners, if the client sent any, take their place before.
    """
    if sent is None and (entries := _with_newcomer(stored, changes, author)) is not None:
        return entries
    owners = decode(stored, trusted=True) if sent is None else sent
    found = updated(owners, changes, author)
    return stored if found is owners and sent is None else encode(found)


def _with_newcomer(stored: Sequence[Entry], changes: Comparison, author: Owner) -> list[Entry] | None:
    """What most writes come to: a new owner of fields that nobody has owned, among entries that stay as they are.

    None if it may be otherwise: whole trees of fields are compared here, by their uppermost names.
    """
    taken = changes.taken
    if not taken or len(stored) >= MOST_UPDATERS:
        return None
    lost = taken.keys() | changes.removed.keys()
    for entry in stored:
        fields = entry.get("fieldsV1")
        if not fields or not lost.isdisjoint(fields) or _is_entry_of(entry, author):
            return None
    entries = [*stored, _entry(author.owning(taken))]
    if stored:
        entries.sort(key=_place)
    return entries


def _is_entry_of(entry: Entry, owner: Owner) -> bool:
    """Of an owner by updates."""
    return (
        entry.get("manager") == owner.manager
        and entry.get("operation") == owner.operation
        and entry.get("apiVersion") == owner.api_version
        and (entry.get("subresource") or "") == owner.subresource
    )


def _place(entry: Entry) -> tuple[str, ...]:
    """What Kubernetes orders entries by."""
    operation, time, manager = entry.get("operation"), entry.get("time"), entry.get("manager")
    return operation or "", time or "", manager or "", entry.get("apiVersion") or "", entry.get("subresource") or ""


def updated(owners: Owners, changes: Comparison, author: Owner) -> Owners:
    """The owners after a change by ``author`` (whose ``time`` is now, in RFC 3339)."""
    taken = changes.taken
    lost = fieldsets.union(taken, changes.removed)
    if not lost:
        return owners
    found: Owners = {}
    for identity, owner in owners.items():
        if owner.fields and lost.keys().isdisjoint(owner.fields):
            found[identity] = owner
            continue
        left = fieldsets.difference(owner.fields, lost)
        if left:
            found[identity] = owner if left == owner.fields else owner.owning(left)
    if taken:
        identity = author.identity
        mine = found.get(identity)
        found[identity] = author.owning(fieldsets.union(mine.fields, taken) if mine is not None else taken)
    return capped(found)


def capped(owners: Owners) -> Owners:
    """At most ``MOST_UPDATERS`` entries of updates: the oldest of each version become one."""
    if len(owners) <= MOST_UPDATERS:
        return owners
    updaters = [one for one in owners.values() if one.operation == UPDATE]
    surplus = len(updaters) - MOST_UPDATERS
    if surplus <= 0:
        return owners
    updaters.sort(key=lambda one: (one.time, one.manager, one.api_version, one.subresource))
    found = dict(owners)
    first: dict[str, Owner] = {}
    for owner in updaters:
        if surplus <= 0:
            break
        version = owner.api_version
        if version not in first:
            first[version] = owner
            continue
        bucket = Owner(ANCIENT, UPDATE, version, time=owner.time)
        kept = found.get(bucket.identity)
        if kept is None:
            kept = found.pop(first[version].identity)
        fields = fieldsets.encode(fieldsets.union(kept.fields, owner.fields))
        found.pop(owner.identity, None)
        found[bucket.identity] = bucket.owning(fields)
        surplus -= 1
    return found


def changes_between(old: Object | None, new: Object, shape: Shape) -> Comparison:
    """What a write changes of what can be owned; ``old`` None: everything is new."""
    if old is None:
        return created(_ownable(new), shape)
    # Such fields seldom differ: leaving them out afterwards spares a copy of both metadata.
    return compare(old, new, shape).ignoring(UNTRACKED)


def _ownable(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in UNTRACKED_METADATA}
    return {**{key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply comes to. ``obj`` shares parts with the live object and the configuration."""

    obj: Object
    owners: Owners
    is_same: bool
    """The object's fields are as they were; only owners may have changed."""


def apply(
    live: Object,
    config: Object,
    shape: Shape,
    owners: Owners,
    author: Owner,
    *,
    force: bool = False,
    ignored: Fields = fieldsets.MEMBER,
    tolerated: Callable[[], Fields] = dict,
) -> Applied:
    """``config`` (well-formed for ``shape``) applied to ``live`` by ``author``.

    ``ignored`` paths are never owned; conflicts about ``tolerated`` ones (asked for only if there are any) are no
    reason to refuse. Raises ApiError 409 for all others.
    """
    live_parts, config_parts = _ownable(live), _ownable(config)
    merged = merge(live_parts, config_parts, shape)
    named = fieldsets.difference(applied(config_parts, shape) or {}, STRIPPED)
    last = owners.get(author.identity)
    found = {**owners, author.identity: author.owning(fieldsets.without(named, ignored))}
    if last is not None and last.fields:
        merged = _pruned(merged, shape, found.values(), last.fields)
    changes = compare(live_parts, merged, shape).ignoring(ignored)
    others = [one for identity, one in found.items() if identity != author.identity]
    _refuse_conflicts(others, changes.taken, None if force else tolerated)
    lost = fieldsets.union(changes.taken, changes.removed)
    for one in others:
        left = fieldsets.difference(one.fields, lost)
        if left != one.fields:
            found[one.identity] = one.owning(fieldsets.encode(left))
    is_same = bool(merged == live_parts)
    mine = found[author.identity]
    time = last.time if is_same and last is not None else author.time
    found[author.identity] = mine._replace(fields=fieldsets.encode(mine.fields), time=time)
    obj = {**merged, "metadata": {**_kept(live), **(merged.get("metadata") or {})}}
    return Applied(obj, {key: one for key, one in found.items() if one.fields}, is_same)


def _kept(live: Object) -> Object:
    return {key: value for key, value in live["metadata"].items() if key in UNTRACKED_METADATA}


def _pruned(merged: Object, shape: Shape, owners: Iterable[Owner], last: Fields) -> Object:
    """``merged`` without what only the last configuration of its manager owned.

    All that it named is taken out first, then what anybody owns (or nobody ever applied) comes back.
    """

    def members(value: Object | None) -> Fields:
        return with_named_fields((applied(value, shape) or {}) if value else {}, shape)

    last = with_named_fields(last, shape)
    owned: Fields = {}
    for owner in owners:
        owned = fieldsets.union(owned, owner.fields)
    everything = members(merged)
    left = fieldsets.union(members(remove(merged, last, shape)), with_named_fields(owned, shape))
    left = members(remove(merged, fieldsets.difference(everything, left), shape))
    dangling = fieldsets.intersection(fieldsets.difference(everything, left), last)
    result: Object = remove(merged, dangling, shape) or {}
    return result


def _refuse_conflicts(others: Iterable[Owner], taken: Fields, tolerated: Callable[[], Fields] | None) -> None:
    """Raises ApiError 409 if ``taken`` belongs to others. ``tolerated`` None: whatever it is."""
    if tolerated is None:
        return
    conflicts = [(one, fieldsets.intersection(one.fields, taken)) for one in others]
    if not any(fields for _, fields in conflicts):
        return
    spared = tolerated()
    found = [
        (owner, fieldsets.as_text(path))
        for owner, fields in sorted(conflicts, key=lambda one: one[0].identity)
        for path in fieldsets.paths(fieldsets.difference(fields, spared))
    ]
    if found:
        raise _conflict(found)


def _conflict(found: Sequence[tuple[Owner, str]]) -> ApiError:
    """409 with one cause for each field and owner, in Kubernetes' words."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path} for owner, path in found
    ]
    if len(found) == 1:
        owner, path = found[0]
        text = f"Apply failed with 1 conflict: conflict with {owner}: {path}"
    else:
        lines: list[str] = []
        for owner, path in found:
            title = f"conflicts with {owner}:"
            lines += [f"- {path}"] if title in lines else [title, f"- {path}"]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, {"causes": causes})
