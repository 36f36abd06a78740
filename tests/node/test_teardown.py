"""Taking a node apart finds the pods that were still being made when it began."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.foundation import virtual_time
from kontinuum.node import teardown
from kontinuum.node.port import Fingerprint
from kontinuum.node.settings import NodeSettings


class Runtime:
    """What each look at the runtime finds, one after the other; nothing after the last."""

    def __init__(self, *looks: dict[str, Fingerprint]) -> None:
        self.looks = list(looks)

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def fingerprints(self) -> dict[str, Fingerprint]:
        return self.looks.pop(0) if self.looks else {}


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    uids: list[str] = []

    async def remove(runtime: Any, settings: NodeSettings, uid: str, grace: int) -> None:
        uids.append(uid)

    monkeypatch.setattr(teardown, "_remove_pod", remove)
    return uids


def fingerprint(name: str) -> Fingerprint:
    return Fingerprint(namespace="default", name=name, states=frozenset())


def test_a_sandbox_that_appears_after_the_first_look_is_removed_too(
    monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    runtime = Runtime({}, {"late": fingerprint("late")})
    monkeypatch.setattr(teardown, "CriClient", lambda socket: runtime)
    assert virtual_time.run(lambda: teardown.stop_every_pod(NodeSettings())) == []
    assert removed == ["late"]
