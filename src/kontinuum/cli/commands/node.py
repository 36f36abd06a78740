"""``kontinuum node``: a machine joins a cluster, and is a node of it from then on, under one supervisor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from kontinuum.cli import membership, state
from kontinuum.cli import settings as composing
from kontinuum.cli.commands.part import run_part
from kontinuum.cli.commands.up import is_there_already, supervise
from kontinuum.cli.installation import Installation
from kontinuum.cli.interruption import run
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Broken, Refused
from kontinuum.foundation.telemetry import configure_logs


class NotToBeJoined(Refused):
    """The command does not say whom to join, or this data directory has an API server of its own."""


def node(*, data_dir: Path, config: Path | None, server: str, token: str, hashes: Sequence[str], detach: bool) -> None:
    """Join if ``server`` is given; run as a member if this machine is one; else run the agent alone.

    Raises NotToBeJoined, SettingRefused, and whatever ``joining.join`` and ``up.supervise`` raise.
    """
    paths = Installation.at(data_dir)
    if not server and not membership.read(paths):
        if token or hashes or detach:
            raise NotToBeJoined("--token, --ca-hash and --detach: whom to join? --server https://HOST:PORT")
        run_part("node", data_dir=data_dir, config=config)
    if os.geteuid() != 0:
        raise Broken("kontinuum node mounts, and makes cgroups and network namespaces: run it as root")
    running = state.read(paths.state)
    if running is not None:
        is_there_already(running, detach=detach)
        return
    if server:
        _join(paths, config, _url(server), token, hashes)
    settings = composing.load(data_dir=data_dir, config=config, environment=os.environ)
    supervise(settings, detach=detach, say=f"This machine is the node {settings.node.name} of {settings.member_of}")


def _join(paths: Installation, config: Path | None, server: str, token: str, hashes: Sequence[str]) -> None:
    from kontinuum.cli import joining

    if paths.store.exists() or (paths.pki / "ca.key").exists():
        raise NotToBeJoined(f"{paths.data} belongs to an API server of this machine's own; use another --data-dir")
    known = membership.read(paths).get("member_of")
    if known == server and not token:
        return  # A member that is told again whose.
    if not token:
        raise NotToBeJoined(f"--token: make one where the API server runs ({server}): kontinuum token create")
    configure_logs(component="node", level="warning")
    settings = composing.load(
        data_dir=paths.data, config=config, overrides={"member_of": server}, environment=os.environ
    )
    run(joining.join(settings, token, hashes, RealClock()))


def _url(text: str) -> str:
    """Raises NotToBeJoined."""
    server = text if "://" in text else f"https://{text}"
    found = urlsplit(server)
    if found.scheme != "https" or not found.hostname or found.path.strip("/"):
        raise NotToBeJoined(f'--server: "{text}" is not an address such as https://10.0.0.1:6443')
    return f"https://{found.netloc}" if found.port else f"https://{found.netloc}:6443"
