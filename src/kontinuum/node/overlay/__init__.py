"""The ways to the pods of other nodes: a route to each neighbour, a tunnel (VXLAN) to each node that is none.

    Nodes ──▶ ways (pure) ──▶ what the kernel lacks and what it has too much ──▶ kernel (thin)

What pods say to each other keeps its source address either way; the packet filter sees it on both hosts.
"""
