"""Desired and actual, cluster-wide: one reconciler per kind, each a pure plan and a thin hand that carries it out.

Does not belong here: choosing nodes (scheduler), running pods (node), storage of objects (API server).
"""
