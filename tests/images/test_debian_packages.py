"""A package's files land in the tree of a Debian of today, whichever of two places the package names for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kontinuum.images import debian

SHOWN = """\
Package: nginx
Version: 1.26.3
Depends: libc6 (>= 2.34), libssl3t64 (>= 3.0.0), iproute2, default-mta | mail-transport-agent, python3:any
Description-en: small, powerful, scalable web/proxy server
 Nginx: a server.
Section: httpd

Package: libc6
Pre-Depends: libgcc-s1
Section: libs
"""


def package_of(directory: Path, *, file: str) -> Path:
    tree = directory / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@localhost>\nDescription: none\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / file).parent.mkdir(parents=True)
    (tree / file).write_text(file)
    subprocess.run(["dpkg-deb", "--build", tree, directory / "p.deb"], check=True, capture_output=True)
    return directory / "p.deb"


async def test_files_are_found_below_usr_and_beside_it_wherever_their_package_has_them(tmp_path: Path) -> None:
    packages = [package_of(tmp_path / name, file=f"{name}/modules/{name[:3]}") for name in ("lib", "usr/lib")]
    await debian.unpack(packages, root=tmp_path / "root")
    for place in ("lib", "usr/lib"):
        names = {path.name: path.read_text() for path in (tmp_path / "root" / place / "modules").iterdir()}
        assert names == {"lib": "lib/modules/lib", "usr": "usr/lib/modules/usr"}


def test_of_what_apt_says_the_name_the_section_and_the_first_of_alternatives_are_taken() -> None:
    assert debian.described(SHOWN) == [
        debian.Package("nginx", "httpd", ("libc6", "libssl3t64", "iproute2", "default-mta", "python3")),
        debian.Package("libc6", "libs", ("libgcc-s1",)),
    ]
