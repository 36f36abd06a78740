"""The fake is honest: it does what containerd does."""

from __future__ import annotations

import pytest
from tests.node.fake_runtime import FakeRuntime, Program
from tests.node.runtime_conformance import CLAIMS, UID, Claim, container_labels, identity

from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.node.port import Config

PROGRAMS = {
    "lasting": Program(),
    "failing": Program(seconds=0.5, exit_code=3),
    "absent": Program(start_error="no such program"),
    "stubborn": Program(ignores_term=True),
}


class FakeSubject:
    def __init__(self) -> None:
        programs = {name: [program] for name, program in PROGRAMS.items()}
        self.runtime = FakeRuntime(VirtualClock(), programs=programs)

    def sandbox(self, attempt: int = 0) -> Config:
        metadata = {"name": "p", "uid": UID, "namespace": "default", "attempt": attempt}
        return {"metadata": metadata, "labels": identity()}

    def container(self, kind: str, attempt: int = 0) -> Config:
        return {"metadata": {"name": kind, "attempt": attempt}, "labels": container_labels(kind), "annotations": {},
                "image": {"image": "docker.io/library/app:1"}}  # fmt: skip

    async def wait_deaf(self, kind: str) -> None:
        """It is from its beginning."""


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_fake_keeps(claim: Claim) -> None:
    async def main() -> None:
        await claim(FakeSubject())

    virtual_time.run(main)
