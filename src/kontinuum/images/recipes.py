"""The images that Kontinuum ships with: the pause image of every sandbox, a shell for tests, and the demo's web server.

A recipe is data where it can be: packages in, files and links laid over them, and what the image runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.images import debian
from kontinuum.images.oci import ImageConfig, build_archive

ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
NGINX_CONFIGURATION = """\
worker_processes 1;
daemon off;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  server {
    listen 80 default_server;
    root /var/www/html;
    index index.html index.nginx-debian.html;
  }
}
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one image is made. ``reference`` is what pods name it by."""

    reference: str
    config: ImageConfig
    packages: tuple[str, ...] = ()
    """Of the distribution; the libraries that they need come with them."""
    files: dict[str, str] = field(default_factory=dict)
    """Path in the image → text."""
    directories: tuple[str, ...] = ()
    prepare: Callable[[Path], Awaitable[None]] | None = None
    """What is left to do in the tree by hand."""

    @property
    def archive(self) -> str:
        """File name of the archive: ``localhost/nginx:1`` becomes ``nginx.tar``."""
        return self.reference.rpartition("/")[2].partition(":")[0] + ".tar"


async def build(recipe: Recipe, *, target: Path, scratch: Path) -> str:
    """Make the image's tree in ``scratch`` and its archive at ``target``; answers the manifest's digest."""
    scratch.mkdir(parents=True)
    if recipe.packages:
        await debian.root_file_system(recipe.packages, root=scratch)
    for directory in recipe.directories:
        (scratch / directory).mkdir(parents=True, exist_ok=True)
    for path, text in recipe.files.items():
        file = scratch / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if recipe.prepare:
        await recipe.prepare(scratch)
    return build_archive(target, reference=recipe.reference, root=scratch, config=recipe.config)


async def compile_pause(root: Path) -> None:
    """The pause program, static, as the only file of its image."""
    source = Path(__file__).with_name("pause") / "pause.c"
    await compile_static([source], target=root / "pause")


async def compile_static(sources: list[Path], *, target: Path) -> None:
    """Compile C ``sources`` into one small static program."""
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-static", "-Os", "-s", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    await process.run("musl-gcc", *flags, "-o", target, *sources, timeout=300)


async def compile_shared(sources: list[Path], *, target: Path) -> None:
    """Compile C ``sources`` into a library for the host's programs; it may use nothing but what they have loaded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-shared", "-fPIC", "-nostdlib", "-Os", "-s", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    await process.run("gcc", *flags, "-o", target, *sources, timeout=300)


async def link_busybox(root: Path) -> None:
    """A link in /bin for every applet of busybox that the image does not have as a program of its own."""
    busybox = root / "bin/busybox"
    listing = await process.run(busybox, "--list", timeout=30)
    for applet in listing.text.split():
        if not any((root / place / applet).exists() for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
            (root / "bin" / applet).symlink_to("/bin/busybox")
    (root / "tmp").chmod(0o1777)


PAUSE = Recipe(reference="localhost/pause:1", config=ImageConfig(entrypoint=("/pause",)), prepare=compile_pause)
SHELL_DIRECTORIES = ("root", "tmp", "run", "var/tmp", "proc", "sys", "dev", "etc")
BUSYBOX_IMAGE = Recipe(
    reference="localhost/busybox:1",
    config=ImageConfig(command=("/bin/sh",)),
    packages=("busybox-static",),
    files=ACCOUNTS,
    directories=SHELL_DIRECTORIES,
    prepare=link_busybox,
)
NGINX = Recipe(
    reference="localhost/nginx:1",
    config=ImageConfig(command=("/usr/sbin/nginx",), stop_signal="SIGQUIT"),
    packages=("busybox-static", "nginx", "nginx-common"),
    files={**ACCOUNTS, "etc/nginx/nginx.conf": NGINX_CONFIGURATION},
    directories=(*SHELL_DIRECTORIES, "var/lib/nginx", "var/log/nginx"),
    prepare=link_busybox,
)
RECIPES = (PAUSE, BUSYBOX_IMAGE, NGINX)
