"""Servers for the tests of this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.apiserver.serving import Api, Certificates, make_certificates, serving

from kontinuum.store.memory.store import MemoryStore


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def api(certificates: Certificates) -> AsyncIterator[Api]:
    async with serving(MemoryStore(), certificates) as api:
        yield api
