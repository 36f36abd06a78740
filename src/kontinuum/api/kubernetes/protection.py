"""Finalizers that keep storage objects as long as somebody uses them: who sets them and who removes them agree here."""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES
from kontinuum.api.machinery.resources import Resource

CLAIM = "kubernetes.io/pvc-protection"
VOLUME = "kubernetes.io/pv-protection"
ATTRIBUTES_CLASS = "kubernetes.io/vac-protection"

FINALIZERS: Mapping[Resource, str] = {
    PERSISTENTVOLUMECLAIMS: CLAIM,
    PERSISTENTVOLUMES: VOLUME,
    VOLUMEATTRIBUTESCLASSES: ATTRIBUTES_CLASS,
}
