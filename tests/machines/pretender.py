"""Firecracker's public API as a program of its own, for a jail: the fake, with the files of where it runs."""

import asyncio
import sys
from pathlib import Path


async def main() -> None:
    # Said by who makes a program of this: where our packages are.
    sys.path[:0] = PACKAGES  # noqa: F821
    from kontinuum.runtime.guest import greeter
    from kontinuum.runtime.vmm.firecracker.fake import FakeFirecracker

    await FakeFirecracker(id=sys.argv[-1], find=Path, agent=greeter.greet, version="1.14.0").serve()
    await asyncio.Event().wait()


asyncio.run(main())
