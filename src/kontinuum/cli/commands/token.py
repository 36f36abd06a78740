"""``kontinuum token``: the tokens by which machines join, as kubeadm makes them; a Secret of kube-system each."""

from __future__ import annotations

import json
import re
import secrets
import string
from base64 import b64decode
from pathlib import Path
from typing import Any

from kontinuum.api.kontinuum import node_settings
from kontinuum.api.kubernetes import bootstrap
from kontinuum.api.kubernetes.resources import CONFIGMAPS, SECRETS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli import state
from kontinuum.cli.assemble import administrator
from kontinuum.cli.exits import NotRunning
from kontinuum.cli.installation import Installation
from kontinuum.cli.settings import Settings, decode, joining_address
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, parse_rfc3339
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.pki import fingerprint
from kontinuum.foundation.sockets import is_listening

LETTERS = string.ascii_lowercase + string.digits
SIGNED_SECONDS = 10.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
HEADINGS = ("token", "ttl", "expires", "description")


class NotReachable(Refused):
    """No other machine could reach the API server: a token would be of no use."""


class NoSuchToken(Refused):
    """No token has this id."""


def seconds_of(text: str) -> float | None:
    """``24h``, ``90m``, ``1h30m`` in seconds; ``0``: for ever, None. Raises Refused."""
    if text == "0":
        return None
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise Refused(f'--ttl: "{text}" is not a time such as 24h, 90m or 1h30m; 0 means for ever')
    return sum(int(number) * UNITS[unit] for number, unit in parts)


async def create(
    settings: Settings, clock: Clock, *, ttl: float | None, description: str = "", token: str = ""
) -> dict[str, str]:
    """Make a token and what its bearer will read. Returns token, server, caHash and the command that joins.

    Raises NotReachable, NotRunning, Refused (a token that is none, or that is there), ApiError.
    """
    server = joining_address(settings)
    if not server:
        raise NotReachable(
            f"the API server listens at {settings.server.listen}, which only this machine reaches; start it anew where "
            "others do: kontinuum down, and kontinuum up --listen ADDRESS:6443 (or server, where that runs alone)"
        )
    token = token or f"{_chosen(6)}.{_chosen(16)}"
    try:
        secret = bootstrap.secret_of(
            token, expires=None if ttl is None else clock.time() + ttl, description=description
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    authority = (settings.installation.pki / "ca.crt").read_bytes()
    async with administrator(settings) as client:
        await _keep(client, bootstrap.info(server, authority))
        await _keep(client, shared_settings(settings))
        try:
            await client.create(SECRETS, secret)
        except ApiError as error:
            if error.is_already_exists:
                raise Refused(f"there is a token {token[:6]} already: kontinuum token delete {token[:6]}") from error
            raise
        await _wait_signed(client, clock, token[:6])
    pin = fingerprint(authority)
    command = f"kontinuum node --server {server} --token {token} --ca-hash {pin}"
    return {"token": token, "server": server, "caHash": pin, "command": command}


async def list_tokens(settings: Settings, clock: Clock) -> list[dict[str, Any]]:
    """Every token there is, with what is left of its life."""
    async with administrator(settings) as client:
        found = await client.list(SECRETS, namespace=bootstrap.NAMESPACE, fields=f"type={bootstrap.TYPE}")
    return [_described(one, clock.time()) for one in found.items]


async def delete(settings: Settings, token: str) -> None:
    """``token`` or its id. Raises NoSuchToken."""
    async with administrator(settings) as client:
        try:
            await client.delete(SECRETS, bootstrap.secret_name(token[:6]), namespace=bootstrap.NAMESPACE)
        except ApiError as error:
            if error.is_not_found:
                raise NoSuchToken(f"there is no token {token[:6]}; kontinuum token list shows them") from error
            raise


def shared_settings(settings: Settings) -> Object:
    """The ConfigMap by which hosts that join learn what all nodes must be told alike."""
    told = {name: getattr(settings.node, name) for name in node_settings.SHARED}
    metadata = {"name": node_settings.NAME, "namespace": node_settings.NAMESPACE}
    return {"metadata": metadata, "data": {node_settings.KEY: json.dumps(told)}}


def print_created(made: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
    else:
        print(f"{made['token']}\n\nOn the machine that joins, as root:\n  {made['command']}")


def print_list(tokens: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(tokens, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in HEADINGS:
        table.add_column(heading)
    for one in tokens:
        left = one["secondsLeft"]
        table.add_row(
            one["token"], "for ever" if left is None else f"{left / 3600:.1f}h", one["expires"], one["description"]
        )
    Console().print(table)


def _described(secret: Object, now: float) -> dict[str, Any]:
    data = {key: b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()}
    expires = data.get("expiration", "")
    try:
        left = max(0.0, parse_rfc3339(expires) - now) if expires else None
    except ValueError:
        left = 0.0
    return {
        "token": f"{data.get('token-id', '')}.{data.get('token-secret', '')}",
        "expires": expires,
        "secondsLeft": None if left is None else round(left),
        "description": data.get("description", ""),
    }


async def _keep(client: Client, wanted: Object) -> None:
    """Create the ConfigMap, or let it say what we say; what others have added to it stays."""
    metadata = wanted["metadata"]
    try:
        await client.create(CONFIGMAPS, wanted)
    except ApiError as error:
        if not error.is_already_exists:
            raise
        patch = {"data": wanted["data"]}
        await client.patch(CONFIGMAPS, metadata["name"], patch, namespace=metadata["namespace"])


async def _wait_signed(client: Client, clock: Clock, token_id: str) -> None:
    """So that what is printed works when it is read. Raises Retryable."""
    deadline = clock.monotonic() + SIGNED_SECONDS
    while clock.monotonic() < deadline:
        info = await client.get(CONFIGMAPS, bootstrap.INFO, namespace=bootstrap.INFO_NAMESPACE)
        if f"{bootstrap.SIGNATURE}{token_id}" in (info.get("data") or {}):
            return
        await clock.sleep(0.1)
    raise Retryable(
        f"the token {token_id} was made, but nobody has signed cluster-info with it within {SIGNED_SECONDS:g} s: "
        "do the controllers run? (kontinuum status, or kontinuum controllers beside kontinuum server)"
    )


def _chosen(length: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def running_settings(data_dir: Path) -> Settings:
    """Those of the platform, or the API server alone, that runs here.

    Raises NotRunning, or Refused on a machine that is a member itself.
    """
    paths = Installation.at(data_dir)
    if not paths.told.exists() or (state.read(paths.state) is None and not is_listening(paths.api_socket)):
        raise NotRunning(f"no API server runs with the data directory {paths.data}; start it: kontinuum up")
    settings = decode(paths.told.read_bytes())
    if settings.member_of:
        raise Refused(f"this machine is a member of another's cluster: make tokens at {settings.member_of}")
    return settings
