"""How every benchmark prints: the machine first, then one line per figure, against what it should reach."""

from __future__ import annotations

import json
import mmap
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

PACES = 15
"""How often the machine's pace is taken: about a second in all, because neighbours come and go within less."""
FRESH_BYTES = 64 << 20


def pace() -> float:
    """The machine's own pace: milliseconds of a processor for a fixed piece of work, the middle one of ``PACES``.

    The work is of the kind that servers and their clients do, and none of our code: documents are read, changed and
    written. A machine whose neighbours share its processors may need twice the time that it needed a minute before;
    figures of different minutes are worth comparing only together with it.
    """
    return statistics.median(_fixed_work() for _ in range(PACES))


def _fixed_work() -> float:
    document = {"metadata": {"labels": {f"label-{each}": "a value" for each in range(40)}}, "spec": list(range(200))}
    text = json.dumps(document)
    began = time.process_time()
    for each in range(1000):
        read = json.loads(text)
        read["metadata"]["labels"][f"label-{each % 40}"] = str(each)
        text = json.dumps(read)
    return 1000 * (time.process_time() - began)


def fresh_memory() -> float:
    """Microseconds of a processor for 4 KiB of memory that nobody has used lately.

    The host of a virtual machine may have to find it first: 13 µs were seen where it does that page by page, and 0.3
    where it is there. Whoever starts a process or a machine pays this for all that they come to hold.
    """
    with mmap.mmap(-1, FRESH_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        # Large pages come of memory that is free as a whole; single ones were somebody's a moment ago.
        memory.madvise(mmap.MADV_HUGEPAGE)
        began = time.process_time()
        for at in range(0, FRESH_BYTES, 4096):
            memory[at] = 1
        return 1e6 * (time.process_time() - began) / (FRESH_BYTES // 4096)


def machine(workload: str) -> None:
    """Print what is measured, and on what: a reader must be able to compare."""
    memory = next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    load = "/".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"# {workload}")
    print(f"# {os.cpu_count()} CPUs, {int(memory) >> 20} GiB, Linux {platform.release()}, load {load}")
    print(f"# Python {platform.python_version()}, {paced()}, 4 KiB of fresh memory {fresh_memory():.1f} µs", flush=True)


def paced() -> str:
    """The machine's pace now, in words."""
    return f"a fixed piece of work takes {pace():.0f} ms here and now"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of ``values`` lie; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figure(name: str, values: Sequence[float], *, unit: str, reach: float | None = None, kubernetes: str = "") -> None:
    """One line: median, spread, count, and whether the figure to reach was reached."""
    median = statistics.median(values)
    verdict = "" if reach is None else f"  reach ≤ {reach:g} {unit}: {_verdict(median <= reach)}"
    spread = f"min {min(values):.3g}  p99 {percentile(values, 0.99):.3g}  max {max(values):.3g}"
    print(f"{name}: p50 {median:.3g} {unit}  ({spread}, n={len(values)}){verdict}{_beside(kubernetes)}", flush=True)


def rate(
    name: str,
    per_second: float,
    took: Sequence[float],
    *,
    reach: float,
    p99: float | None = None,
    kubernetes: str = "",
    server_us: float = 0.0,
) -> None:
    """One line: how many a second, how long each took (milliseconds), and whether both are as they should be.

    ``server_us``: microseconds of CPU that each cost the server, if that is known.
    """
    middle, last = percentile(took, 0.5), percentile(took, 0.99)
    is_held = per_second >= reach and (p99 is None or last <= p99)
    wanted = f"≥ {reach:,.0f}/s" + ("" if p99 is None else f", p99 ≤ {p99:g} ms")
    timing = f"p50 {middle:.2f} ms, p99 {last:.2f} ms, n={len(took)}"
    timing += f", server {server_us:.0f} us each" if server_us else ""
    print(
        f"{name}: {per_second:,.0f}/s  ({timing})  reach {wanted}: {_verdict(is_held)}{_beside(kubernetes)}", flush=True
    )


def held(said: str, is_held: bool, *, wanted: str, kubernetes: str = "") -> None:
    """One line: a figure that is not one of many, and whether it is as it should be."""
    print(f"{said}  reach {wanted}: {_verdict(is_held)}{_beside(kubernetes)}", flush=True)


def _verdict(is_held: bool) -> str:
    return "held" if is_held else "NOT YET HELD"


def _beside(kubernetes: str) -> str:
    return f"  (Kubernetes: {kubernetes})" if kubernetes else ""
