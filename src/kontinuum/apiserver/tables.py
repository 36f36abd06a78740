"""Objects as the rows that ``kubectl get`` prints (meta.k8s.io Table), made one by one: no long table is ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from kontinuum.api.kubernetes.kinds.kind import Column
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.context import Served

INCLUDES = ("None", "Metadata", "Object")


class _MetadataOnly(msgspec.Struct):
    """Leaves the metadata's bytes as they are."""

    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_MetadataOnly).decode


def partial(value: bytes, version: str = "v1") -> bytes:
    """A PartialObjectMetadata of an object's bytes; ``version`` is that of meta.k8s.io."""
    metadata = bytes(_decode_metadata(value).metadata)
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'.encode()
    return b"%b%b}" % (head, metadata)


@dataclass(frozen=True, slots=True)
class Printer:
    """How one answer is to look: how much of the objects comes with their rows, and in which version."""

    served: Served
    include: str
    """None, Metadata or Object."""
    now: Callable[[], float]
    """In seconds since the epoch; a watch goes on for long."""
    version: str = "v1"

    def parts(self, values: Iterable[bytes], metadata: Object, *, headers: bool = True) -> Iterator[bytes]:
        """The pieces of the table's JSON, in order; a row is made when it is asked for."""
        columns = [_column(each) for each in self.served.kind.columns] if headers else []
        head = f'{{"kind":"Table","apiVersion":"meta.k8s.io/{self.version}","metadata":'.encode()
        yield b'%b%b,"columnDefinitions":%b,"rows":[' % (head, orjson.dumps(metadata), orjson.dumps(columns))
        is_first = True
        for value in values:
            yield self._row(value) if is_first else b"," + self._row(value)
            is_first = False
        yield b"]}"

    def of_one(self, value: bytes, *, headers: bool = True) -> bytes:
        """The table of one object, under its revision."""
        revision = orjson.loads(bytes(_decode_metadata(value).metadata)).get("resourceVersion", "")
        return b"".join(self.parts([value], {"resourceVersion": revision}, headers=headers))

    def _row(self, value: bytes) -> bytes:
        obj: Object = orjson.loads(value)
        return orjson.dumps({"cells": self.served.kind.cells(obj, self.now()), "object": self._object(value)})

    def _object(self, value: bytes) -> Any:
        match self.include:
            case "None":
                return None
            case "Object":
                return orjson.Fragment(value)
            case _:
                return orjson.Fragment(partial(value, self.version))


def check_include(include: str) -> str:
    """Raises ApiError 400."""
    if include and include not in INCLUDES:
        cause = fields.not_supported("includeObject", include, ("Metadata", "None", "Object", ""))
        raise status.bad_request(f"Unable to convert to Table as requested: {cause}")
    return include or "Metadata"


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }
