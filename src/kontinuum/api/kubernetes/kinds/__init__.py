"""The served kinds: one file for each that has something special to say, and one table of all of them."""

from __future__ import annotations

from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.api.machinery.resources import Resource

SPECIAL: dict[str, type[Kind]] = {}
"""By qualified resource name; a kind that is not here is as ``Kind`` describes."""

KINDS: dict[Resource, Kind] = {one: SPECIAL.get(one.qualified, Kind)(one) for one in RESOURCES}

_by_path = {(kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS.values()}


def lookup(group: str, version: str, plural: str) -> Kind | None:
    """The kind served under ``/apis/group/version/plural`` (group "" for ``/api``), or None."""
    return _by_path.get((group, version, plural))
