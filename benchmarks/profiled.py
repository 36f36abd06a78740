"""A scheduler, profiled: ``python -m benchmarks.profiled STATISTICS KUBECONFIG``."""

from __future__ import annotations

import cProfile
import os
import sys
from pathlib import Path

from kontinuum.cli import parts
from kontinuum.cli import settings as composing


def main() -> None:
    statistics, kubeconfig = sys.argv[1:]
    settings = composing.load(
        kubeconfig=Path(kubeconfig), overrides={"scheduler": {"elect": False}}, environment=os.environ
    )
    told = os.memfd_create("settings")
    os.write(told, composing.encode(settings))
    os.lseek(told, 0, os.SEEK_SET)
    os.dup2(told, 0)
    profile = cProfile.Profile()
    profile.enable()
    try:
        parts.main(["scheduler"])
    finally:
        profile.disable()
        profile.dump_stats(statistics)


if __name__ == "__main__":
    main()
