"""Which names of children are taken: those of what is there, and of what has gone not long ago.

Names follow from the owner and a number, so that a repeat is harmless (``lib.names``). But whoever waits until a pod
has gone looks for its name: what replaces it must have another one. What has gone is remembered in this process alone.
After a restart a name may come again; then nobody waits any more for the end of one that had ended before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from kontinuum.api.machinery.objects import Object, key_of, namespace_of
from kontinuum.client.informer import Informer
from kontinuum.controllers.lib.owners import controller_of

REMEMBERED = 4096
"""Names of the latest that have gone: half a megabyte for each reconciler, at most."""


class TakenNames:
    """Follows the children that owners of one ``kind`` control."""

    def __init__(self, children: Informer, kind: str) -> None:
        self._children = children
        self._kind = kind
        self._gone: OrderedDict[str, None] = OrderedDict()
        children.add_handler(self._child_changed)

    def beside(self, owner: Object) -> Callable[[str], bool]:
        """Whether a name is taken in the namespace of ``owner``, by whomever."""
        namespace = namespace_of(owner)

        def is_taken(name: str) -> bool:
            key = f"{namespace}/{name}"
            return key in self._gone or self._children.get(key) is not None

        return is_taken

    def _child_changed(self, change: str, child: Object, old: Object | None) -> None:
        reference = controller_of(child)
        if change != "deleted" or reference is None or reference["kind"] != self._kind:
            return
        self._gone[key_of(child)] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
