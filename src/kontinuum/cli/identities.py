"""Who the parts of one machine are to its API server, and the tokens by which those beside it say so.

Over TLS each shows its certificate. Over the server's socket, which only this machine's administrator can open, each
shows a token of its own in place of it, for the same user and groups. The tokens are good at no other address; they lie
beside the socket, in memory, and are made anew when the machine boots.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kontinuum.cli.settings import Settings
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.files import replace_file

TOKEN_BYTES = 32


class NoToken(Retryable):
    """The API server's tokens for parts are not there, or none is for this one."""


class Identity(NamedTuple):
    """What Kubernetes' own part is called."""

    user: str
    groups: tuple[str, ...] = ()


def identities(settings: Settings) -> dict[str, Identity]:
    """Those of the API server's clients on one machine, by the names of their certificates' files."""
    return {
        "admin": Identity("kubernetes-admin", ("system:masters",)),
        "controllers": Identity("system:kube-controller-manager"),
        "scheduler": Identity("system:kube-scheduler"),
        "network": Identity("system:kube-proxy"),
        "node": Identity(f"system:node:{settings.node.name}", ("system:nodes",)),
    }


def ensure_tokens(file: Path, wanted: Iterable[Identity]) -> None:
    """Write a token for each of ``wanted`` into ``file``, in Kubernetes' format; those that are there stay.

    Several parts may be told to at the same time: they agree on what the first of them wrote. Raises OSError.
    """
    wanted = list(wanted)
    if not file.exists() and _write_first(file, _rows(wanted, {})):
        return
    before = file.read_text()
    after = _rows(wanted, _tokens(before))
    if after != before:
        replace_file(file, after, mode=0o600)


def token_of(file: Path, identity: Identity) -> str:
    """Raises NoToken."""
    try:
        return _tokens(file.read_text())[identity.user]
    except (OSError, KeyError) as error:
        raise NoToken(
            f"{file}: there is no token for {identity.user} ({error!r}): start this machine's API server first, which "
            "makes them, or name another one with --kubeconfig"
        ) from error


def _rows(wanted: Iterable[Identity], known: Mapping[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for user, groups in wanted:
        writer.writerow([known.get(user) or secrets.token_urlsafe(TOKEN_BYTES), user, "", ",".join(groups)])
    return text.getvalue()


def _tokens(text: str) -> dict[str, str]:
    """Tokens by user."""
    return {row[1]: row[0] for row in csv.reader(io.StringIO(text)) if len(row) > 1}


def _write_first(file: Path, text: str) -> bool:
    """Whether ``file`` is ours: it appears whole, unless somebody else's was there before."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    replace_file(temporary, text, mode=0o600)
    try:
        os.link(temporary, file)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return True
