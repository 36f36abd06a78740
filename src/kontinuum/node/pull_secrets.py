"""``imagePullSecrets``: which of a pod's credentials are for an image. Pure.

The keys of a docker configuration are hosts, with a port or not, with a path or not, and may have ``*`` within a part
of the host's name; the longest path that fits comes first. (The kubelet's keyring.)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.images.references import Reference
from kontinuum.node.port import Config

HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class PullSecret:
    """Credentials for one image, and the Secret they came from."""

    namespace: str
    name: str
    uid: str
    auth: Config
    """The CRI's AuthConfig."""

    @property
    def hash(self) -> str:
        """Tells credentials apart without saying them."""
        return hashlib.sha256(orjson.dumps(self.auth, option=orjson.OPT_SORT_KEYS)).hexdigest()


def pull_secrets(secrets: Iterable[Object], image: Reference) -> list[PullSecret]:
    """What of ``secrets`` is for ``image``, the most specific of each first. What cannot be read is left out."""
    found = []
    for secret in secrets:
        metadata = secret["metadata"]
        entries = [(len(key), auth) for key, auth in _entries(secret) if _covers(key, image)]
        for _, auth in sorted(entries, key=lambda one: -one[0]):
            found.append(PullSecret(metadata["namespace"], metadata["name"], metadata.get("uid", ""), auth))
    return found


def _entries(secret: Object) -> Iterator[tuple[str, Config]]:
    """Each key of a docker configuration, without scheme, and its credentials; the older form has no ``auths``."""
    data = secret.get("data") or {}
    try:
        if data.get(".dockerconfigjson"):
            auths = orjson.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        else:
            auths = orjson.loads(base64.b64decode(data.get(".dockercfg") or "e30="))
        for server, entry in auths.items():
            yield server.removeprefix("https://").removeprefix("http://").rstrip("/"), _auth(entry)
    except (binascii.Error, orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return


def _auth(entry: Mapping[str, Any]) -> Config:
    """Without ``server_address``, as the kubelet's: containerd takes that for a URL, and ``host:port`` is none."""
    words = {key: entry.get(key) or "" for key in ("username", "password", "auth")}
    return {**words, "identity_token": entry.get("identitytoken") or ""}


def _covers(key: str, image: Reference) -> bool:
    host, _, path = key.partition("/")
    if image.registry == "docker.io" and host in HUB_NAMES:
        return path in ("", "v1", "v2") or _is_below(image.repository, path)
    mine, theirs = image.registry.rpartition(":"), host.rpartition(":")
    names = (mine[0] or mine[2], theirs[0] or theirs[2])
    ports = (mine[2] if mine[0] else "", theirs[2] if theirs[0] else "")
    parts = [one.split(".") for one in names]
    if ports[0] != ports[1] or len(parts[0]) != len(parts[1]):
        return False
    if not all(fnmatchcase(part, pattern) for part, pattern in zip(*parts, strict=True)):
        return False
    return path in ("", "v1", "v2") or _is_below(image.repository, path)


def _is_below(repository: str, path: str) -> bool:
    return repository == path or repository.startswith(f"{path}/")
