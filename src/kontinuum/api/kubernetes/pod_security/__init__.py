"""The Pod Security Standards, version by version: what a pod violates at a level, in Kubernetes' words. Pure.

Belongs here: levels, versions, the labels of namespaces, the checks. Does not belong here: what a violation leads to
(refused, warned about, noted in the audit log), which is admission's.
"""
