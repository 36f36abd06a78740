"""What a machine was told when it joined another's cluster: ``membership.json``, the weakest of its settings.

{"member_of": "https://10.0.0.1:6443", "node": {"name": ..., "pod_cidr": ..., "cluster_cidr": ..., ...}}
"""

from __future__ import annotations

import json
from typing import Any

from kontinuum.cli.installation import Installation
from kontinuum.foundation.errors import Broken
from kontinuum.foundation.files import write_atomic


class MembershipBroken(Broken):
    """The file cannot be read; the message says what to do."""


def read(paths: Installation) -> dict[str, Any]:
    """Settings as plain values; none where this machine has joined nobody. Raises MembershipBroken."""
    try:
        found: dict[str, Any] = json.loads(paths.membership.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MembershipBroken(f"{paths.membership}: {error}; remove it, and join again with a token") from error
    return found


def write(paths: Installation, server: str, node: dict[str, Any]) -> None:
    """``node``: what is settled for this node. Raises OSError."""
    write_atomic(paths.membership, json.dumps({"member_of": server, "node": node}, indent=2) + "\n", mode=0o600)
