"""Defaults of volumes: modes of files, and an emptyDir where no source is named."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.machinery.objects import Object

MODE = 0o644
MODED = ("secret", "configMap", "downwardAPI", "projected")
TOKEN_SECONDS = 3600


def default_volumes(volumes: Sequence[Object]) -> None:
    for volume in volumes:
        if not volume.keys() - {"name"}:
            volume["emptyDir"] = {}
        for source in MODED:
            if isinstance(volume.get(source), dict):
                volume[source].setdefault("defaultMode", MODE)
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")
        _default_field_references(volume.get("downwardAPI"))
        for projection in (volume.get("projected") or {}).get("sources") or ():
            _default_field_references(projection.get("downwardAPI"))
            if "serviceAccountToken" in projection:
                projection["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
        claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
        if claim is not None:
            claim.setdefault("volumeMode", "Filesystem")


def _default_field_references(source: Object | None) -> None:
    for item in (source or {}).get("items") or ():
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")
