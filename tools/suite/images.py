"""The images that the tests of the suite run, under the names by which the tests call them.

    python -m tools.suite.images SOURCE PROGRAMS DIRECTORY

``SOURCE`` is the unpacked source of Kubernetes, ``PROGRAMS`` has what was built of it, ``DIRECTORY`` gets one OCI
archive for each image. Nothing comes from a registry: what else the tests call in their images (dig, curl, a web
server, etcd) comes from Debian's packages.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.images.oci import ImageConfig
from kontinuum.images.recipes import BUSYBOX_IMAGE, NGINX, PAUSE, Recipe, build, link_busybox

INSTALLERS = (
    "adduser", "base-files", "debconf", "debianutils", "dpkg", "gcc-*-base", "init-system-helpers",
    "libfile-find-rule-perl", "libnumber-compare-perl", "libpam*", "libperl*", "libtext-glob-perl", "mawk", "passwd",
    "perl*", "tar", "usrmerge",
)  # fmt: skip
"""What packages need to be installed, not to run."""
TOOLS = ("bash", "bind9-dnsutils", "curl", "iperf", "iproute2", "libc-bin", "netcat-openbsd")
"""What tests call in the image of agnhost."""
LIBRARY, TESTS, AGNHOST = (
    "docker.io/library",
    "gcr.io/kubernetes-e2e-test-images",
    "k8s.gcr.io/e2e-test-images/agnhost:2.21",
)
HTTPD_PAGES, NGINX_PAGES = "usr/local/apache2/htdocs", "usr/share/nginx/html"
Prepare = Callable[[Path], Awaitable[None]]


async def closure(*packages: str) -> tuple[str, ...]:
    """``packages`` and all that they need to run, as a machine without any package would have to install them."""
    with tempfile.NamedTemporaryFile() as nothing_installed:
        simulated = await process.run(
            "apt-get", "-o", f"Dir::State::status={nothing_installed.name}", "-o", "APT::Install-Recommends=false",
            "install", "--simulate", *packages, timeout=120,
        )  # fmt: skip
    found = re.findall(r"^Inst (\S+)", simulated.text, re.MULTILINE)
    return tuple(one for one in found if not any(fnmatch.fnmatch(one, pattern) for pattern in INSTALLERS))


def with_files(
    files: dict[str, Path], *, links: dict[str, str] | None = None, then: Prepare | None = link_busybox
) -> Prepare:
    """Lay ``files`` (path in the image → file of this machine) and ``links`` (path → where it leads) into the image."""

    async def prepare(root: Path) -> None:
        for path, source in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / path)
        for path, target in (links or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        if then:
            await then(root)

    return prepare


async def privileged(root: Path) -> None:
    """The program that tells as whom it runs is root's, whoever starts it."""
    await link_busybox(root)
    (root / "usr/local/bin/nnp").chmod(0o6755)


def web(reference: str, pages: str, page: str) -> Recipe:
    """A web server with ``page`` at the place where its users look. It ends when it is told to, unlike busybox's."""
    files = dict(NGINX.files)
    files["etc/nginx/nginx.conf"] = files["etc/nginx/nginx.conf"].replace("root /var/www/html", f"root /{pages}")
    files |= {f"{pages}/index.html": page, "etc/mime.types": ""}
    return replace(NGINX, reference=reference, files=files)


async def recipes(source: Path, programs: Path) -> list[Recipe]:
    """Every image that a conformance test names."""
    images = source / "test/images"
    agnhost = {
        "agnhost": programs / "agnhost",
        "localhost.crt": images / "agnhost/porter/localhost.crt",
        "localhost.key": images / "agnhost/porter/localhost.key",
    }
    of_agnhost = replace(
        BUSYBOX_IMAGE,
        reference=AGNHOST,
        config=ImageConfig(
            entrypoint=("/agnhost",), command=("pause",), ports=("80/tcp", "8080/tcp", "8081/tcp", "9376/tcp")
        ),
        packages=("busybox-static", *await closure(*TOOLS)),
        directories=(*BUSYBOX_IMAGE.directories, "uploads"),
        prepare=with_files(
            agnhost,
            links={
                "agnhost-2": "agnhost",
                "usr/local/bin/iperf": "/usr/bin/iperf",
                "bin/nc": "nc.openbsd",
                # Busybox's own shell would call its own nc, wherever another one lies.
                "bin/sh": "bash",
            },
        ),
    )

    def animal(name: str) -> Recipe:
        html = images / name / "html"
        return replace(
            of_agnhost,
            reference=f"{TESTS}/{name}:1.0",
            config=replace(of_agnhost.config, command=("test-webserver",)),
            packages=("busybox-static",),
            prepare=with_files(agnhost | {one.name: one for one in html.iterdir()}),
        )

    def program(reference: str, name: str, *arguments: str) -> Recipe:
        config = ImageConfig(entrypoint=(f"/{name}", *arguments))
        return replace(BUSYBOX_IMAGE, reference=reference, config=config, prepare=with_files({name: programs / name}))

    return [
        replace(PAUSE, reference="k8s.gcr.io/pause:3.2"),
        replace(BUSYBOX_IMAGE, reference=f"{LIBRARY}/busybox:1.29"),
        of_agnhost,
        animal("nautilus"),
        animal("kitten"),
        *(
            web(f"{LIBRARY}/httpd:{tag}", HTTPD_PAGES, "<html><body><h1>It works!</h1></body></html>\n")
            for tag in ("2.4.38-alpine", "2.4.39-alpine")
        ),
        *(
            web(f"{LIBRARY}/nginx:{tag}", NGINX_PAGES, "<html><body><h1>Welcome to nginx!</h1></body></html>\n")
            for tag in ("1.14-alpine", "1.15-alpine")
        ),
        replace(
            BUSYBOX_IMAGE,
            reference=f"{TESTS}/jessie-dnsutils:1.0",
            packages=("busybox-static", *await closure("bind9-dnsutils", "libc-bin")),
        ),
        replace(
            BUSYBOX_IMAGE,
            reference=f"{TESTS}/nonewprivs:1.0",
            config=ImageConfig(command=("nnp",)),
            prepare=with_files({"usr/local/bin/nnp": programs / "nnp"}, then=privileged),
        ),
        replace(BUSYBOX_IMAGE, reference=f"{TESTS}/nonroot:1.0", config=ImageConfig(command=("/bin/sh",), user="1234")),
        # Its rules of priority and fairness are of an API that was withdrawn: it would wait for them for ever.
        program(f"{TESTS}/sample-apiserver:1.17", "sample-apiserver", "--feature-gates=APIPriorityAndFairness=false"),
        replace(
            BUSYBOX_IMAGE,
            reference="k8s.gcr.io/etcd:3.4.13-0",
            packages=("busybox-static", *await closure("etcd-server")),
            prepare=with_files({}, links={"usr/local/bin/etcd": "/usr/bin/etcd"}),
        ),
    ]


def archive_of(reference: str) -> str:
    """``k8s.gcr.io/pause:3.2`` lies in ``pause-3.2.tar``."""
    return reference.rpartition("/")[2].replace(":", "-") + ".tar"


async def make(source: Path, programs: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for recipe in await recipes(source, programs):
        target = directory / archive_of(recipe.reference)
        if target.exists():
            continue
        with tempfile.TemporaryDirectory(prefix="suite-image-") as scratch:
            await build(recipe, target=target.with_suffix(".new"), scratch=Path(scratch) / "root")
        target.with_suffix(".new").rename(target)
        print(f"  {recipe.reference}", flush=True)


if __name__ == "__main__":
    asyncio.run(make(*(Path(argument).resolve() for argument in sys.argv[1:])))
