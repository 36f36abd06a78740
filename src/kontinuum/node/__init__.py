"""Desired and actual on this machine: the pods bound to it, their volumes, probes, limits, status and streams.

Belongs here: pure ``plan`` and ``status``, and the CRI calls that carry a plan out.
Does not belong here: what a sandbox is made of (runtime), or any decision about other machines.
"""
