"""Names of images: what people write, and what registries and containerd know it by.

The grammar is that of github.com/distribution/reference; ``docker.io`` and its ``library`` are its history.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kontinuum.foundation.errors import Refused

_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
GRAMMAR = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_WORD}(?:/{_WORD})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,})?"
)


class BadReference(Refused):
    """A string that names no image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """``registry/repository:tag@digest``; at least one of ``tag`` and ``digest`` is there."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    @property
    def object(self) -> str:
        """What a registry is asked for: the digest where there is one, because a tag can move."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """``busybox`` is ``docker.io/library/busybox:latest``. Raises BadReference."""
    whole = with_tag(text)
    rest, _, digest = whole.partition("@")
    registry, _, repository = rest.partition("/")
    repository, _, tag = repository.partition(":")
    return Reference(registry, repository, tag, digest)


def with_tag(reference: str) -> str:
    """``busybox`` as ``docker.io/library/busybox:latest``: the whole name that registries and containerd use.

    Raises BadReference for what the grammar does not allow.
    """
    if not GRAMMAR.fullmatch(reference):
        upper = GRAMMAR.fullmatch(reference.lower())
        problem = "repository name must be lowercase" if upper else ""
        raise BadReference(
            f'couldn\'t parse image name "{reference}": invalid reference format' + (f": {problem}" if problem else "")
        )
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif not ("." in first or ":" in first or first == "localhost"):
        reference = f"docker.io/{reference}"
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def registry_of(reference: str) -> str:
    return reference.split("/", 1)[0]
