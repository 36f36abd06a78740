"""What pods and the machine use: memory, processes, processor time, disk, network.

Belongs here: reading it (cgroups of both versions, /proc, walks through directories, the runtime's numbers) and telling
it (the Summary API, Prometheus texts).
Does not belong here: what is done about it (``eviction``, ``cgroups``).
"""
