"""Bytes under keys, one revision per change.

Belongs here: the port, its conformance suite, and one package per engine (memory, sqlite, etcd).
Does not belong here: kinds, JSON, resourceVersion strings, HTTP.
Only the API server (and the command, to wire it) imports it.
"""
