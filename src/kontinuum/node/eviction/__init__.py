"""Node-pressure eviction: what is done when the machine itself runs short of memory, disk or process numbers.

Belongs here: thresholds, when they are met, who goes first, local storage limits of pods, and the words for it all. The
rules are the kubelet's (``pkg/kubelet/eviction``, "Node-pressure Eviction" in Kubernetes' documentation).
Does not belong here: how much is used (``usage``), and evictions that somebody asks for through the API.
"""
