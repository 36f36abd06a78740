"""What is decoded of an object of which little is kept: everything else is skipped as it is read.

A pod has three kilobytes, a third of them the owners of its fields; and who follows all pods reads each of them three
times while it starts. A shape is an economy and nothing else: what is kept must be the same without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypedDict

import msgspec
import orjson

Shape = Any
"""A type for msgspec."""
_make: Any = TypedDict
_list: Any = list
"""Of what no type checker knows."""

METADATA = (
    "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
    "generation", "labels", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid",
)  # fmt: skip
"""``meta/v1 ObjectMeta`` but for ``managedFields``, which no informer keeps."""


def shape(*names: str, **parts: Shape) -> Shape:
    """These fields of a JSON object as they are, and of ``parts`` only what their shapes have."""
    made: Any = _make("Part", {**dict.fromkeys(names, Any), **parts}, total=False)
    return made | None


def each(*names: str, **parts: Shape) -> Shape:
    """The same of each in a list."""
    of_one: Any = shape(*names, **parts)
    made: Any = _list[of_one]
    return made | None


NOTHING = shape()
"""For whoever only wants to know that it was done."""
MADE = shape(metadata=shape("name", "resourceVersion"))
"""Which object was made, and how new it is."""


def shaped(body: bytes, of: Shape) -> Any:
    """What a JSON object has of the shape; all of it if it has another."""
    try:
        return _decoder(of).decode(body)
    except msgspec.MsgspecError:
        return orjson.loads(body)


@cache
def _decoder(of: Shape) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(of)


@cache
def events(of: Shape) -> msgspec.json.Decoder[Any]:
    """Decodes watch events, each with ``type`` and ``object``. Raises msgspec.MsgspecError if one has another shape."""
    return msgspec.json.Decoder(msgspec.defstruct("Event", [("type", str), ("object", of)], gc=False))
