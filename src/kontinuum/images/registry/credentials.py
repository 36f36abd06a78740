"""Who we are at a registry: ``--creds``, else what ``docker login`` has written, its helpers included."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kontinuum.foundation import process
from kontinuum.foundation.errors import Refused
from kontinuum.images.registry.hosts import DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"
"""Under which name ``docker login`` keeps those of docker.io."""
TOKEN_USER = "<token>"
"""The user name by which a helper says that its secret is an identity token."""


class BadCredentials(Refused):
    """Credentials that cannot be read."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or an identity token that is exchanged for others."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def parse(text: str) -> Credentials:
    """``USER:PASSWORD``. Raises BadCredentials."""
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise BadCredentials("credentials are written USER:PASSWORD")
    return Credentials(user, password)


async def stored(registry: str, file: Path) -> Credentials | None:
    """What docker's ``config.json`` says of ``registry``; None if it does not know it. Raises BadCredentials."""
    try:
        document = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadCredentials(f"{file}: {error}") from error
    key = HUB_KEY if registry == DOCKER_HUB else registry
    helper = (document.get("credHelpers") or {}).get(key) or document.get("credsStore")
    if helper:
        return await _ask_helper(str(helper), key)
    return matching(document.get("auths") or {}, "", registry)


def matching(auths: Mapping[str, Any], repository: str, registry: str) -> Credentials | None:
    """The entry of ``auths`` that fits best: the longest path that ``registry/repository`` begins with."""
    best, found = -1, None
    for key, entry in auths.items():
        host, _, path = key.removeprefix("https://").removeprefix("http://").rstrip("/").partition("/")
        path = "" if path in ("v1", "v2") else path
        same = host == registry or (registry == DOCKER_HUB and host in ("index.docker.io", "registry-1.docker.io"))
        covers = not path or repository == path or repository.startswith(f"{path}/")
        if same and covers and len(path) > best:
            best, found = len(path), _entry(entry)
    return found


def _entry(entry: Mapping[str, Any]) -> Credentials:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise BadCredentials(f"the auth of a registry is no base64 of USER:PASSWORD: {error}") from error
    return Credentials(user, password.rstrip("\0"), entry.get("identitytoken") or "")


async def _ask_helper(helper: str, key: str) -> Credentials | None:
    """``docker-credential-HELPER get``: the registry in, JSON out."""
    answer = await process.run(f"docker-credential-{helper}", "get", stdin=key.encode(), timeout=30, check=False)
    if answer.code:
        if "not found" in answer.text:
            return None
        raise BadCredentials(f"docker-credential-{helper}: {answer.text or answer.stderr.decode(errors='replace')}")
    try:
        found = json.loads(answer.text)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadCredentials(f"docker-credential-{helper}: it does not answer as helpers do: {error!r}") from error
    return Credentials(identity_token=secret) if user == TOKEN_USER else Credentials(user, secret)
