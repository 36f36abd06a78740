"""The roles and bindings that every cluster begins with: those of Kubernetes 1.36, and a few of our own.

Belongs here: which rules there are, as tables. How they get into the store is ``authz/reconciliation.py``.
"""
