"""What containerd's shim binary is asked: ``start`` a shim for a bundle, or to ``delete`` what one left. Pure parts.

Source: containerd ``runtime/v2/README.md``, "Shim Manager".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kontinuum.foundation.errors import Refused
from kontinuum.runtime import codec
from kontinuum.runtime.messages import Any, Options

_SWITCHES = frozenset({"debug", "v", "info"})
"""Flags without a value."""
ADDRESS_FILE = "address"


class LaunchRefused(Refused):
    """The command line, or the bundle it was run in, is not one of containerd's."""


@dataclass(frozen=True, slots=True)
class Request:
    """One run of the client, as it was relayed."""

    arguments: tuple[str, ...]
    directory: str
    variables: dict[str, str]
    input: bytes


@dataclass(frozen=True, slots=True)
class Launch:
    """A request, understood."""

    action: str
    namespace: str
    id: str
    bundle: Path
    events_address: Path
    """Where containerd takes events."""
    config: Path | None
    """The configuration file that containerd's ``ConfigPath`` names."""


@dataclass(slots=True)
class _Words:
    data: bytes
    position: int = field(default=0)

    def next(self) -> str:
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise LaunchRefused("the client's request is cut off")
        word = self.data[self.position : end]
        self.position = end + 1
        return word.decode(errors="surrogateescape")

    def count(self) -> int:
        word = self.next()
        if not word.isdigit():
            raise LaunchRefused(f"the client's request has {word!r} where a number belongs")
        return int(word)


def read_request(data: bytes) -> Request:
    """What ``client.c`` sends. Raises LaunchRefused."""
    words = _Words(data)
    arguments = tuple(words.next() for _ in range(words.count()))
    directory = words.next()
    variables = dict(words.next().partition("=")[::2] for _ in range(words.count()))
    return Request(arguments, directory, variables, data[words.position :])


def understand(request: Request) -> Launch:
    """Raises LaunchRefused, codec.Malformed."""
    flags, actions = _flags(request.arguments)
    if len(actions) != 1 or actions[0] not in ("start", "delete"):
        raise LaunchRefused(f"asked for {' '.join(actions) or 'nothing'}; start and delete are known")
    for needed in ("id", "namespace"):
        if not flags.get(needed):
            raise LaunchRefused(f"the flag -{needed} is missing")
    return Launch(
        action=actions[0],
        namespace=flags["namespace"],
        id=flags["id"],
        bundle=Path(flags.get("bundle") or request.directory),
        events_address=Path(request.variables.get("TTRPC_ADDRESS", "").removeprefix("unix://")),
        config=_config(request.input),
    )


def write_address(bundle: Path, address: str) -> None:
    """Leave the shim's address where containerd looks for it after its own restart; never half of it."""
    temporary = bundle / f".{ADDRESS_FILE}"
    temporary.write_text(address)
    temporary.replace(bundle / ADDRESS_FILE)


def read_address(bundle: Path) -> Path | None:
    """The shim's socket, as ``write_address`` left it; None if it never came to that."""
    try:
        return Path((bundle / ADDRESS_FILE).read_text().strip().removeprefix("unix://"))
    except OSError:
        return None


def _flags(arguments: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Go's flag package: one dash or two, the value in the next word or after ``=``."""
    flags: dict[str, str] = {}
    actions: list[str] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            actions.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in _SWITCHES:
            flags[name] = value if equals else next(words, "")
    return flags, actions


def _config(data: bytes) -> Path | None:
    """On ``start``, the runtime's options come on standard input: an Any with runtimeoptions.v1.Options inside."""
    if not data:
        return None
    path = codec.decode(Options, codec.decode(Any, data).value).config_path
    return Path(path) if path else None
