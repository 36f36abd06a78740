"""Our handler in somebody else's containerd configuration: put in and taken out as text, pure.

The file is an administrator's, with comments and an order of their own, so it is not written anew: a marked block goes
to its end, and what the whole then means is compared with what it meant before. A drop-in file (``imports``) would be
neater, but containerd 1 (tried: 1.6.20, 1.7.24) replaces the CRI plug-in's whole section by the one that it finds in
such a file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontinuum.foundation.errors import Refused

BEGIN = "# kontinuum runtime: begin (`kontinuum runtime uninstall` removes it)"
END = "# kontinuum runtime: end"
PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
"""Where the CRI's runtimes are configured, by the version of the file."""
TYPE = "io.containerd.kontinuum.v1"
ANNOTATIONS = ("kontinuum.dev/*", "io.kontinuum.*")
"""Pod annotations that containerd hands to our shim; it drops all others."""


class BadContainerdConfig(Refused):
    """containerd's configuration cannot be added to; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What a RuntimeClass names, and what containerd does about it."""

    name: str
    program: Path
    """The shim's client."""
    settings: Path
    """The runtime's settings, JSON."""


def table(handler: Handler, version: int) -> str:
    """The handler's lines."""
    head = f'plugins."{PLUGINS[version]}".containerd.runtimes.{handler.name}'
    annotations = json.dumps(ANNOTATIONS)
    return f"""{BEGIN}
[{head}]
  runtime_type = "{TYPE}"
  runtime_path = {json.dumps(str(handler.program))}
  pod_annotations = {annotations}
  container_annotations = {annotations}
  [{head}.options]
    TypeUrl = "kontinuum.dev/runtime"
    ConfigPath = {json.dumps(str(handler.settings))}
{END}
"""


def with_handler(text: str | None, handler: Handler) -> str:
    """A configuration with our handler; ``text`` is None if there is no file yet.

    Raises BadContainerdConfig: no TOML, a version that is too old, somebody else's handler of that name, no CRI.
    """
    plain = without_handler(text if text is not None else "version = 2\n")
    before = _parse(plain)
    version = before.get("version", 1)
    if version not in PLUGINS:
        raise BadContainerdConfig(
            f"the configuration has version {version}, and handlers are added to versions 2 and 3: "
            "`containerd config migrate` writes it anew"
        )
    if "cri" in before.get("disabled_plugins", ()) or PLUGINS[version] in before.get("disabled_plugins", ()):
        raise BadContainerdConfig("the CRI is switched off (disabled_plugins), and without it there are no pods")
    if handler.name in _runtimes(before, version):
        raise BadContainerdConfig(f"it has a handler {handler.name} already, which is not ours: choose another name")
    after = f"{plain.rstrip()}\n\n{table(handler, version)}"
    expected = {
        **_runtimes(before, version),
        handler.name: _runtimes(_parse(table(handler, version)), version)[handler.name],
    }
    found = _parse(after)
    if _runtimes(found, version) != expected or _others(found, version) != _others(before, version):
        raise BadContainerdConfig("adding the handler would change something else; add it by hand")
    return after


def without_handler(text: str) -> str:
    """``text`` without our block; what stands around it stays as it is."""
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return text
    _, end, after = rest.partition(END)
    if not end:
        raise BadContainerdConfig(f"the line {END!r} is missing behind {BEGIN!r}: remove our lines by hand")
    return f"{before.rstrip()}\n{after.lstrip()}" if before.strip() else after.lstrip()


def imported(text: str, directory: Path) -> list[Path]:
    """The files that a configuration takes in, in their order; relative names are below its own ``directory``."""
    patterns = _parse(text).get("imports") or []
    found: list[Path] = []
    for pattern in patterns:
        whole = Path(pattern) if Path(pattern).is_absolute() else directory / pattern
        found += sorted(whole.parent.glob(whole.name)) if whole.parent.is_dir() else []
    return found


def replaces_the_cri(text: str) -> bool:
    """Whether a file that is imported has a section for the CRI, which then counts instead of the main file's."""
    plugins = _parse(text).get("plugins") or {}
    return any(name in plugins for name in PLUGINS.values())


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadContainerdConfig(f"containerd's configuration is no TOML: {error}") from error


def _runtimes(document: Mapping[str, Any], version: int) -> dict[str, Any]:
    found: Any = document
    for key in ("plugins", PLUGINS[version], "containerd", "runtimes"):
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, dict) else {}


def _others(document: Any, version: int, path: tuple[str, ...] = ()) -> Any:
    """Everything but the runtimes; tables that are empty without them count as absent."""
    if path == ("plugins", PLUGINS[version], "containerd", "runtimes"):
        return None
    if not isinstance(document, Mapping):
        return document
    kept = {key: _others(value, version, (*path, key)) for key, value in document.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}
