"""Nodes that only say what nodes say: they register, renew Leases, pick up pods that are bound to them, and report.

Belongs here: what an API server, controllers and a scheduler see of a node agent, at the scale of thousands of nodes in
one process, in virtual or real time.
Does not belong here: anything that runs a container (``node``), or decides where pods go (``scheduler``).
"""
