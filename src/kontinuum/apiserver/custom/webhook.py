"""Conversion by a webhook (``spec.conversion.strategy: Webhook``), with ConversionReview v1 or v1beta1.

A webhook may change everything but what an object is: kind, name, namespace, uid and the rest of the metadata except
labels and annotations stay (apiextensions-apiserver's ``webhook_converter.go``).
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Reader
from kontinuum.apiserver.admission.webhooks.client import CallFailed, Endpoint, WebhookClient
from kontinuum.apiserver.custom.conversion import Convert, rename_only
from kontinuum.apiserver.identifiers import new_uuid

SECONDS = 30.0
"""How long a webhook may take, as in Kubernetes."""
REVIEWS = ("v1", "v1beta1")
CHANGEABLE = ("labels", "annotations")


def converting(definition: Object, client: WebhookClient, reader: Reader) -> Convert:
    """How objects of ``definition`` are converted."""
    conversion = definition["spec"].get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return rename_only
    webhook = conversion["webhook"]
    versions = webhook["conversionReviewVersions"]
    review = next(one for one in versions if one in REVIEWS)
    endpoint = Endpoint(webhook["clientConfig"])
    return WebhookConversion(endpoint, review, client, reader)


class WebhookConversion:
    """Asks one webhook; called with the objects of one request at once."""

    def __init__(self, endpoint: Endpoint, review: str, client: WebhookClient, reader: Reader) -> None:
        self._endpoint = endpoint
        self._review = f"apiextensions.k8s.io/{review}"
        self._client = client
        self._reader = reader

    async def __call__(self, objects: list[Object], version: str) -> list[Object]:
        """Raises ApiError 500."""
        uid = new_uuid()
        asked = {
            "kind": "ConversionReview",
            "apiVersion": self._review,
            "request": {"uid": uid, "desiredAPIVersion": version, "objects": copy(objects)},
        }
        try:
            answer = await self._client.post(self._endpoint, asked, self._reader, seconds=SECONDS)
            converted = self._read(answer, uid)
            if len(converted) != len(objects):
                raise CallFailed(f"returned {len(converted)} objects, expected {len(objects)}")
            return [restored(new, old, version, index) for index, (new, old) in enumerate(_paired(converted, objects))]
        except CallFailed as error:
            kind = f"{objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
            raise ApiError(500, "InternalError", f"conversion webhook for {kind} failed: {error}") from error

    def _read(self, answer: Any, uid: str) -> list[Any]:
        """The converted objects of a review. Raises CallFailed."""
        if not isinstance(answer, dict) or answer.get("kind") != "ConversionReview":
            found = answer.get("kind") if isinstance(answer, dict) else None
            raise CallFailed(f"expected webhook response of kind ConversionReview, got {found!r}")
        if answer.get("apiVersion") != self._review:
            raise CallFailed(f"expected webhook response of {self._review}, got {answer.get('apiVersion')!r}")
        response = answer.get("response")
        if not isinstance(response, dict):
            raise CallFailed("no response provided")
        if self._review.endswith("/v1") and response.get("uid") != uid:
            raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result = response.get("result") or {}
        if not isinstance(result, dict) or result.get("status") != "Success":
            message = result.get("message") if isinstance(result, dict) else None
            raise CallFailed(message or "(no reason given)")
        converted = response.get("convertedObjects") or []
        if not isinstance(converted, list):
            raise CallFailed("response.convertedObjects is not a list")
        return converted


def _paired(converted: list[Any], objects: list[Object]) -> list[tuple[Any, Object]]:
    return list(zip(converted, objects, strict=True))


def restored(new: Any, old: Object, version: str, index: int) -> Object:
    """``new`` with the metadata that a conversion may not change. Raises CallFailed for another object."""
    where = f"invalid converted object at index {index}"
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise CallFailed(f"returned {where}: it has no metadata")
    for field, name, wanted in (("apiVersion", "groupVersion", version), ("kind", "kind", old["kind"])):
        if new.get(field) != wanted:
            problem = f"invalid {name} (expected {wanted}, received {new.get(field)})"
            raise CallFailed(f"returned {where}: {problem}")
    metadata = new["metadata"]
    for field in ("name", "namespace", "uid"):
        have, want = metadata.get(field) or "", old["metadata"].get(field) or ""
        if have != want:
            raise CallFailed(f"returned invalid metadata in object at index {index}: "
                             f"must have the same {field}: {have} != {want}")  # fmt: skip
    kept = {field: value for field, value in old["metadata"].items() if field not in CHANGEABLE}
    for field in CHANGEABLE:
        words = metadata.get(field)
        if not words:
            continue
        if not isinstance(words, dict) or not all(isinstance(one, str) for one in words.values()):
            raise CallFailed(f"returned invalid metadata in object at index {index}: {field} must be text")
        kept[field] = words
    rest = {field: value for field, value in new.items() if field not in ("kind", "apiVersion", "metadata")}
    return {"kind": old["kind"], "apiVersion": version, "metadata": kept, **rest}
