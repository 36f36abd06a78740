"""Static bearer tokens from a file in Kubernetes' format: CSV of ``token,user,uid,"group1,group2"``."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path

from kontinuum.apiserver.authn.port import Audiences, TokenUser
from kontinuum.apiserver.authn.users import User, authenticated
from kontinuum.foundation.errors import Broken


class BadTokenFile(Broken):
    """The token file cannot be understood; the message names the line."""


class TokenFile:
    """The users by their tokens. Tokens are kept and compared as digests, so that timing says nothing about them."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = {_digest(token): user for token, user in users.items()}

    @classmethod
    def load(cls, path: Path) -> TokenFile:
        """Raises BadTokenFile, OSError."""
        users = {}
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0].strip() or not row[1].strip():
                    raise BadTokenFile(f'{path}, line {number}: expected token,user,uid[,"group1,group2"]')
                groups = [one.strip() for one in row[3].split(",") if one.strip()] if len(row) > 3 else []
                users[row[0].strip()] = authenticated(row[1].strip(), groups, row[2].strip())
        return cls(users)

    def user_of(self, token: str) -> User | None:
        return self._users.get(_digest(token))

    async def authenticate(self, token: str, audiences: Audiences) -> TokenUser | None:
        user = self.user_of(token)
        return TokenUser(user, audiences) if user is not None else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
