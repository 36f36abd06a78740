"""The entry of every process that never speaks to a terminal: ``python -m kontinuum.cli.run NAME ...``.

It keeps ``rich`` out: structlog imports that wherever it is installed, for coloured tracebacks. Nobody would see them
here, and each process would pay 0.2 s of its start and 8 MB of its memory.
"""

from __future__ import annotations

import sys
from typing import cast


def main(arguments: list[str]) -> int:
    """Become the supervisor, the shim's warm parent, or the part that ``arguments[0]`` names. Returns the exit code."""
    # What the import system reads as "not installed".
    cast(dict[str, object], sys.modules).setdefault("rich", None)
    name, *rest = arguments
    if name == "supervisor":
        from kontinuum.cli import supervisor

        return supervisor.main(rest)
    if name == "shim-parent":
        from kontinuum.runtime import parent

        return parent.main(rest)
    from kontinuum.cli import parts

    return parts.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
