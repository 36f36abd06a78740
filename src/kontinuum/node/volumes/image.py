"""``image``: the files of an OCI image or artifact as a volume that is only read (KEP-4639)."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.images import containerd
from kontinuum.images.references import with_tag
from kontinuum.node.images import Puller, Tell
from kontinuum.node.volumes import mounts


class ImageVolumes:
    """Pulls images as containers do, and shows their files."""

    def __init__(self, puller: Puller, socket: Path, tell: Tell) -> None:
        """``socket`` is containerd's."""
        self._puller = puller
        self._socket = socket
        self._tell = tell

    async def show(self, pod: Object, volume: Object, place: Path) -> None:
        """See ``context.Images``. What is shown already stays as it is: a pod keeps the image that it began with."""
        if place in mounts.below(place):
            return
        source = volume["image"]
        reference = source.get("reference") or ""
        wanted = {"name": volume["name"], "image": reference, "imagePullPolicy": source.get("pullPolicy")}
        await self._puller.have(pod, wanted, {}, self._tell)
        place.mkdir(parents=True, exist_ok=True)
        await containerd.mount(self._socket, with_tag(reference), place)
