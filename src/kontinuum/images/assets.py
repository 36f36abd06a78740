"""Everything that is built once before Kontinuum can run: static programs, guest kernel and agent, the first images.

``python -m kontinuum.images.assets DIRECTORY`` makes what is missing or out of date, and says what it does.

    DIRECTORY/bin/     containerd-shim-kontinuum-v1, kontinuum-runsc, kontinuum-jail, readonly.so
    DIRECTORY/guest/   vmlinux, initramfs.cpio, agent
    DIRECTORY/rehearsal/   what a microVM that waits for its pod has run once: the root of a container
    DIRECTORY/images/  pause.tar, busybox.tar, nginx.tar
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from kontinuum.foundation.errors import KontinuumError
from kontinuum.images import guest, recipes

PACKAGE = Path(__file__).parents[1]
# Sources by path, not by import: the runtime is a floor above us, and all we need of it is C text to compile.
RUNTIME = PACKAGE / "runtime"
SHIM_CLIENT, JAIL, READ_ONLY = RUNTIME / "client/client.c", RUNTIME / "jail/jail.c", RUNTIME / "jail/readonly.c"
RUNSC_ADAPTER = RUNTIME / "client/runsc.c"
REHEARSED = RUNTIME / "warm/rehearse.c"


def fingerprint(*, sources: Iterable[Path] = (), facts: Iterable[str] = ()) -> str:
    """A digest of everything an asset is made from; when it changes, the asset is made again."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    for fact in facts:
        digest.update(fact.encode())
    return digest.hexdigest()


async def make(target: Path, *, of: str, build: Callable[[Path], Awaitable[object]]) -> bool:
    """Build ``target`` unless it stands there already, built of the same; True if it was built."""
    stamp = target.with_name(f".{target.name}.of")
    if target.exists() and stamp.exists() and stamp.read_text() == of:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f"  building {target.name} ...", flush=True)
    await build(target)
    stamp.write_text(of)
    print(f"  built {target.name} in {time.monotonic() - began:.1f} s", flush=True)
    return True


async def make_image(recipe: recipes.Recipe, directory: Path) -> None:
    """Make one image's archive."""

    async def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="kontinuum-image-") as scratch:
            await recipes.build(recipe, target=target, scratch=Path(scratch) / "root")

    modules = [Path(__file__).with_name(name) for name in ("recipes.py", "debian.py", "oci.py")]
    sources = [*modules, *Path(__file__).with_name("pause").iterdir()]
    await make(directory / recipe.archive, of=fingerprint(sources=sources, facts=[recipe.reference]), build=build)


async def make_programs(directory: Path) -> None:
    """Compile what containerd calls for each microVM pod and for each sandbox, and what confines a microVM's VMM."""
    for source, name, compiler in (
        (SHIM_CLIENT, "containerd-shim-kontinuum-v1", recipes.compile_static),
        (RUNSC_ADAPTER, "kontinuum-runsc", recipes.compile_static),
        (JAIL, "kontinuum-jail", recipes.compile_static),
        (READ_ONLY, "readonly.so", recipes.compile_shared),
    ):
        await make(
            directory / name,
            of=fingerprint(sources=[source]),
            build=lambda target, source=source, compiler=compiler: compiler([source], target=target),  # type: ignore[misc]
        )


async def make_rehearsal(directory: Path) -> None:
    """Compile what a machine runs before its pod is known. The stamp lies beside the root, not in it."""

    async def build(target: Path) -> None:
        for place in ("proc", "dev", "sys", "volume"):
            (target / place).mkdir(parents=True, exist_ok=True)
        await recipes.compile_static([REHEARSED], target=target / "rehearse")

    await make(directory, of=fingerprint(sources=[REHEARSED]), build=build)


async def make_all(directory: Path) -> None:
    """Make every asset. One after the other: two cores are busy with one of them already."""
    await make_programs(directory / "bin")
    await make_rehearsal(directory / "rehearsal")
    await guest.build_guest(directory)
    for recipe in recipes.RECIPES:
        await make_image(recipe, directory / "images")


def main(arguments: list[str]) -> int:
    """The command's body; answers its exit code."""
    if len(arguments) != 1:
        print("usage: python -m kontinuum.images.assets DIRECTORY", file=sys.stderr)
        return 2
    try:
        asyncio.run(make_all(Path(arguments[0]).absolute()))
    except KontinuumError as error:
        print(f"assets: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
