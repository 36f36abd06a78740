"""Which taints are tolerated, how tolerations contain each other, and lists of them merged.

The rules are Kubernetes' (``ToleratesTaint``, ``util/tolerations``).
"""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.machinery.objects import Object


def covers(wider: Object, one: Object) -> bool:
    """``wider`` tolerates all that ``one`` tolerates."""
    if wider == one:
        return True
    for field in ("key", "effect"):
        if wider.get(field) and wider[field] != one.get(field):
            return False
    if wider.get("effect") == "NoExecute" and wider.get("tolerationSeconds") is not None:
        seconds = one.get("tolerationSeconds")
        if seconds is None or seconds > wider["tolerationSeconds"]:
            return False
    if wider.get("operator") == "Exists":
        return True
    is_same_operator = (one.get("operator") or "Equal") == (wider.get("operator") or "Equal")
    return is_same_operator and (one.get("value") or "") == (wider.get("value") or "")


def tolerates(toleration: Object, taint: Object) -> bool:
    """Kubernetes' ``ToleratesTaint``: an empty effect or key stands for all of them."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def merge(first: Sequence[Object], second: Sequence[Object]) -> list[Object]:
    """Both, in order, without those that another one covers."""
    everything = [*first, *second]
    merged: list[Object] = []
    for index, one in enumerate(everything):
        is_redundant = any(covers(wider, one) for wider in merged)
        if not is_redundant and not any(wider != one and covers(wider, one) for wider in everything[index + 1 :]):
            merged.append(one)
    return merged
