"""What form of answer a client accepts: the objects themselves, a Table, or their metadata only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from kontinuum.api.machinery import status

SERVED = ("application/json", "application/yaml")
FORMS = {"": "objects", "Table": "table", "PartialObjectMetadata": "metadata", "PartialObjectMetadataList": "metadata"}


@dataclass(frozen=True, slots=True)
class Output:
    """``form`` is ``objects``, ``table`` or ``metadata``; ``media`` is application/json or application/yaml."""

    form: str = "objects"
    media: str = "application/json"


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Output:
    """The first alternative of an Accept header that can be served. Raises ApiError 406."""
    if not accept:
        return Output()
    for alternative in accept.split(","):
        media, *parameters = (part.strip() for part in alternative.split(";"))
        if media in ("*/*", "application/*"):
            media = "application/json"
        if media not in SERVED:
            continue
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        form = FORMS.get(values.get("as", ""))
        if form is None or (form != "objects" and (values.get("g"), values.get("v")) != ("meta.k8s.io", "v1")):
            continue
        return Output(form, media)
    raise status.not_acceptable(SERVED)
