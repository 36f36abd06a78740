"""Conditions: the list of observations in a status. ``lastTransitionTime`` moves only when ``status`` changes.

The source of the rules is the Kubernetes API conventions, "Typical status properties".
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.machinery.objects import Object


def get_condition(obj: Object, kind: str) -> Object | None:
    """The condition of type ``kind`` in ``obj.status.conditions``, or None."""
    return find((obj.get("status") or {}).get("conditions") or (), kind)


def is_true(obj: Object, kind: str) -> bool:
    condition = get_condition(obj, kind)
    return condition is not None and condition["status"] == "True"


def find(conditions: Sequence[Object], kind: str) -> Object | None:
    return next((one for one in conditions if one.get("type") == kind), None)


def set_condition(
    conditions: Sequence[Object] | None,
    kind: str,
    status: bool | str,
    *,
    now: str,
    reason: str = "",
    message: str = "",
    **more: object,
) -> list[Object]:
    """A new list in which condition ``kind`` has this status; the other conditions and their order stay.

    ``status`` is a truth value or ``"True" | "False" | "Unknown"``; ``now`` an RFC 3339 time. ``more`` holds a kind's
    own fields (``lastHeartbeatTime``, ``observedGeneration``); a value of None leaves the field as it was.
    """
    wanted: Object = {"type": kind, "status": status if isinstance(status, str) else str(bool(status))}
    old = find(conditions or (), kind)
    changed = old is None or old.get("status") != wanted["status"]
    wanted["lastTransitionTime"] = now if changed or old is None else old.get("lastTransitionTime", now)
    wanted |= {"reason": reason} if reason else {}
    wanted |= {"message": message} if message else {}
    for name, value in more.items():
        kept = value if value is not None else (old or {}).get(name)
        wanted |= {name: kept} if kept is not None else {}
    if old is None:
        return [*(conditions or ()), wanted]
    return [wanted if one is old else one for one in conditions or ()]


def remove_condition(conditions: Sequence[Object] | None, kind: str) -> list[Object]:
    return [one for one in conditions or () if one.get("type") != kind]
