"""What the scheduler believes of the cluster, in one place: what the API says, and what has been decided since.

snapshot      what is taken where          occupants   who is where, and who is leaving
nominations   who was promised what        queue       who waits, and for what
pods          as the API has them          victims     who must make way, though the API does not say so yet
"""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler import groups
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.events import ASSIGNED_POD, Event
from kontinuum.scheduler.hints import Cluster
from kontinuum.scheduler.nominations import Nomination, Nominations
from kontinuum.scheduler.occupants import Occupants
from kontinuum.scheduler.profiles import Profile
from kontinuum.scheduler.queue import SchedulingQueue
from kontinuum.scheduler.reading import POD, is_waiting, priority_of, scheduler_of, trim_pod
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.scheduler.snapshot import Snapshot


class Knowledge:
    """See the module."""

    def __init__(
        self, client: Client, clock: Clock, settings: SchedulerSettings, profiles: Mapping[str, Profile]
    ) -> None:
        self.snapshot = Snapshot()
        self.occupants = Occupants()
        self.nominations = Nominations()
        self.queue = SchedulingQueue(
            clock,
            Backoff(initial=settings.backoff_initial_seconds, maximum=settings.backoff_maximum_seconds),
            look_again=settings.look_again_seconds,
            flood_seconds=settings.flood_seconds,
        )
        self.pods = Informer(client, PODS, clock=clock, trim=trim_pod, shape=POD, indexes={"group": _groups_of})
        self.victims: set[str] = set()
        """Pods by uid."""
        self._cluster = Cluster(self.snapshot, self.occupants)
        self._profiles = profiles

    def tell(self, event: Event) -> None:
        """Something may help pods that found no node."""
        self.queue.happened(event, self._cluster)

    def left(self, pod: Object, node: str) -> None:
        """A pod is on ``node`` no more: that helps those who fit now, and those to whom the node was promised."""
        self.tell(Event(ASSIGNED_POD, "deleted", {**pod, "spec": {**pod["spec"], "nodeName": node}}))
        for nomination in self.nominations.on(node):
            self.queue.wake(nomination.key)

    def nominate(self, pod: Object, demand: Demand, node: str) -> None:
        """The pod was promised ``node``."""
        self.nominations.put(Nomination(uid_of(pod), key_of(pod), priority_of(pod), demand, node))

    def is_ours(self, pod: Object) -> bool:
        """True if it is for us to find a node for the pod, now."""
        return is_waiting(pod) and scheduler_of(pod) in self._profiles

    def profile(self, pod: Object) -> Profile:
        """How one of our pods is decided."""
        return self._profiles[scheduler_of(pod)]

    def now(self, pod: Object) -> Object | None:
        """The pod as the API has it now; None if it is gone, whoever has its name."""
        found = self.pods.get(key_of(pod))
        return found if found is not None and uid_of(found) == uid_of(pod) else None

    def members(self, group: str) -> list[Object]:
        """The pods that say they are of a group."""
        return self.pods.by_index("group", group)


def _groups_of(pod: Object) -> list[str]:
    return [key] if (key := groups.group_key(pod)) else []
