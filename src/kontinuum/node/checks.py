"""One look at a container: run a command in it, fetch a page, open a connection. Probes and hooks use it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Protocol

import aiohttp
from yarl import URL

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Retryable
from kontinuum.node import grpc_health
from kontinuum.node.port import ContainerRuntime, RuntimeTimedOut

LARGEST_OUTPUT = 10 << 10
"""Bytes of a check's output that are looked at and shown, as in the kubelet."""
USER_AGENT = "kube-probe/1.36"
MOST_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)


class CheckFailed(Retryable):
    """The check did not succeed; the message is what it said, in the kubelet's words."""


class CheckImpossible(Retryable):
    """The check cannot be made: that says nothing about the container."""


class Checks(Protocol):
    """Raises CheckFailed unless the check succeeds within ``timeout`` seconds, CheckImpossible or RuntimeFailed if it
    cannot be made. Returns what it warns of, or ""."""

    async def check(self, handler: Object, container: Object, container_id: str, ip: str, timeout: float) -> str: ...


class Checker:
    """The real checks, from the node's own network namespace."""

    def __init__(self, runtime: ContainerRuntime) -> None:
        self._runtime = runtime

    async def check(self, handler: Object, container: Object, container_id: str, ip: str, timeout: float) -> str:
        """``handler`` is a probe or a lifecycle handler; ``ip`` the pod's address."""
        if "exec" in handler:
            await self._execute(handler["exec"].get("command") or [], container_id, timeout)
        elif "httpGet" in handler:
            return await _fetch(handler["httpGet"], container, ip, timeout)
        elif "tcpSocket" in handler:
            action = handler["tcpSocket"]
            await _connect(action.get("host") or ip, port_number(action["port"], container), timeout)
        elif "sleep" in handler:
            await asyncio.sleep(handler["sleep"]["seconds"])
        elif "grpc" in handler:
            await _ask_health(handler["grpc"], ip, timeout)
        else:
            raise CheckFailed(f"a handler of no type that this node knows: {', '.join(handler) or 'empty'}")
        return ""

    async def _execute(self, command: list[str], container_id: str, timeout: float) -> None:
        try:
            done = await self._runtime.execute(container_id, command, timeout)
        except RuntimeTimedOut as error:
            raise CheckFailed(timed_out({"exec": {"command": command}}, timeout)) from error
        if done.exit_code != 0:
            output = (done.stdout + done.stderr)[:LARGEST_OUTPUT].decode(errors="replace")
            raise CheckFailed(output or f"command exited with {done.exit_code}")


def timed_out(handler: Object, timeout: float) -> str:
    """What the kubelet says of a check that took longer than ``timeout`` seconds."""
    if "exec" not in handler:
        return "context deadline exceeded"
    command = json.dumps(" ".join(handler["exec"].get("command") or ()), ensure_ascii=False)
    return f"command timed out: {command} timed out after {timeout:g}s"


def port_number(port: int | str, container: Object) -> int:
    """A port given by number or by the name that the container gives it. Raises CheckImpossible."""
    if isinstance(port, int):
        return port
    for one in container.get("ports") or ():
        if one.get("name") == port:
            return int(one["containerPort"])
    if port.isdigit():
        return int(port)
    raise CheckImpossible(f'port "{port}" not found')


async def _fetch(action: Object, container: Object, ip: str, timeout: float) -> str:
    scheme = (action.get("scheme") or "HTTP").lower()
    host, port = action.get("host") or ip, port_number(action["port"], container)
    path = action.get("path") or "/"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    headers |= {one["name"]: one.get("value") or "" for one in action.get("httpHeaders") or ()}
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout)) as session, asyncio.timeout(timeout):
            return await _follow(session, URL(url), headers)
    except TimeoutError as error:
        raise CheckFailed(f'Get "{url}": context deadline exceeded') from error
    except aiohttp.ClientConnectorError as error:
        reason = (os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)).lower()
        raise CheckFailed(f'Get "{url}": dial tcp {host}:{port}: connect: {reason}') from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise CheckFailed(f'Get "{url}": {error}') from error


async def _follow(session: aiohttp.ClientSession, url: URL, headers: dict[str, str]) -> str:
    """Redirects within the host are followed; one that leads elsewhere is well, and warned of, as by the kubelet."""
    for _ in range(MOST_REDIRECTS):
        # A pod's certificate is its own affair: the probe asks whether it answers, not who it is.
        async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
            if not 200 <= answer.status < 400:
                raise CheckFailed(f"HTTP probe failed with statuscode: {answer.status}")
            if answer.status < 300:
                return ""
            target = answer.headers.get("Location") if answer.status in REDIRECTS else None
            following = url.join(URL(target)) if target else None
            if following is None or following.host != url.host:
                body = (await answer.content.read(LARGEST_OUTPUT)).decode(errors="replace")
                return f"Probe terminated redirects, Response body: {body}"
            url = following
    raise CheckFailed(f'Get "{url}": stopped after {MOST_REDIRECTS} redirects')


async def _ask_health(action: Object, ip: str, timeout: float) -> None:
    try:
        await grpc_health.check(ip, action["port"], action.get("service") or "", timeout, USER_AGENT)
    except grpc_health.Unhealthy as error:
        raise CheckFailed(str(error)) from error


async def _connect(host: str, port: int, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError as error:
        raise CheckFailed(f"dial tcp {host}:{port}: i/o timeout") from error
    except OSError as error:
        reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
        raise CheckFailed(f"dial tcp {host}:{port}: connect: {reason}") from error
    writer.close()
