"""The suite itself: Kubernetes' source as Debian 12 has it, and the programs that are built of it.

Everything lies below one directory. apt is told to keep its lists there too: the machine's own configuration, which
need not know of sources, stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE, VERSION = "kubernetes", "v1.20.2"
IMPORT_PATH = "src/k8s.io/kubernetes"
"""Where Go wants the source, below its workspace."""
EMBEDDED = (
    "test/conformance/testdata/...", "test/e2e/testing-manifests/...", "test/e2e_node/testing-manifests/...",
    "test/images/...", "test/fixtures/...",
)  # fmt: skip
"""What the tests carry in them."""
PROGRAMS = {
    "agnhost": ["./test/images/agnhost"],
    "nnp": ["test/images/nonewprivs/nnp.go"],
    "sample-apiserver": ["./vendor/k8s.io/sample-apiserver"],
    "ginkgo": ["./vendor/github.com/onsi/ginkgo/ginkgo"],
}
NEEDED = {"go": "golang-go", "dpkg-source": "dpkg-dev"}
"""Program → the package that has it."""


class Impossible(Exception):
    """The suite cannot be had here; the text says what to do."""


def fetch(directory: Path) -> Path:
    """Kubernetes' source below ``directory``, once; answers where."""
    source = directory / "go" / IMPORT_PATH
    if source.exists():
        return source
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        raise Impossible(f"apt-get install {' '.join(missing)}, and try again")
    apt = _private_apt(directory / "apt")
    downloads = directory / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", *apt, "update", "-qq"], downloads)
    _run(["apt-get", *apt, "source", "-qq", PACKAGE], downloads)
    (unpacked,) = (one for one in downloads.glob(f"{PACKAGE}-*") if one.is_dir())
    if not unpacked.name.endswith(VERSION.removeprefix("v")):
        raise Impossible(f"{unpacked.name} is not the {VERSION} of Debian 12, the only suite that this knows to judge")
    source.parent.mkdir(parents=True, exist_ok=True)
    return unpacked.rename(source)


def build(source: Path, programs: Path) -> None:
    """What is not in ``programs`` yet, with Debian's Go and without a network: minutes of two processors."""
    environment = _environment(source, programs)
    for name, packages in PROGRAMS.items():
        _build(["go", "build", "-ldflags", "-s -w"], packages, programs / name, source, environment)
    if not (programs / "e2e.test").exists():
        _embed(programs, source, environment)
    _build(["go", "test", "-c", "-ldflags", _flags()], ["./test/e2e"], programs / "e2e.test", source, environment)


def build_kubelet(source: Path, programs: Path) -> None:
    """``programs/kubelet``, likewise; the suite itself does not need it (``make test-kubelet`` does)."""
    command = ["go", "build", "-ldflags", _flags()]
    _build(command, ["./cmd/kubelet"], programs / "kubelet", source, _environment(source, programs))


def _environment(source: Path, programs: Path) -> dict[str, str]:
    programs.mkdir(parents=True, exist_ok=True)
    workspace = source.parents[len(Path(IMPORT_PATH).parts) - 1]
    return {
        "GO111MODULE": "off", "GOPROXY": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
        "GOPATH": str(workspace), "GOCACHE": os.environ.get("GOCACHE") or str(programs.parent / "go-cache"),
    }  # fmt: skip


def _flags() -> str:
    """The linker's: a program says of which version it is."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    told = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in told.items())])


def _private_apt(directory: Path) -> list[str]:
    """Options with which apt knows the sources of the packages that it knows, and keeps to ``directory``."""
    lists = directory / "lists/partial"
    lists.mkdir(parents=True, exist_ok=True)
    told = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    known = _run(told, directory, capture=True).splitlines()
    # A codename of one word: the sources of Debian's own releases, without updates and without others' packages.
    places = sorted({line for line in known if re.fullmatch(r"\S+/debian/? [a-z]+ main", line)})
    if not places:
        raise Impossible("apt knows no repository of Debian here, which the suite's source comes from")
    sources = directory / "sources.list"
    sources.write_text("".join(f"deb-src {place}\n" for place in places))
    settings = {
        "Etc::SourceList": sources,
        "Etc::SourceParts": "/dev/null",
        "State::Lists": lists.parent,
        "Cache": directory,
    }
    # As its own user apt could not write here; it would warn at every file.
    return [
        "-o",
        "APT::Sandbox::User=root",
        *(word for key, value in settings.items() for word in ("-o", f"Dir::{key}={value}")),
    ]


def _embed(programs: Path, source: Path, environment: Mapping[str, str]) -> None:
    """Make the Go source that carries the tests' files."""
    tool = programs / "go-bindata"
    _build(["go", "build"], ["./vendor/github.com/go-bindata/go-bindata/go-bindata"], tool, source, environment)
    left_out = [word for one in (r"\.jpg", r"\.png", r"\.md", r"BUILD(\.bazel)?") for word in ("-ignore", one)]
    target = "test/e2e/generated/bindata.go"
    _run([tool, "-nometadata", "-o", target, "-pkg", "generated", *left_out, *EMBEDDED], source)


def _build(
    command: list[str], packages: Sequence[str], target: Path, source: Path, environment: Mapping[str, str]
) -> None:
    if target.exists():
        return
    print(f"  building {target.name} ...", flush=True)
    new = target.with_suffix(".new")
    _run([*command, "-o", new, *packages], source, environment)
    new.rename(target)


def _run(
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    capture: bool = False,
) -> str:
    """Raises Impossible if the program fails; what it says of that has been seen."""
    output = subprocess.PIPE if capture else None
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=directory, env=env, stdout=output, text=True, check=False)
    if done.returncode:
        raise Impossible(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout or ""


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    build_kubelet(fetch(place), place / "programs")
