"""Graceful node shutdown (KEP-2000, KEP-2712): pods end in order, by priority, before the machine goes.

Belongs here: which pods get how long, the order of their ends, and whoever announces the shutdown (logind, a command).
Does not belong here: the end of one pod (``worker``), and taking the node's own processes down (``cli``).
"""
