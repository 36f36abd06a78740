"""Whom the host's kernel kills first when the whole host is out of memory: the machine stands in for its containers.

Kubernetes gives each container a number by what its pod asked for (``process.oomScoreAdj`` of its specification): 1000
for who asked for nothing, less for who asked for much. The process that holds their memory is the VMM. Without a number
of its own it would be spared before the host's own daemons as soon as these are larger.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from kontinuum.runtime.oci import Document

PROC = Path("/proc")


def of_machine(containers: Iterable[Document]) -> int | None:
    """The number for the machine of these containers: as safe as the safest of them. None: nobody says."""
    numbers = [(spec.get("process") or {}).get("oomScoreAdj") for spec in containers]
    return min((number for number in numbers if number is not None), default=None)


def put(pid: int, number: int, proc: Path = PROC) -> None:
    """Best effort: the process may have ended, and not every root may make a process safer than itself."""
    with suppress(OSError):
        (proc / str(pid) / "oom_score_adj").write_text(str(number))
