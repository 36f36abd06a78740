"""Thousands of lives of a cluster are run here: what the controllers log about each is of no interest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.pki import Authority


@pytest.fixture(scope="package", autouse=True)
def _quiet_logs() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="package")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority, whose key is beside it."""

    async def made() -> Authority:
        return Authority.ensure(tmp_path_factory.mktemp("pki"), VirtualClock())

    return virtual_time.run(made).certificate
