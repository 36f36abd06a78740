"""Machines that wait for their pods: cloned, rehearsed with a pod of our own, paused, and used by exactly one pod.

Belongs here: where they wait and who gets them (``pool``), what one does until it is taken (``standby``,
``rehearsal``), and how many there are (``keeper``). Does not belong here: what a pod's shim does (``shim``), which is
what a standby becomes, and how a VMM does it.
"""
