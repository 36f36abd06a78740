"""Pods' volumes as the scheduler sees them: where they can be, what is reserved, and what must precede a binding.

``wishes`` reads a pod, ``state`` knows the cluster's storage, ``matching`` decides (pure), ``companion`` acts. Rules
and words are those of Kubernetes' plugins VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone; their
filters are in ``filters/volume_*.py``.
"""
