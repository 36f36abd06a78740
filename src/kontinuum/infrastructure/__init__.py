"""Machines, power, volumes and load balancers in somebody's data centre, behind one driver contract.

Empty but for its rooms until the first driver; no Kubernetes kinds here.
"""
