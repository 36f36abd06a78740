"""Which of the nodes that fit is best: one score a file, 0 to 100 for each node, weighed as Kubernetes weighs them.

To add a score: write its file, and put its SCORE in SCORES.
"""

from kontinuum.scheduler.scores import affinity, balance, images, pod_affinity, room, spread, taints
from kontinuum.scheduler.scores.port import Score

SCORES: tuple[Score, ...] = (
    taints.SCORE,
    affinity.SCORE,
    room.SCORE,
    spread.SCORE,
    pod_affinity.SCORE,
    balance.SCORE,
    images.SCORE,
)

__all__ = ["SCORES", "Score"]
