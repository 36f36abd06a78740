"""metrics.k8s.io: how much CPU and memory nodes and pods use now (``kubectl top``, HorizontalPodAutoscalers).

    nodes' /stats/summary ──every 15 s──▶ Collector ──▶ Samples (the last two of each node) ──▶ NodeMetrics, PodMetrics

Nothing of it is stored. An APIService ``v1beta1.metrics.k8s.io`` that names a Service (somebody has installed the
metrics-server) takes the group over; without it we answer again.
"""
