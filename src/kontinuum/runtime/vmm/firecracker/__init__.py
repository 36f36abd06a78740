"""Firecracker behind the VMM port, by its public HTTP API; ``fake`` is that API without a machine behind it."""
