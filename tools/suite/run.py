"""Starts Kontinuum on two hosts of this machine and runs the suite against it; wants namespaces of its own.

First what may run side by side, then one by one what must be alone. The reports lie in a directory for each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.suite import classes
from tools.suite.results import conformance

KONTINUUM = Path(sys.executable).with_name("kontinuum")
ALONE = r"\[Serial\]|\[Disruptive\]"


@dataclass(frozen=True, slots=True)
class Suite:
    """What was prepared, and where it is to be run."""

    directory: Path
    source: Path
    kubectl: Path
    focus: str
    """A regular expression: only tests whose names it matches."""
    workers: int
    isolation_class: str
    """Of all pods; empty: as they come."""

    @property
    def programs(self) -> Path:
        return self.directory / "programs"

    @property
    def images(self) -> Path:
        return self.directory / "images"

    @property
    def data(self) -> Path:
        """The data directory of the cluster that is tested."""
        return self.directory / "data"

    @property
    def reports(self) -> Path:
        return self.directory / "reports"


def run(suite: Suite) -> None:
    """The reports say what came of it. The cluster is gone at the end, however that comes."""
    try:
        kontinuum("up", "--detach", "--nodes", "2", data=suite.data)
        for image in sorted(suite.images.glob("*.tar")):
            kontinuum("image", "import", "--host", "*", image, data=suite.data)
        if suite.isolation_class:
            classes.give(classes.kubectl(suite.kubectl, suite.data / "kubeconfig"), suite.isolation_class)
        with beside(sys.executable, "-m", "tools.suite.tokens", suite.data / "kubeconfig"):
            part(suite, "together", suite.workers, "-focus", conformance(suite.focus), "-skip", ALONE)
            # Regular expressions know no "and"; the mark of the conformance tests is always the last of a name.
            both = f"({suite.focus}).*({ALONE})|({ALONE}).*({suite.focus})"
            part(suite, "alone", 1, "-focus", conformance(both))
    finally:
        kontinuum("reset", "--yes", data=suite.data)


def part(suite: Suite, name: str, workers: int, *which: str) -> None:
    report = suite.reports / name
    report.mkdir(parents=True)
    print(f"{name}: {report / 'log'}", flush=True)
    command: list[str | Path] = [
        suite.programs / "ginkgo", "-noColor", f"-nodes={workers}", *which, suite.programs / "e2e.test", "--",
        f"--kubeconfig={suite.data / 'kubeconfig'}", "--provider=skeleton", "--num-nodes=2", "--disable-log-dump",
        f"--kubectl-path={suite.kubectl}", f"--repo-root={suite.source}", f"--report-dir={report}",
    ]  # fmt: skip
    with (report / "log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)


@contextmanager
def beside(*command: str | Path) -> Iterator[None]:
    """``command`` runs meanwhile."""
    running = subprocess.Popen(command)
    try:
        yield
    finally:
        running.terminate()
        running.wait()


def kontinuum(*arguments: str | Path, data: Path) -> None:
    subprocess.run([KONTINUUM, *arguments, "--data-dir", data], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for place in ("directory", "source", "kubectl"):
        parser.add_argument(place, type=Path)
    parser.add_argument("focus")
    parser.add_argument("workers", type=int)
    parser.add_argument("isolation_class")
    run(Suite(**vars(parser.parse_args())))
