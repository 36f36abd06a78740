"""Several served versions of one stored resource.

Every version has its own ``Served`` (its kind, its rules), and all of them share the watch cache and the layout of the
version in which the objects are stored. Whatever a client reads is converted on its way out, whatever it writes on its
way in; selectors, history and compare-and-swap work on what is stored.

    store ── bytes ──▶ cache ──▶ present ──▶ client        get, list, the answer of a write
                         ├─────▶ read ────▶ decide         update, patch: in the version that the client speaks
                         └─────▶ frames ──▶ watchers       converted once per change and version, not per watcher
    store ◀── to_stored ◀── decided object

Without a converter (the stored version itself, and nearly every resource) all of this is the identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from kontinuum.api.kubernetes.conversion import Conversion
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.events import Event, watch_frame
from kontinuum.apiserver.watcher import Seen


class Converter(Protocol):
    """Between what is stored and one served version. Every method raises ApiError if the conversion fails."""

    api_version: str
    """The served version; frames of one event are shared by all who watch the same."""

    @property
    def field_names(self) -> Mapping[str, str]:
        """Selectable fields of the served version that are called otherwise in the stored one."""
        ...

    @property
    def is_external(self) -> bool:
        """Only somebody outside can tell the fields of an object in the served version (see ``late_selection``)."""
        ...

    async def present(self, values: Sequence[bytes]) -> Sequence[bytes]:
        """Objects as they are cached, in the served version; in the same order."""
        ...

    async def from_stored(self, objects: list[Object]) -> list[Object]:
        """Decoded objects, which may be changed, in the served version."""
        ...

    async def to_stored(self, objects: list[Object]) -> list[Object]:
        """Objects of the served version as they are to be stored; the ones given are left alone."""
        ...


class PureConverter:
    """Wraps the pure conversions of a built-in kind."""

    is_external = False

    def __init__(self, api_version: str, conversion: Conversion) -> None:
        self.api_version = api_version
        self._conversion = conversion

    @property
    def field_names(self) -> Mapping[str, str]:
        return self._conversion.fields

    async def present(self, values: Sequence[bytes]) -> Sequence[bytes]:
        convert = self._conversion.from_stored
        return [orjson.dumps(convert(orjson.loads(value))) for value in values]

    async def from_stored(self, objects: list[Object]) -> list[Object]:
        return [self._conversion.from_stored(one) for one in objects]

    async def to_stored(self, objects: list[Object]) -> list[Object]:
        # Through bytes, because conversions may take apart what they are given.
        return [self._conversion.to_stored(orjson.loads(orjson.dumps(one))) for one in objects]


async def present(converter: Converter | None, values: Sequence[bytes]) -> Sequence[bytes]:
    """Cached bytes as a client gets them."""
    return values if converter is None else await converter.present(values)


async def present_one(converter: Converter | None, value: bytes) -> bytes:
    """As ``present``, for one object."""
    return value if converter is None else (await converter.present([value]))[0]


async def read(converter: Converter | None, value: bytes) -> Object:
    """A cached object, decoded, in the served version. The caller may change it."""
    obj: Object = orjson.loads(value)
    return obj if converter is None else (await converter.from_stored([obj]))[0]


async def to_stored(converter: Converter | None, obj: Object) -> Object:
    """An object of the served version as it is to be stored."""
    return obj if converter is None else (await converter.to_stored([obj]))[0]


async def values_of(converter: Converter, seen: Sequence[Seen]) -> list[bytes]:
    """The objects of events in the served version; each is converted once however many watch."""
    missing: list[tuple[Seen, asyncio.Future[bytes]]] = []
    waited: list[asyncio.Future[bytes]] = []
    for type_, event in seen:
        shared = event.shared()
        key = (converter.api_version, _side(type_, event))
        found = shared.get(key)
        if found is None:
            found = shared[key] = asyncio.get_running_loop().create_future()
            missing.append(((type_, event), found))
        waited.append(found)
    if missing:
        await _convert(converter, missing)
    return [await one for one in waited]


async def frames(converter: Converter, seen: Sequence[Seen]) -> list[bytes]:
    """The lines of a watch for events, in order."""
    values = await values_of(converter, seen)
    return [watch_frame(type_, value) for (type_, _), value in zip(seen, values, strict=True)]


async def _convert(converter: Converter, missing: list[tuple[Seen, asyncio.Future[bytes]]]) -> None:
    try:
        values = await converter.present([event.object_for(type_) for (type_, event), _ in missing])
    except BaseException as error:
        # Whoever waits for the same conversion tries again by watching again; the next one must not find this failure.
        for (type_, event), future in missing:
            event.shared().pop((converter.api_version, _side(type_, event)), None)
            # A cancelled reader must not cancel the others.
            future.set_exception(error if isinstance(error, Exception) else status.timeout("the watch has ended"))
            future.exception()
        raise
    for (_, future), value in zip(missing, values, strict=True):
        future.set_result(value)


def _side(type_: str, event: Event) -> str:
    """An event has two objects to show: the one after it, and for who sees it leave, the one before."""
    return "before" if type_ == "DELETED" and not event.deleted else "after"
