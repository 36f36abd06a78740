"""What every volume type is given, and what those of files answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.node.fields import Surroundings
from kontinuum.node.sources import Sources
from kontinuum.node.tokens import Tokens
from kontinuum.node.volumes.scratch import Scratch


class CannotMount(Retryable):
    """The volume cannot be set up now; the message says why."""


class UnsupportedVolume(Refused):
    """The volume is of a type that this node does not know."""


class Images(Protocol):
    """Images as directories (``image.ImageVolumes``)."""

    async def show(self, pod: Object, volume: Object, place: Path) -> None:
        """Have the volume's image, and its files at ``place``. Raises ImageTrouble, ProgramFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The pod whose volume it is, and where its data comes from."""

    pod: Object
    sources: Sources
    tokens: Tokens
    around: Surroundings
    images: Images
    scratch: Scratch
    tell: Callable[[str, str, str], None]
    """Records an event of the pod: type, reason, message."""
    now: float
    """Seconds since the epoch."""

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume of files: its content, its permission bits, and its owner if that is not root."""

    content: bytes
    mode: int = 0o644
    owner: int | None = None


Files = dict[str, File]
"""Files by their path below the volume."""


def chosen(entries: dict[str, bytes], source: Object, *, what: str, default_mode: int) -> Files:
    """The entries of a ConfigMap or Secret as files: all of them, or those that ``items`` names.

    Raises CannotMount for a named entry that does not exist, unless the source is optional.
    """
    mode = source.get("defaultMode", default_mode)
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in entries.items()}
    files: Files = {}
    for item in items:
        if item["key"] in entries:
            files[item["path"]] = File(entries[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise CannotMount(f"references non-existent {what} key: {item['key']}")
    return files
