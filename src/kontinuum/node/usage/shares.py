"""The use of pods whose runtime knows only the whole: gVisor's processes are the pod's, not one container's.

Where each container of a pod is told what the pod has used, each gets an equal part instead: a sum over the containers
is then the pod's use. CPU time is shared out as it is used, so that no container's shrinks because another started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from kontinuum.node.port import ContainerUsage


class Shares:
    """Remembers what it has given to whom, as long as it is told of them."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        """CPU time by container."""
        self._whole: dict[str, int] = {}
        """CPU time by pod, as it was told last."""

    def of(self, found: Sequence[ContainerUsage], pods: Collection[str]) -> list[ContainerUsage]:
        """``found``, in which the containers of ``pods`` (their UIDs) have their parts."""
        count = Counter(one.pod_uid for one in found if one.pod_uid in pods)
        whole = {one.pod_uid: one.cpu_nanoseconds for one in found if one.pod_uid in pods}
        given = {}
        for one in found:
            if one.pod_uid in pods:
                used = max(0, whole[one.pod_uid] - self._whole.get(one.pod_uid, 0))
                given[one.id] = self._given.get(one.id, 0) + used // count[one.pod_uid]
        self._given, self._whole = given, whole
        return [_part(one, given[one.id], count[one.pod_uid]) if one.pod_uid in pods else one for one in found]


def _part(one: ContainerUsage, cpu_nanoseconds: int, count: int) -> ContainerUsage:
    def of(amount: int | None) -> int | None:
        return None if amount is None else amount // count

    return replace(
        one,
        cpu_nanoseconds=cpu_nanoseconds,
        memory_bytes=one.memory_bytes // count,
        memory_usage_bytes=of(one.memory_usage_bytes),
        rss_bytes=of(one.rss_bytes),
        page_faults=of(one.page_faults),
        major_page_faults=of(one.major_page_faults),
    )
