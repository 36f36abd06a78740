"""The EncryptionConfiguration file (``apiserver.config.k8s.io/v1``): which resources are encrypted with which keys.

    resources:
      - resources: [secrets, configmaps, gadgets.example.com, "*.apps", "*."]     the first entry that matches counts
        providers:
          - aesgcm: {keys: [{name: key2, secret: BASE64}, {name: key1, secret: BASE64}]}
          - identity: {}                                                          what was stored before can be read

``secretbox`` needs a library that nothing else here needs and is no better; ``aescbc`` is not authenticated and
Kubernetes advises against it; ``kms`` would be a ``Cipher`` that nobody has written yet. All are refused by name.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import NamedTuple

from kontinuum.api.machinery import yaml_documents
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.encryption.ciphers import AesGcm, Cipher, Ciphers, Identity
from kontinuum.foundation.errors import Refused

API_VERSION, KIND = "apiserver.config.k8s.io/v1", "EncryptionConfiguration"
KEY_SIZES = (16, 24, 32)
LEFT_OUT = {"secretbox": "use aesgcm", "aescbc": "use aesgcm", "kms": "no key management service is built in"}


class BadConfiguration(Refused):
    """The file cannot be used; the message says where and why."""


class Entry(NamedTuple):
    """``patterns`` are ``(group, plural)``, each of which may be ``*``."""

    patterns: tuple[tuple[str, str], ...]
    ciphers: Ciphers


class Configuration(NamedTuple):
    entries: tuple[Entry, ...]

    def ciphers_of(self, group: str, plural: str) -> Ciphers | None:
        """None if the resource is stored as it is."""
        for entry in self.entries:
            if any(one in ("*", group) and other in ("*", plural) for one, other in entry.patterns):
                return entry.ciphers
        return None

    def decrypt(self, key: str, stored: bytes) -> bytes:
        """A value of a resource that is not to be encrypted any more, with any key. Raises Undecryptable."""
        return Ciphers([cipher for entry in self.entries for cipher in entry.ciphers.all]).decrypt(key, stored)


def read_configuration(file: Path) -> Configuration:
    """Raises BadConfiguration."""
    try:
        document, twice = yaml_documents.decode(file.read_bytes())
    except (OSError, yaml_documents.BadYaml) as error:
        raise BadConfiguration(f"{file}: reading the encryption configuration: {error}") from error
    try:
        if twice:
            raise BadConfiguration(twice)
        return configuration_of(document)
    except BadConfiguration as error:
        raise BadConfiguration(f"{file}: {error}") from error


def configuration_of(document: object) -> Configuration:
    """Raises BadConfiguration with the path of what is wrong."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise BadConfiguration(f"expected an {KIND} of {API_VERSION}")
    entries = _list(document, "resources", "resources")
    return Configuration(tuple(_entry(one, f"resources[{index}]") for index, one in enumerate(entries)))


def _list(owner: object, field: str, path: str) -> list[Object]:
    found = owner.get(field) if isinstance(owner, dict) else None
    if not isinstance(found, list) or not found:
        raise BadConfiguration(f"{path}: Required value: expected a list that is not empty")
    return found


def _entry(entry: Object, path: str) -> Entry:
    names = _list(entry, "resources", f"{path}.resources")
    patterns = tuple(_pattern(name, f"{path}.resources[{index}]") for index, name in enumerate(names))
    providers = _list(entry, "providers", f"{path}.providers")
    ciphers: list[Cipher] = []
    for index, provider in enumerate(providers):
        ciphers += _provider(provider, f"{path}.providers[{index}]")
    prefixes = [cipher.prefix for cipher in ciphers]
    if len(set(prefixes)) < len(prefixes):
        raise BadConfiguration(f"{path}.providers: two keys of one provider have the same name")
    return Entry(patterns, Ciphers(ciphers))


def _pattern(name: object, path: str) -> tuple[str, str]:
    """``secrets``, ``deployments.apps``, ``*.apps``, ``*.`` (the core group), ``*.*``; as group and plural."""
    if not isinstance(name, str) or not name or name.lower() != name:
        raise BadConfiguration(f"{path}: Invalid value: {name!r}: expected the name of a resource in small letters")
    plural, _, group = name.partition(".")
    if not plural or "/" in name:
        raise BadConfiguration(f"{path}: Invalid value: {name!r}: expected RESOURCE, RESOURCE.GROUP or *.GROUP")
    if name == "*":
        raise BadConfiguration(f"{path}: Invalid value: '*': use '*.' for the core group or '*.*' for everything")
    if group == "*" and plural != "*":
        raise BadConfiguration(f"{path}: Invalid value: {name!r}: a group may be '*' only in '*.*'")
    return group, plural


def _provider(provider: object, path: str) -> list[Cipher]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise BadConfiguration(f"{path}: expected exactly one provider")
    ((kind, options),) = provider.items()
    if kind == "identity":
        return [Identity()]
    if kind != "aesgcm":
        raise BadConfiguration(f"{path}.{kind}: not supported: {LEFT_OUT.get(kind, 'there is no such provider')}")
    keys = _list(options, "keys", f"{path}.aesgcm.keys")
    return [_key(key, f"{path}.aesgcm.keys[{index}]") for index, key in enumerate(keys)]


def _key(key: object, path: str) -> Cipher:
    name, secret = (key.get("name"), key.get("secret")) if isinstance(key, dict) else (None, None)
    if not isinstance(name, str) or not name or ":" in name:
        raise BadConfiguration(f"{path}.name: expected a name without colons")
    try:
        plain = base64.b64decode(secret, validate=True) if isinstance(secret, str) else b""
    except (binascii.Error, ValueError):
        plain = b""
    if len(plain) not in KEY_SIZES:
        # What was given is never shown: it may be a key with a slip of the pen.
        raise BadConfiguration(f"{path}.secret: expected 16, 24 or 32 bytes in base64")
    return AesGcm(name, plain)
