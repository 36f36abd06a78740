"""Kubernetes' image library (1.33): ``image("registry/name:tag@digest")`` and its parts."""

from __future__ import annotations

import re
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import Opaque

IMAGE = t.opaque("kubernetes.Image")
LONGEST = 1024
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?P<repository>{COMPONENT}(?:/{COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?", re.ASCII)


class Image(Opaque):
    """The parts of a reference, with Docker's defaults."""

    __slots__ = ("digest", "registry", "repository", "tag")
    type_name = "kubernetes.Image"

    def __init__(self, registry: str, repository: str, tag: str, digest: str) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    def __str__(self) -> str:
        text = f"{self.registry}/{self.repository}"
        text += f":{self.tag}" if self.tag else ""
        return f"{text}@{self.digest}" if self.digest else text

    def equals(self, other: Any) -> bool:
        return isinstance(other, Image) and str(self) == str(other)


def _image(text: str) -> Image:
    registry, rest = "docker.io", text[: LONGEST + 1]
    first, slash, after = rest.partition("/")
    if slash and (any(one in first for one in ".:[") or first == "localhost" or first != first.lower()):
        registry, rest = first, after
    match = REFERENCE.fullmatch(rest) if len(text) <= LONGEST and HOST.fullmatch(registry) else None
    if match is None:
        raise EvaluationError(f"failed to parse image reference {text[:100]!r}: invalid reference format")
    repository, tag, digest = match["repository"], match["tag"] or "", match["digest"] or ""
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return Image(registry, repository, tag or ("" if digest else "latest"), digest)


def _is_image(text: str) -> bool:
    try:
        _image(text)
    except EvaluationError:
        return False
    return True


S = t.STRING
OVERLOADS = (
    function("image", "string_to_image", (S,), IMAGE, _image, charges.of_first),
    function("isImage", "is_image_string", (S,), t.BOOL, _is_image, charges.of_first),
    member("registry", "image_registry", (IMAGE,), S, lambda a: a.registry),
    member("repository", "image_repository", (IMAGE,), S, lambda a: a.repository),
    member("tag", "image_tag", (IMAGE,), S, lambda a: a.tag),
    member("digest", "image_digest", (IMAGE,), S, lambda a: a.digest),
    member("identifier", "image_identifier", (IMAGE,), S, lambda a: a.digest or a.tag),
)
