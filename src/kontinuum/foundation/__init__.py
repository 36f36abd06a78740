"""Tools that know nothing of Kubernetes; each could be its own library.

Belongs here: time, tasks, back-off, errors, child processes, settings, telemetry, certificates, files, sockets.
Does not belong here: anything that names a pod, a kind, a store, a VM, or that imports another of our packages.
"""
