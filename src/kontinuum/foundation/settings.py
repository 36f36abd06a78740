"""Settings: frozen msgspec structs, filled from a YAML file and the environment; what nobody knows is refused.

    server:                          KONTINUUM_SERVER__LISTEN=127.0.0.1:7443
      listen: 127.0.0.1:6443

Precedence, weakest first: the field's default, the file, the environment, the ``overrides`` of a command line. Nesting
in the environment is two underscores. A value of the environment that opens with ``[`` or ``{`` is read as YAML.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kontinuum.foundation.errors import Refused

T = TypeVar("T", bound=msgspec.Struct)
PREFIX = "KONTINUUM_"


class SettingRefused(Refused):
    """A setting is unknown or has an impossible value; the message names its path and where it came from."""


def load(
    kind: type[T],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    not_settings: Iterable[str] = (),
) -> T:
    """``gather`` and ``build`` in one. Raises SettingRefused."""
    return build(kind, gather(kind, file=file, environment=environment, overrides=overrides, not_settings=not_settings))


def gather(
    kind: type[msgspec.Struct],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    not_settings: Iterable[str] = (),
) -> dict[str, Any]:
    """What the YAML ``file`` (if given it must exist), ``environment`` and ``overrides`` say, as plain nested values.

    ``not_settings`` are names of environment variables with our prefix that are read elsewhere. Raises SettingRefused.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values = _checked(kind, _read_yaml(file), source=str(file))
    if environment is not None:
        mine = {k: v for k, v in environment.items() if k.startswith(PREFIX) and k not in set(not_settings)}
        values = merged(values, _checked(kind, _nested(mine), source="environment"))
    if overrides:
        values = merged(values, _checked(kind, overrides, source="command line"))
    return values


def build(kind: type[T], values: Mapping[str, Any], *, source: str = "settings") -> T:
    """A ``kind`` from plain values, every key and value checked. Raises SettingRefused."""
    known = _checked(kind, values, source=source)
    try:
        return msgspec.convert(known, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        # msgspec says: Expected `int`, got `str` - at `$.server.port`
        problem, _, path = str(error).partition(" - at `$.")
        raise SettingRefused(f"{path.rstrip('`') or 'settings'}: {problem}") from error


def to_plain(settings: msgspec.Struct) -> dict[str, Any]:
    """The settings as JSON-like values; ``build`` reads them back."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=str)
    return plain


def struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, also as ``Struct | None``; None for any other field."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def field_types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Name and resolved type of each field, in order."""
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name in kind.__struct_fields__}


def _read_yaml(file: Path) -> Mapping[str, Any]:
    import yaml  # slow to import, and most processes are given their settings as JSON

    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError as error:
        raise SettingRefused(f"{file}: there is no such settings file") from error
    except yaml.YAMLError as error:
        raise SettingRefused(f"{file}: not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingRefused(f"{file}: expected a mapping of settings, got {type(content).__name__}")
    return content


def _nested(environment: Mapping[str, str]) -> dict[str, Any]:
    """``{"KONTINUUM_A__B": "x"}`` as ``{"a": {"b": "x"}}``."""
    nested: dict[str, Any] = {}
    for name in sorted(environment):
        *parents, last = name.removeprefix(PREFIX).lower().split("__")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise SettingRefused(f"{name}: {parent} is given a value of its own as well")
        place[last] = _plain_value(environment[name])
    return nested


def _plain_value(text: str) -> Any:
    if text[:1] not in ("[", "{"):
        return text
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _checked(kind: type[msgspec.Struct], values: Mapping[str, Any], *, source: str, path: str = "") -> dict[str, Any]:
    """``values`` with nested mappings copied, after every key was found in ``kind``."""
    known = field_types(kind)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        here = f"{path}{key}"
        if key not in known:
            raise SettingRefused(f"{source}: {here}: no such setting{_suggestion(str(key), known, path)}")
        inner = struct_of(known[key])
        if inner is not None and isinstance(value, Mapping):
            value = _checked(inner, value, source=source, path=f"{here}.")
        checked[key] = value
    return checked


def _suggestion(key: str, known: Iterable[str], path: str) -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{path}{close[0]}"?' if close else f"; known here: {', '.join(sorted(known))}"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of which those of ``above`` win, section by section."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"settings cannot hold a {kind.__name__}")
