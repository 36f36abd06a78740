"""Kinds whose status is there from the beginning, as Go writes a struct that holds nothing yet."""

from __future__ import annotations

from typing import ClassVar

from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy


class Reported(Kind):
    """See the module. Clients patch below ``/status`` without asking whether it is there."""

    initial_status: ClassVar[Object] = {}

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["status"] = copy(self.initial_status)
