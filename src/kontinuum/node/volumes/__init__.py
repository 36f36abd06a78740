"""Pod volumes on this machine, one file per type; ``mounting`` is the only place that chooses among them.

Belongs here: directories and files of volumes, kept fresh while a pod lives and removed after it.
Does not belong here: storage that comes from elsewhere, or which container sees a volume where (``container_mounts``).
"""
