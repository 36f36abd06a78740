"""Who is said to own the fields that a request writes (``metadata.managedFields``)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kontinuum.api.machinery import fields, managed_fields, status
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.fieldsets import MEMBER, Fields
from kontinuum.api.machinery.managed_fields import BEFORE_APPLY, UPDATE, BadManagedFields, Owner, Owners
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.shapes import Shape
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Served
from kontinuum.foundation.clock import rfc3339

LONGEST_MANAGER = 128
SPOILT = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: {}"
)

# What an update through ``status`` resets, beside everything that is neither metadata nor status.
RESET_WITH_STATUS: Fields = {"f:labels": MEMBER, "f:finalizers": MEMBER, "f:ownerReferences": MEMBER}


def manager_of(call: Call) -> str:
    """The query's ``fieldManager``, else the program's name in the User-Agent."""
    return call.query.get("fieldManager") or _program(call.request.headers.get("User-Agent", "")) or "unknown"


@lru_cache(maxsize=1024)
def _program(user_agent: str) -> str:
    name = "".join(letter for letter in user_agent.partition("/")[0] if letter.isprintable())
    return name.encode()[:LONGEST_MANAGER].decode(errors="ignore")


def check_manager(call: Call, kind: str) -> None:
    """``kind`` is that of the request's options. Raises ApiError 422 for a name that no entry may hold."""
    name = call.query.get("fieldManager")
    if name and (problems := manager_problems(name, "fieldManager")):
        raise status.invalid(kind, "", problems, group="meta.k8s.io")


def manager_problems(name: str, path: str) -> list[FieldError]:
    problems = [fields.too_long(path, LONGEST_MANAGER)] if len(name.encode()) > LONGEST_MANAGER else []
    for position, letter in enumerate(name):
        if not letter.isprintable():
            problem = f"invalid character U+{ord(letter):04X} (at position {position})"
            problems.append(fields.invalid(path, name, problem))
    return problems


def author_of(served: Served, call: Call, operation: str, *, now: float) -> Owner:
    """Who makes this request, as an entry that owns nothing yet."""
    version = served.resource.api_version
    return Owner(manager_of(call), operation, version, call.route.subresource, rfc3339(now))


def track(served: Served, call: Call, old: Object | None, new: Object, *, now: float) -> None:
    """Write into ``new`` who owns its fields after this create (``old`` None), update or patch.

    Objects that have no owners, because they were made behind the API's back or somebody cleared them with ``[{}]``,
    stay without until somebody applies something.
    """
    metadata = new["metadata"]
    stored = (old["metadata"].get("managedFields") if old is not None else None) or []
    sent = managed_fields.sent_owners(metadata.get("managedFields"), stored, subresource=call.route.subresource)
    if old is not None and not (stored if sent is None else sent):
        metadata.pop("managedFields", None)
        return
    changes = managed_fields.changes_between(old, new, served.kind.shape)
    changes = changes.ignoring(reset_fields(served, call.route.subresource))
    author = author_of(served, call, UPDATE, now=now)
    entries = managed_fields.entries_after(stored, sent, changes, author)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def owners_before_apply(live: Object, shape: Shape, author: Owner, *, ignored: Fields) -> Owners:
    """Whoever owns ``live`` now; whatever nobody is known to own belongs to somebody before the first apply."""
    entries = live["metadata"].get("managedFields")
    if entries:
        return managed_fields.decode(entries, trusted=True)
    before = author._replace(manager=BEFORE_APPLY, operation=UPDATE)
    changes = managed_fields.changes_between(None, live, shape).ignoring(ignored)
    return managed_fields.updated({}, changes, before)


def write_owners(obj: Object, owners: Owners) -> None:
    entries = managed_fields.encode(owners)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def keep_valid(call: Call, obj: Object, before: list[Any] | None) -> None:
    """Put the entries back that were there ``before`` a webhook or policy has spoilt them, and say so."""
    metadata = obj["metadata"]
    entries = metadata.get("managedFields")
    if not entries or entries == before:
        return
    try:
        managed_fields.decode(entries)
    except BadManagedFields as problem:
        call.warnings.append(SPOILT.format(problem))
        metadata["managedFields"] = before


def reset_fields(served: Served, subresource: str) -> Fields:
    """What nobody can write, and so own, through this path (each kind's ``GetResetFields``)."""
    if not served.kind.has_status:
        return MEMBER
    if subresource == "status":
        return _all_but_status(served.kind.shape)
    return {"f:status": MEMBER} if not subresource else MEMBER


@lru_cache(maxsize=1024)
def _all_but_status(shape: Shape) -> Fields:
    others = {f"f:{name}": MEMBER for name in shape.fields if name not in ("status", "metadata")}
    return {**others, "f:metadata": RESET_WITH_STATUS}
