"""Which node a pod runs on: a snapshot, filters with named reasons, scores, and a pure ``place``.

Does not belong here: starting anything, or changing a pod beyond its binding and its PodScheduled condition.
"""
