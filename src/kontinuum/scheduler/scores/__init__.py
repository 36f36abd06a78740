"""Which of the nodes that fit is best: one score a file, 0 to 100 for each node, weighed as Kubernetes weighs them.

To add a score: write its file, and put its SCORE in SCORES.
"""

from kontinuum.scheduler.scores import affinity, balance, room, taints
from kontinuum.scheduler.scores.port import Score

SCORES: tuple[Score, ...] = (taints.SCORE, affinity.SCORE, room.SCORE, balance.SCORE)

__all__ = ["SCORES", "Score"]
