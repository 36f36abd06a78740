"""The adapter for gVisor's runsc, asked as containerd's shim for runc asks, before a runsc that only says its lines."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kontinuum.images.assets import RUNSC_ADAPTER

RUNSC = """#!/bin/sh
case "$*" in
    *" create "*) [ -z "$SANDBOX" ] || echo "$SANDBOX" > init.pid ;;
    *" start "*) echo "starting container: no such file or directory" >&2; exit 128 ;;
    *" kill "*) echo "cannot signal container \\"one\\" in state created" >&2; exit 128 ;;
esac
"""
"""Of a container that was created and is never started. It loads a program when it starts it, and not before."""


@dataclass(frozen=True)
class Adapter:
    program: Path
    bundle: Path
    sandbox: int = 0
    """The process that runsc names when it has created a container."""

    def has(self, kind: str) -> None:
        self.bundle.mkdir()
        annotations = f'"annotations":{{"io.kubernetes.cri.container-type":"{kind}"}}'
        (self.bundle / "config.json").write_text(f'{{{annotations},"linux":{{"namespaces":[{{"type":"pid"}}]}}}}')

    def asked(self, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        runsc = self.program.with_name("runsc")
        environment = {"PATH": "/usr/bin:/bin", "KONTINUUM_RUNSC": str(runsc), "SANDBOX": str(self.sandbox or "")}
        command = [self.program, "--root", self.bundle / "root", "--log", self.bundle / "log.json", *words]
        return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)

    def create(self) -> subprocess.Popen[str]:
        made = self.asked("create", "--bundle", str(self.bundle), "--pid-file", str(self.bundle / "init.pid"), "one")
        assert made.wait() == 0
        return made

    def ask(self, *words: str) -> tuple[int, str]:
        """The exit status and the complaints."""
        asked = self.asked(*words)
        _, complaints = asked.communicate()
        return asked.returncode, complaints


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("adapter")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", directory / "adapter", RUNSC_ADAPTER], check=True)
    (directory / "runsc").write_text(RUNSC)
    (directory / "runsc").chmod(0o755)
    return directory / "adapter"


def test_what_could_not_be_started_is_said_to_have_ended(program: Path, tmp_path: Path) -> None:
    """The shim may not know yet that the waiter has ended, and containerd keeps for ever what it could not kill."""
    adapter = Adapter(program, tmp_path / "bundle")
    adapter.has("container")
    with adapter.create():
        assert adapter.ask("start", "one") == (128, "")
        assert adapter.ask("kill", "--all", "one", "9") == (128, "container not running\n")


def test_a_container_that_waits_to_be_started_ends_when_it_is_killed(program: Path, tmp_path: Path) -> None:
    adapter = Adapter(program, tmp_path / "bundle")
    adapter.has("container")
    with adapter.create() as waiter:
        assert adapter.ask("kill", "one", "15")[0] != 0
        assert adapter.ask("kill", "one", "9") == (0, "")
        assert waiter.stdout is not None
        assert waiter.stdout.read() == ""  # So nobody holds it any more.


def test_a_sandbox_that_could_not_be_started_ends_when_it_is_killed(program: Path, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        adapter = Adapter(program, tmp_path / "bundle", process.pid)
        adapter.has("sandbox")
        try:
            with adapter.create():
                assert adapter.ask("kill", "--all", "one", "9") == (0, "")
            assert process.wait() == -9
            assert adapter.ask("kill", "--all", "one", "9") == (128, "container not running\n")
        finally:
            process.kill()
