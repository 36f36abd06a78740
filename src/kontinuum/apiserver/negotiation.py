"""What form of answer a client accepts: the objects themselves, a Table, or their metadata only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from kontinuum.api.machinery import status

SERVED = ("application/json", "application/yaml")
FORMS = {"": "objects", "Table": "table", "PartialObjectMetadata": "metadata", "PartialObjectMetadataList": "metadata"}
VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Output:
    """``form`` is ``objects``, ``table`` or ``metadata``; ``media`` is application/json or application/yaml."""

    form: str = "objects"
    media: str = "application/json"
    version: str = "v1"
    """Of meta.k8s.io, for a table or metadata."""
    is_list: bool = False
    """The metadata is asked for as that of a list, which one object is not."""


@lru_cache(maxsize=256)
def negotiate(accept: str, *, tables: bool = True) -> Output:
    """The best alternative of an Accept header that can be served. ``tables``: what is answered has columns.

    Raises ApiError 406.
    """
    if not accept:
        return Output()
    for media, values in sorted(map(_alternative, accept.split(",")), key=_weight, reverse=True):
        if media not in SERVED:
            continue
        found = _transformed(media, values, tables=tables)
        if found is not None:
            return found
    raise status.not_acceptable(SERVED)


def _alternative(text: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters; any type is JSON to us."""
    media, *parameters = (part.strip() for part in text.split(";"))
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    return "application/json" if media in ("*/*", "application/*") else media, values


def _weight(alternative: tuple[str, dict[str, str]]) -> float:
    """How much the client wants it (RFC 9110, 12.5.1); among equals the first comes first."""
    try:
        return float(alternative[1].get("q", 1))
    except ValueError:
        return 1.0


def _transformed(media: str, values: dict[str, str], *, tables: bool) -> Output | None:
    kind = values.get("as", "")
    form, version = FORMS.get(kind), values.get("v", "")
    if form == "objects":
        return Output(form, media)
    if form is None or values.get("g") != "meta.k8s.io" or version not in VERSIONS:
        return None
    if form == "table" and not tables:
        return None
    return Output(form, media, version, is_list=kind.endswith("List"))


def list_expected(kind: str) -> status.ApiError:
    """406 for metadata of a list, asked of one object."""
    return _mismatch(f"you requested PartialObjectMetadataList, but the requested object is not a list (*v1.{kind})")


def list_unexpected(kind: str) -> status.ApiError:
    """406 for metadata of one object, asked of a list."""
    return _mismatch(f"you requested PartialObjectMetadata, but the requested object is a list (*v1.{kind}List)")


def _mismatch(message: str) -> status.ApiError:
    return status.ApiError(406, "NotAcceptable", message)
