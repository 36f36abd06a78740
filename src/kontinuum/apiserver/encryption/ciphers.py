"""Ways to turn a value into bytes that nobody else can read, and back.

    k8s:enc:aesgcm:v1:KEY:<nonce><ciphertext and tag>        the storage key is authenticated with it

so that a value that is moved to another key (somebody else's Secret) is not accepted there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kontinuum.foundation.errors import Broken

ENCRYPTED = b"k8s:enc:"
NONCE = 12
"""Bytes. Random nonces of this length are safe for 2^32 values under one key (NIST SP 800-38D, 8.3)."""


class Undecryptable(Broken):
    """A value was written with a key that is not configured, or it is not what was written."""


class Cipher(Protocol):
    """One provider and key. A key management service would be another implementation of it."""

    @property
    def prefix(self) -> bytes:
        """What every value begins with that this cipher has written; "" if values are left as they are."""
        ...

    def encrypt(self, key: str, value: bytes) -> bytes:
        """``value`` as it is to be stored under the storage key ``key``."""
        ...

    def decrypt(self, key: str, stored: bytes) -> bytes:
        """The value of what ``encrypt`` has made. Raises Undecryptable."""
        ...


class Identity:
    """Leaves values as they are."""

    prefix = b""

    def encrypt(self, key: str, value: bytes) -> bytes:
        return value

    def decrypt(self, key: str, stored: bytes) -> bytes:
        return stored


class AesGcm:
    """AES in Galois/counter mode, with a key of 16, 24 or 32 bytes."""

    def __init__(self, name: str, secret: bytes) -> None:
        self.prefix = b"k8s:enc:aesgcm:v1:%b:" % name.encode()
        self._cipher = AESGCM(secret)

    def encrypt(self, key: str, value: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return self.prefix + nonce + self._cipher.encrypt(nonce, value, key.encode())

    def decrypt(self, key: str, stored: bytes) -> bytes:
        start = len(self.prefix)
        nonce, sealed = stored[start : start + NONCE], stored[start + NONCE :]
        try:
            return self._cipher.decrypt(nonce, sealed, key.encode())
        except (InvalidTag, ValueError) as error:
            raise Undecryptable(f"{key}: what is stored is not what was written, or not under this key") from error


class Ciphers:
    """What is written and read of one resource: the first writes, and all read."""

    def __init__(self, ciphers: Sequence[Cipher]) -> None:
        self.all = self._ciphers = tuple(ciphers)

    def encrypt(self, key: str, value: bytes) -> bytes:
        return self._ciphers[0].encrypt(key, value)

    def decrypt(self, key: str, stored: bytes) -> bytes:
        """Raises Undecryptable."""
        return self._of(key, stored).decrypt(key, stored)

    def is_stale(self, key: str, stored: bytes) -> bool:
        """``stored`` would be written otherwise today. Raises Undecryptable."""
        return self._of(key, stored) is not self._ciphers[0]

    def _of(self, key: str, stored: bytes) -> Cipher:
        is_encrypted = stored.startswith(ENCRYPTED)
        for cipher in self._ciphers:
            if bool(cipher.prefix) == is_encrypted and stored.startswith(cipher.prefix):
                return cipher
        what = stored[:60].split(b":")[2:5] if is_encrypted else [b"plain text"]
        raise Undecryptable(f"{key}: no matching prefix found: written as {b':'.join(what).decode(errors='replace')}")
