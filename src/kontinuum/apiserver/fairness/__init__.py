"""Who may go first when there is more to do than can be done at once (Kubernetes' API Priority and Fairness, KEP-1040).

    request ──▶ FlowSchema ──▶ PriorityLevel ──▶ a free seat? ──▶ answered
                 (matching)      (limits, level)      │ no
                                                      ▼
                                            one of the level's queues ──▶ the fairest next, or 429

Here is what a seat, a level, a queue and a flow are. Nothing here knows HTTP or waits for anything but a seat.
See docs/decisions/0013 for where this is simpler than Kubernetes and why it keeps its promises.
"""
