"""Runs Kubernetes' own conformance tests against Kontinuum on this machine, and says what came of it.

    python -m tools.suite DIRECTORY [--focus REGEX] [--workers N] [--class CLASS]

See docs/how-to/conformance-suite.md. ``DIRECTORY`` keeps the source, the programs and the images, and gets the reports.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.suite import images, source
from tools.suite.results import judge, known, read_reasons, read_reports

from kontinuum.foundation.errors import KontinuumError

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / "build/kubectl/kubectl.1.20"
"""The tests read what the kubectl of their own version prints."""
APART = 'ip link set lo up && mkdir -p /run/kontinuum && mount -t tmpfs tmpfs /run/kontinuum && exec "$@"'
"""In network and mount namespaces of their own: neither a cluster of this machine nor its network is touched."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.suite")
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--focus", default="", help="only conformance tests whose names this regular expression matches"
    )
    parser.add_argument("--workers", type=int, default=4, help="tests side by side")
    parser.add_argument("--class", dest="isolation_class", default="", help="the isolation class of every pod")
    asked = parser.parse_args()
    directory = asked.directory.resolve()
    if os.geteuid():
        print("suite: hosts of their own need root", file=sys.stderr)
        return 2
    try:
        tree = source.fetch(directory)
        source.build(tree, directory / "programs")
        asyncio.run(images.make(tree, directory / "programs", directory / "images"))
    except (source.Impossible, KontinuumError) as error:
        print(f"suite: {error}", file=sys.stderr)
        return 2
    reports = directory / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    apart = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", APART, "suite"]
    how = [asked.focus, str(asked.workers), asked.isolation_class]
    suite = [sys.executable, "-m", "tools.suite.run", directory, tree, KUBECTL, *how]
    subprocess.run([*apart, *suite], cwd=ROOT, check=True)
    reasons = [read_reasons(one.read_text()) for one in known(asked.isolation_class)]
    verdict = judge(read_reports(reports, asked.focus), {name: why for one in reasons for name, why in one.items()})
    print(verdict)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
