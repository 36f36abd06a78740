"""All further hosts of this machine together: each joins by a token, as any machine would."""

from __future__ import annotations

import asyncio

import structlog

from kontinuum.cli import hosts, membership
from kontinuum.cli.commands import token as tokens
from kontinuum.cli.hosts import Host
from kontinuum.cli.installation import Installation
from kontinuum.cli.settings import Settings, joining_address
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError

log = structlog.get_logger(__name__)

TOKEN_SECONDS = 600.0
AGAIN_SECONDS = 2.0


async def start(settings: Settings, clock: Clock) -> None:
    """Return when every host is ready; what fails is tried again. The API server and the controllers work."""
    await asyncio.gather(*(_until_started(host, settings, clock) for host in hosts.planned(settings)))


async def stop(paths: Installation, clock: Clock) -> None:
    """Stop what runs on them, and switch them off."""
    results = await asyncio.gather(
        *(hosts.shut_down(host, clock) for host in hosts.known(paths)), return_exceptions=True
    )
    for problem in results:
        if isinstance(problem, BaseException):
            log.error("a host does not stop", error=str(problem))


async def _until_started(host: Host, settings: Settings, clock: Clock) -> None:
    while True:
        try:
            await _start(host, settings, clock)
        except KontinuumError as error:
            log.error("a host cannot be started and will be tried again", host=host.name, error=str(error))
            await clock.sleep(AGAIN_SECONDS)
        else:
            log.info("a host is ready", host=host.name, address=host.address)
            return


async def _start(host: Host, settings: Settings, clock: Clock) -> None:
    if membership.read(host.paths).get("member_of") == joining_address(settings):
        await hosts.power_on(host, settings, clock)
        return
    made = await tokens.create(settings, clock, ttl=TOKEN_SECONDS, description=f"for the host {host.name}")
    join = ("--server", made["server"], "--token", made["token"], "--ca-hash", made["caHash"])
    await hosts.power_on(host, settings, clock, join)
    await tokens.delete(settings, made["token"])
